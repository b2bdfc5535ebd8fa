"""The database back end: connections, prepared statements, the clock, outages, triggers and functions."""

from pathlib import Path

COUNT_TRIGGERS = Path(__file__).with_name("count_triggers.sql").read_text()
"""SQL that makes the triggers that keep the counts, whether or not they are there."""
EVENTS = Path(__file__).with_name("events.sql").read_text()
"""SQL that makes the function that writes events."""
