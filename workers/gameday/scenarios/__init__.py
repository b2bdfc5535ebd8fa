"""The scenarios. Each function prepares, causes a fault, waits and checks; the runner checks what holds for all."""

from workers.gameday.drill import SCENARIOS
from workers.gameday.scenarios import endurance, killing, native, operators, outages

__all__ = ["SCENARIOS", "backups", "endurance", "killing", "native", "operators", "outages"]
