"""The web process: what daphne serves."""

from __future__ import annotations

import os

import django

from absurd_project import embedded

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "absurd_project.settings")
embedded.ensure()
django.setup()

from absurd_project import sweeping  # noqa: E402 - these need Django set up
from absurd_project.routing import make_application  # noqa: E402

application = make_application()
sweeping.start()
