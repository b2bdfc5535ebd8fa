"""The composition root as an application, and the console's admin site in the place of Django's own."""

from __future__ import annotations

import logging
from typing import Any

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.core import checks

logger = logging.getLogger(__name__)


class ProjectConfig(AppConfig):
    """Holds the commands that put the whole system together."""

    name = "absurd_project"
    default = True

    def ready(self) -> None:
        """Check the environment, and log what is wrong with it: most commands run no checks, and the web none."""
        checks.register(check_environment)
        for fault in check_environment():
            logger.warning("%s. %s", fault.msg, fault.hint)


class ConsoleConfig(admin_apps.AdminConfig):
    """Puts our AdminSite in the place of the stock one."""

    default = False
    default_site = "absurd_project.console.ConsoleSite"


def check_environment(**_: Any) -> list[checks.CheckMessage]:
    """Warn of variables that nothing reads, which most often are misspelled."""
    from absurd_project import env, variables

    return [
        checks.Warning(
            f"{name} is set, but nothing reads it",
            f"Did you mean {near}?" if near else "`absurd_reference settings` prints all variables.",
            id="absurd_project.W001",
        )
        for name, near in variables.unknown(env.FROM_FILES).items()
    ]
