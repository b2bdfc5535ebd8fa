"""The reference in the console's Help."""

from __future__ import annotations

from functools import partial

from absurd_project.reference.pages import PAGES, page
from tasks_app.admin import documents

documents.GENERATED.update({name: partial(page, name) for name in PAGES})
