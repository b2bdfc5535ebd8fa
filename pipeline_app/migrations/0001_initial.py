import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.comparison
import django.db.models.functions.datetime
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Observation',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(db_index=True, help_text='UTC start of the first integration.', max_length=100)),
                ('telescope_name', models.CharField(max_length=64)),
                ('first_time_ms', models.BigIntegerField(help_text='First value of time_array, the key of the tile: milliseconds since 1970 UTC.')),
                ('declination_cdeg', models.IntegerField(help_text='Pointing declination in hundredths of a degree, part of the key.')),
                ('start_mjd', models.FloatField(help_text='UTC, start of the first integration.')),
                ('mid_mjd', models.FloatField(help_text='UTC.')),
                ('duration_sec', models.FloatField()),
                ('declination_deg', models.FloatField(help_text='Apparent declination of the pointing: the strip.')),
                ('ra_deg', models.FloatField(help_text='ICRS direction of the pointing at mid-time.')),
                ('dec_deg', models.FloatField(help_text='ICRS direction of the pointing at mid-time.')),
                ('directory', models.CharField(help_text='Where its first file was found.', max_length=1000)),
                ('expected_subbands', models.PositiveSmallIntegerField(blank=True, help_text='16 for the DSA-110; unknown for other telescopes.', null=True)),
                ('state', models.CharField(choices=[('collecting', 'collecting subbands'), ('incomplete', 'incomplete: no file for too long'), ('ready', 'ready to start'), ('waiting', 'waiting for a calibrator'), ('started', 'run started')], default='collecting', max_length=10)),
                ('reason', models.TextField(blank=True, help_text='Why it has not started: what is missing or awaited.')),
                ('calibrator', models.CharField(blank=True, help_text='Brightest known calibrator in the beam.', max_length=50)),
                ('calibrator_apparent_flux_jy', models.FloatField(blank=True, help_text='Its flux times the beam.', null=True)),
                ('role', models.CharField(blank=True, help_text='calibrator or target, as in its last run.', max_length=10)),
                ('run_id', models.UUIDField(blank=True, db_index=True, help_text='Its last run.', null=True)),
                ('last_file_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
            ],
            options={
                'ordering': ['-start_mjd'],
                'permissions': [('release_observation', 'Can start an incomplete observation')],
                'indexes': [models.Index(fields=['start_mjd'], name='observation_start'), models.Index(fields=['mid_mjd'], name='observation_mid'), models.Index(fields=['state', '-start_mjd'], name='observation_state'), models.Index(fields=['role', '-start_mjd'], name='observation_role'), models.Index(fields=['declination_deg', 'ra_deg'], name='observation_pointing')],
                'constraints': [models.UniqueConstraint(fields=('telescope_name', 'first_time_ms', 'declination_cdeg'), name='observation_once')],
            },
        ),
        migrations.CreateModel(
            name='Measurement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('task_id', models.UUIDField(db_index=True)),
                ('image_path', models.CharField(max_length=1000)),
                ('name', models.CharField(max_length=200)),
                ('mid_mjd', models.FloatField(blank=True, null=True)),
                ('ra_deg', models.FloatField(help_text='ICRS, of the catalogue.')),
                ('dec_deg', models.FloatField(help_text='ICRS, of the catalogue.')),
                ('freq_hz', models.FloatField()),
                ('flux_jy', models.FloatField()),
                ('flux_err_jy', models.FloatField()),
                ('snr', models.FloatField()),
                ('offset_arcsec', models.FloatField(blank=True, null=True)),
                ('catalog_flux_jy', models.FloatField(blank=True, null=True)),
                ('local_rms_jy', models.FloatField()),
                ('primary_beam', models.FloatField()),
                ('verdict', models.CharField(blank=True, help_text='Never better than that of the image; empty in rows from before verdicts.', max_length=10)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('observation', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='measurements', to='pipeline_app.observation')),
            ],
            options={
                'ordering': ['-id'],
                'indexes': [models.Index(fields=['name', 'mid_mjd'], name='measurement_light_curve'), django.contrib.postgres.indexes.GistIndex(models.Func('ra_deg', 'dec_deg', function='point', output_field=models.TextField()), name='measurement_place'), models.Index(fields=['verdict', '-id'], name='measurement_verdict'), models.Index(django.db.models.functions.comparison.Collate(django.db.models.functions.text.Upper('name'), 'C'), models.F('name'), name='measurement_name')],
                'constraints': [models.UniqueConstraint(fields=('task_id', 'name'), name='measured_once_a_task')],
            },
        ),
        migrations.CreateModel(
            name='Calibration',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('task_id', models.UUIDField(unique=True)),
                ('path', models.CharField(max_length=1000, unique=True)),
                ('telescope_name', models.CharField(blank=True, max_length=64)),
                ('mid_mjd', models.FloatField(help_text="UTC middle of the calibrator's tile.")),
                ('declination_deg', models.FloatField(help_text='Strip in which it may be used.')),
                ('calibrator', models.CharField(blank=True, max_length=50)),
                ('calibrator_apparent_flux_jy', models.FloatField(blank=True, null=True)),
                ('refant', models.CharField(blank=True, max_length=50)),
                ('snr_median', models.FloatField(blank=True, null=True)),
                ('flagged_solutions', models.FloatField(blank=True, null=True)),
                ('verdict', models.CharField(max_length=10)),
                ('reasons', models.JSONField(default=list)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('observation', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='calibrations', to='pipeline_app.observation')),
            ],
            options={
                'ordering': ['-mid_mjd'],
                'permissions': [('refuse_calibration', 'Can refuse a calibration by hand')],
                'indexes': [models.Index(fields=['mid_mjd'], name='calibration_time')],
            },
        ),
        migrations.CreateModel(
            name='Product',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('task_id', models.UUIDField(db_index=True)),
                ('run_id', models.UUIDField(blank=True, db_index=True, null=True)),
                ('attempt', models.PositiveIntegerField()),
                ('task_name', models.CharField(max_length=100)),
                ('kind', models.CharField(max_length=50)),
                ('path', models.CharField(max_length=1000, unique=True)),
                ('host', models.CharField(blank=True, db_default='', default='', help_text='Host that made it.', max_length=255)),
                ('root', models.CharField(blank=True, db_default='', default='', help_text='Data root of that host it is in.', max_length=1000)),
                ('size_bytes', models.BigIntegerField(blank=True, null=True)),
                ('checksum', models.CharField(blank=True, max_length=200)),
                ('metrics', models.JSONField(default=dict)),
                ('verdict', models.CharField(blank=True, max_length=10)),
                ('inputs', models.JSONField(default=list, help_text='Paths that it was made from.')),
                ('params', models.JSONField(default=dict, help_text="The task's params as the attempt got them.")),
                ('versions', models.JSONField(default=dict, help_text='Software that made it.')),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('observation', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='products', to='pipeline_app.observation')),
            ],
            options={
                'ordering': ['-id'],
                'permissions': [('vote_image', 'Can vote on an image')],
                'indexes': [models.Index(fields=['kind', '-id'], name='product_kind'), models.Index(fields=['verdict', '-id'], name='product_verdict')],
            },
        ),
        migrations.CreateModel(
            name='ImageVote',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('voter', models.CharField(help_text='Such as user:ann.', max_length=200)),
                ('vote', models.CharField(choices=[('good', 'good'), ('bad', 'bad')], max_length=4)),
                ('comment', models.TextField()),
                ('voted_at', models.DateTimeField(auto_now=True)),
                ('image', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='votes', to='pipeline_app.product')),
            ],
            options={
                'ordering': ['-voted_at'],
                'constraints': [models.UniqueConstraint(fields=('image', 'voter'), name='one_vote_a_person')],
            },
        ),
        migrations.CreateModel(
            name='SubbandFile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('path', models.CharField(max_length=1000, unique=True)),
                ('subband', models.PositiveSmallIntegerField(blank=True, help_text="By frequency on the correlator's grid, 0 is the highest; none off that grid.", null=True)),
                ('freq_min_hz', models.BigIntegerField(blank=True, help_text='Centre of the lowest channel.', null=True)),
                ('freq_max_hz', models.BigIntegerField(blank=True, help_text='Centre of the highest channel.', null=True)),
                ('n_channels', models.PositiveIntegerField(blank=True, null=True)),
                ('n_times', models.PositiveIntegerField(blank=True, null=True)),
                ('size_bytes', models.BigIntegerField()),
                ('mtime_ns', models.BigIntegerField()),
                ('state', models.CharField(choices=[('accepted', 'Accepted'), ('duplicate', 'another file holds the same subband'), ('superseded', 'replaced by another file of the same subband'), ('invalid', 'not a usable UVH5 file, or unlike the others of its tile')], max_length=10)),
                ('problem', models.TextField(blank=True)),
                ('seen_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('observation', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='files', to='pipeline_app.observation')),
            ],
            options={
                'ordering': ['observation', '-freq_min_hz', 'id'],
                'indexes': [models.Index(fields=['state', '-id'], name='subband_file_state')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'accepted')), fields=('observation', 'freq_min_hz'), name='one_accepted_file_a_subband'), models.UniqueConstraint(condition=models.Q(('state', 'accepted'), ('subband__isnull', False)), fields=('observation', 'subband'), name='one_accepted_file_a_number'), models.CheckConstraint(condition=models.Q(('state', 'invalid'), models.Q(('freq_min_hz__isnull', False), ('observation__isnull', False)), _connector='OR'), name='only_invalid_files_lack_a_tile')],
            },
        ),
    ]
