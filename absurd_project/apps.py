"""The composition root as an application, and the console's admin site in the place of Django's own."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps


class ProjectConfig(AppConfig):
    """Holds the commands that put the whole system together."""

    name = "absurd_project"
    default = True


class ConsoleConfig(admin_apps.AdminConfig):
    """Puts our AdminSite in the place of the stock one."""

    default = False
    default_site = "absurd_project.console.ConsoleSite"
