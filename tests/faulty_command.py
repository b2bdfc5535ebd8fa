"""`python -m tests.faulty_command ACCOUNT CLASSES CALM COMMAND …`: a command whose statements meet faults."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main() -> None:
    account, classes, calm, command, *options = sys.argv[1:]
    os.environ["DJANGO_SETTINGS_MODULE"] = "absurd_project.settings"
    import django

    django.setup()
    from django.core.management import call_command

    from pipeline_app.management.commands import absurd_ingest
    from tests.fault_injection import Injector
    from workers import db_connection

    # So that many outages fit into a test.
    db_connection.LONGEST_DELAY_SEC = 0.3
    absurd_ingest.RETRY_SEC = 0.05
    injector = Injector(classes=tuple(classes.split(",")), calm=int(calm), account=Path(account))
    injector.install()
    call_command(command, *options)


if __name__ == "__main__":
    main()
