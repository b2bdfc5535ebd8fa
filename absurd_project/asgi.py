"""The web process: what daphne serves."""

from __future__ import annotations

import os

import django

from absurd_project.local import servers

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "absurd_project.settings")
servers.ensure()
django.setup()

from django.urls import get_resolver  # noqa: E402 - these need Django set up

from absurd_project import web_process  # noqa: E402
from absurd_project.routing import make_application  # noqa: E402
from tasks_app import tracing  # noqa: E402
from tasks_app.monitoring import notifications  # noqa: E402

application = make_application()
get_resolver().url_patterns  # noqa: B018 - loads every view now, rather than in the first request
web_process.shorten()
web_process.start()
tracing.begin("absurd-web")
notifications.start()
web_process.notify()
