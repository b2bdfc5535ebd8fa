from django.db import migrations

# A queue's table lives on updates: room for them in each page, and vacuum by dead rows, not by a share of the table,
# keep the claim's index scan short.
TUNE = """
ALTER TABLE tasks_app_task SET (
    fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
)
"""
UNTUNE = """
ALTER TABLE tasks_app_task RESET (
    fillfactor, autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_vacuum_cost_delay
)
"""


class Migration(migrations.Migration):
    dependencies = [("tasks_app", "0001_queue")]
    operations = [migrations.RunSQL(TUNE, UNTUNE)]
