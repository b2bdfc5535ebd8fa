"""The composition root as an application, and the console's admin site in the place of Django's own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.contrib import admin
from django.contrib.admin import apps as admin_apps
from django.contrib.admin.checks import check_admin_app, check_dependencies
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


class ConsoleConfig(admin_apps.SimpleAdminConfig):
    """Puts our AdminSite in the place of the stock one.

    The pages are loaded with the routes (`absurd_project.urls`) and for the checks only: workers and commands have no
    use for them, and would start half a second later.
    """

    default = False
    default_site = "absurd_project.console.ConsoleSite"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_pages, checks.Tags.admin)


def check_pages(app_configs: Sequence[AppConfig] | None, **named: Any) -> list[checks.CheckMessage]:
    """Check the pages of the console as Django does."""
    admin.autodiscover()
    return check_admin_app(app_configs, **named)


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
