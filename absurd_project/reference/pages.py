"""The pages of the reference by their names; a page's module is loaded when it is asked for."""

from __future__ import annotations

from django.utils.module_loading import import_string

PAGES = {
    "settings": "settings.page",
    "commands": "commands.page",
    "rest-api": "rest_api.page",
    "feed-messages": "feed_messages.page",
    "task-names": "catalogues.task_names",
    "operations": "catalogues.operations",
}


def page(name: str) -> str:
    """Return a page as Markdown."""
    found: str = import_string(f"absurd_project.reference.{PAGES[name]}")()
    return found
