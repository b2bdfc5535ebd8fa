"""Messages that are severe to CASA but not to a task."""

from __future__ import annotations

BENIGN_SEVERE = ("Leap second table TAI_UTC seems out-of-date",)
"""Patterns. It is warned of where it can be mended, when the measures data are made."""
