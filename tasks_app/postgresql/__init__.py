"""The database back end: connections, prepared statements, the clock, outages, the triggers that keep the counts."""

from pathlib import Path

COUNT_TRIGGERS = Path(__file__).with_name("count_triggers.sql").read_text()
"""SQL that makes the triggers, whether or not they are there."""
