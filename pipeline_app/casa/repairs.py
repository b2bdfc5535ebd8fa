"""What was wrong in the raw files of a tile and was flagged: amounts by file, and reasons for the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline_app.casa.raw import RawHeader, Spectrum

WHOLLY = 0.99
"""Of a subband flagged in its file: counted as wholly flagged."""
MIN_FLAGGED = 0.01
"""Of a subband: less is not worth a reason."""
MAX_NAMES = 12


@dataclass(kw_only=True)
class Repairs:
    """Counts that grow with each subband, by the name of its file."""

    flagged: dict[str, float] = field(default_factory=dict)
    """Fraction of the data that was flagged in the file or without a sample, of baselines with data in the subband."""
    wild: dict[str, int] = field(default_factory=dict)
    """Visibilities that are not finite, or absurdly large; only files that have some."""

    def add(self, header: RawHeader, flagged: NDArray[np.floating], *, n_wild: int) -> None:
        """Count a subband; `flagged` are the fractions of its rows whose baselines have data."""
        self.flagged[header.path.name] = float(flagged.mean()) if flagged.size else 1.0
        if n_wild:
            self.wild[header.path.name] = n_wild

    @property
    def n_wild(self) -> int:
        """Visibilities that are not finite, or absurdly large, in all files."""
        return sum(self.wild.values())

    @property
    def flagged_fraction(self) -> float:
        """Mean over the files of what was flagged in them."""
        return float(np.mean(list(self.flagged.values()))) if self.flagged else 0.0

    def reasons(self, headers: Sequence[RawHeader], spectrum: Spectrum) -> list[str]:
        """Return what is missing, narrower, flagged or not finite in the files of a tile, with its amount."""
        reasons = []
        if spectrum.missing_subbands:
            reasons.append(f"missing subbands, flagged: {', '.join(map(str, spectrum.missing_subbands))}")
        full = max(len(header.freqs_hz) for header in headers)
        if narrower := [header for header in headers if len(header.freqs_hz) < full]:
            widths = "; ".join(f"{header.path.name} has {len(header.freqs_hz)} of {full}" for header in narrower)
            reasons.append(f"narrower subbands, missing channels flagged: {widths} channels")
        if wholly := [name for name, fraction in self.flagged.items() if fraction > WHOLLY]:
            reasons.append(f"{len(wholly)} subbands wholly flagged in the raw files: {named(wholly)}")
        if partly := {name: part for name, part in self.flagged.items() if MIN_FLAGGED < part <= WHOLLY}:
            amounts = named([f"{name} {part:.0%}" for name, part in partly.items()])
            reasons.append(f"{len(partly)} subbands partly flagged in the raw files or without samples: {amounts}")
        if self.wild:
            files = named(list(self.wild))
            reasons.append(f"{self.n_wild} visibilities not finite or absurdly large, flagged, in {files}")
        return reasons


def named(names: Sequence[str]) -> str:
    """Return names in a row, only the first where they are many."""
    return f"{', '.join(names[:MAX_NAMES])}{' …' if len(names) > MAX_NAMES else ''}"
