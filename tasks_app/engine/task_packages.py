"""Task names of other packages: modules that register them when they are imported.

An installed package declares its module as an entry point of the group `absurd.tasks`; any other that can be imported
is named in ABSURD_TASK_MODULES. Web processes, workers and commands import them at start; a child imports the handler.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.metadata import entry_points

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

GROUP = "absurd.tasks"

logger = logging.getLogger(__name__)


def load() -> None:
    """Import every module that registers task names.

    An installed one that fails is logged and left out, so that it stops nobody's tasks but its own. Raises
    ImproperlyConfigured for one that ABSURD_TASK_MODULES names.
    """
    for name in settings.ABSURD_TASK_MODULES:
        try:
            import_module(name)
        except Exception as error:
            fault = f"ABSURD_TASK_MODULES={name!r} cannot be imported: {type(error).__name__}: {error}"
            raise ImproperlyConfigured(f"{fault}; install it, or add its directory to PYTHONPATH") from error
    for found in entry_points(group=GROUP):
        try:
            found.load()
        except Exception:
            package = found.dist.name if found.dist else "?"
            logger.exception("the task names of package %s (%s) cannot be used", package, found.value)
