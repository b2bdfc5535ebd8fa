"""The scenarios by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from workers.gameday.scenario_run import Game

MODULES = ("killing", "native", "orders", "clocks", "outages", "endurance")

Play = Callable[[Game], None]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A fault, and what must have become of everything afterwards."""

    name: str
    title: str
    play: Play
    servers: bool = False
    """Whether it stops or kills servers, and therefore needs its own."""
    endurance: bool = False
    """Whether it takes minutes, always or with --full."""


_scenarios: dict[str, Scenario] = {}


def scenario(name: str, *, servers: bool = False, endurance: bool = False) -> Callable[[Play], Play]:
    """Enter a function into the catalogue; its docstring is the title."""

    def enter(play: Play) -> Play:
        title = (play.__doc__ or "").rstrip(".")
        _scenarios[name] = Scenario(name=name, title=title, play=play, servers=servers, endurance=endurance)
        return play

    return enter


def catalogue() -> dict[str, Scenario]:
    """Return every scenario by name, in the order in which they are played."""
    for name in MODULES:
        import_module(f"workers.gameday.scenarios.{name}")
    return dict(_scenarios)
