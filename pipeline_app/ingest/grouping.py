"""Which of a tile's files are used: those that fit together, and of several copies of a subband the best."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pipeline_app.ingest.header import BadRawFile, RawHeader, read_header
from pipeline_app.ingest.tile import badness, differences, same_subband
from pipeline_app.models import Observation, SubbandFile, SubbandState


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A readable file of a tile."""

    row: SubbandFile
    header: RawHeader

    @property
    def is_used(self) -> bool:
        return self.row.state == SubbandState.ACCEPTED


@dataclass(kw_only=True)
class Choice:
    """What is to become of the files of a tile."""

    used: list[Candidate] = field(default_factory=list)
    refused: list[tuple[SubbandFile, str, str]] = field(default_factory=list)
    """Row, state, problem."""

    @property
    def longest(self) -> RawHeader | None:
        """The header of the used file with most times, which describes the tile."""
        return max((each.header for each in self.used), key=lambda header: header.n_times, default=None)


def choose(observation: Observation, *, batch: Collection[str] | None, frozen: bool) -> Choice:
    """Decide which files of a tile are used.

    The files that agree with most others in what a tile must have in common are of the tile; the others are refused.
    Of several copies of a subband the one with most rows and channels, and exact frequencies, is used.

    Args:
        observation: the tile.
        batch: where given, files outside it give way to those in it.
        frozen: the files used so far stay, since a run works with them.
    """
    rows = list(observation.files.order_by("id"))
    candidates = [Candidate(row=row, header=header) for row in rows if (header := _header_of(row))]
    if batch is not None:
        candidates = [each for each in candidates if each.row.path in batch] or candidates
    alike = _largest_group(candidates, frozen=frozen)
    choice = Choice()
    for each in sorted(alike, key=lambda one: (frozen and not one.is_used, badness(one.header), one.row.pk)):
        better = next((used for used in choice.used if same_subband(used.header, each.header)), None)
        if better is None:
            choice.used.append(each)
        else:
            choice.refused.append((each.row, *_as_duplicate(each, better)))
    for each in candidates:
        if each not in alike:
            unlike = "; ".join(differences(alike[0].header, each.header))
            problem = f"it does not fit the {len(alike)} other files of its tile: {unlike}"
            choice.refused.append((each.row, SubbandState.INVALID, problem))
    _replace_absent(choice, [row for row in rows if row not in [each.row for each in candidates]])
    return choice


def _as_duplicate(loser: Candidate, winner: Candidate) -> tuple[str, str]:
    if loser.is_used:
        return SubbandState.SUPERSEDED, f"replaced by {winner.row.path}, which is the better copy"
    return SubbandState.DUPLICATE, f"the same subband as {winner.row.path}, which is kept"


def _largest_group(candidates: Sequence[Candidate], *, frozen: bool) -> list[Candidate]:
    """Return the files that fit together, of the group with most subbands; of equal ones the group seen first."""
    groups: list[list[Candidate]] = []
    for each in candidates:
        matching = next((group for group in groups if not any(differences(group[0].header, each.header))), None)
        if matching is None:
            groups.append([each])
        else:
            matching.append(each)

    def size(group: list[Candidate]) -> tuple[int, int]:
        places = {each.header.subband if each.header.subband is not None else each.header.freq_min_hz for each in group}
        return sum(each.is_used for each in group) if frozen else 0, len(places)

    return max(groups, key=size, default=[])


def _replace_absent(choice: Choice, absent: Sequence[SubbandFile]) -> None:
    """Let files that are gone, or outside the batch, give way where another file has their subband."""
    for row in absent:
        if row.state != SubbandState.ACCEPTED:
            continue
        for used in choice.used:
            if row.subband == used.header.subband is not None or row.freq_min_hz == round(used.header.freq_min_hz):
                choice.refused.append((row, SubbandState.SUPERSEDED, f"replaced by {used.row.path}"))


def _header_of(row: SubbandFile) -> RawHeader | None:
    """Return the header of a file that is still there and readable."""
    try:
        status = Path(row.path).stat()
        return _header(row.path, (status.st_size, status.st_mtime_ns))
    except (OSError, BadRawFile):
        return None


@lru_cache(maxsize=512)
def _header(path: str, _version: tuple[int, int]) -> RawHeader:
    return read_header(Path(path))
