"""Print the reference of settings, commands, API, feed, task names or operations, made from the code."""

from __future__ import annotations

import argparse
from typing import Any

from absurd_project.reference.pages import PAGES, page
from tasks_app.management.output import PrintingCommand


class Command(PrintingCommand):
    """Prints Markdown; it needs no database."""

    help = (
        "Print a page of the reference as Markdown, made from the code: what this installation reads, offers and runs."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("page", choices=PAGES, metavar="PAGE", help=", ".join(PAGES))

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(page(options["page"]), ending="")
