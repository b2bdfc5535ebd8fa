"""The peers of one run of the benchmark: started together, measured in turn, and left out once they break down."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from absurd_project.benchmark.measures import PEERS, Figures, Progress, Sizes
from absurd_project.benchmark.scratch import DoesNotStart, Scratch
from tests.benchmark.peers import comparison, rounds
from tests.benchmark.peers.processes import Peer, PeerMissing, peer

Measurement = Callable[[Peer, Scratch, Sizes, Figures, Progress], None]


class Session:
    """Peers that take orders."""

    def __init__(self, scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> None:
        self._run = (scratch, sizes, figures, progress)
        self._figures = figures
        self._peers: list[Peer] = []

    def start(self, stack: contextlib.ExitStack, python: str) -> None:
        """Start those that this interpreter has; the others become notes."""
        for name in PEERS:
            try:
                self._peers.append(stack.enter_context(peer(name, python, self._run[0])))
            except PeerMissing as fault:
                self._figures.notes.append(f"{name} is not measured: {fault}")
            else:
                self._figures.notes.append(f"measured beside {self._peers[-1].version}")

    def measure_round(self) -> None:
        """Measure one round of rates of each."""
        self._each(rounds.measure_round)

    def finish(self) -> None:
        """Measure the pickup of each, and compare."""
        self._each(rounds.measure_pickup)
        comparison.compare(self._figures)

    def _each(self, measure: Measurement) -> None:
        for each in list(self._peers):
            try:
                measure(each, *self._run)
            except (PeerMissing, DoesNotStart) as fault:
                # One that breaks down is no reason to lose the figures of the others.
                self._figures.notes.append(f"{each.name} broke down: {fault}")
                self._peers.remove(each)


@contextlib.contextmanager
def session(python: str, scratch: Scratch, sizes: Sizes, figures: Figures, progress: Progress) -> Iterator[Session]:
    """Start the peers, and end them with the block."""
    with contextlib.ExitStack() as stack:
        made = Session(scratch, sizes, figures, progress)
        made.start(stack, python)
        yield made
