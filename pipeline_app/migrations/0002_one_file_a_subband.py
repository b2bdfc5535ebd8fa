from django.db import migrations, models


def keep_one(apps, schema_editor):
    """Keep the first of several accepted files of one subband."""
    files = apps.get_model("pipeline_app", "SubbandFile").objects
    held = set()
    for pk, *key in files.filter(state="accepted", subband__isnull=False).order_by("id").values_list("id", "observation", "subband"):
        if tuple(key) in held:
            files.filter(pk=pk).update(state="duplicate", problem="another file holds the same subband")
        held.add(tuple(key))


class Migration(migrations.Migration):
    dependencies = [("pipeline_app", "0001_pipeline")]

    operations = [
        migrations.RunPython(keep_one, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="subbandfile",
            name="state",
            field=models.CharField(
                choices=[
                    ("accepted", "Accepted"),
                    ("duplicate", "another file holds the same subband"),
                    ("superseded", "replaced by another file of the same subband"),
                    ("invalid", "not a usable UVH5 file, or unlike the others of its tile"),
                ],
                max_length=10,
            ),
        ),
        migrations.AddConstraint(
            model_name="subbandfile",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "accepted"), ("subband__isnull", False)),
                fields=("observation", "subband"),
                name="one_accepted_file_a_number",
            ),
        ),
    ]
