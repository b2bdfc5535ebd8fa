"""The scenarios. Each function prepares, causes a fault, waits and checks; the runner checks what holds for all."""

from workers.gameday.drill import SCENARIOS

from workers.gameday.scenarios import killing, native, operators, backups, outages, endurance  # isort: skip # in this order

__all__ = ["SCENARIOS", "backups", "endurance", "killing", "native", "operators", "outages"]
