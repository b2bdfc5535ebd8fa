"""``python -m pipeline_app.casa``: prepare CASA's data ahead of the first task, and print where they are."""

from __future__ import annotations

import os
import sys

sys.stdout.write(f"{os.environ['ABSURD_CASA_MEASURES']}\n")
