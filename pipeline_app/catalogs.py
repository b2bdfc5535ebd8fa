"""Catalogues of positions to measure: CSV with the columns name, ra_deg, dec_deg and, for comparison, flux_jy."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from pipeline_app.stages.photometry import Position
from tasks_app.engine.handler import InvalidInput
from tasks_app.validation import message_of

REQUIRED = ("name", "ra_deg", "dec_deg")
NAME_CHARS = 200
"""What the table of measurements holds."""
MAX_ERRORS = 10
"""A message lists this many bad lines at most."""


def read_catalog(path: str | Path) -> list[Position]:
    """Read and check a catalogue; other columns and lines that start with ``#`` are ignored, an empty flux is none.

    Raises:
        InvalidInput: the file cannot be read, lacks a column, has bad lines (named by number), or has no source.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"catalogue {path} cannot be read: {error}") from error
    numbered = [
        (number, line)
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not numbered:
        raise InvalidInput(f"catalogue {path} is empty")
    columns = _cells(path, *numbered[0])
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise InvalidInput(f"catalogue {path}, line {numbered[0][0]}: no column {', '.join(missing)}")
    return _read_lines(path, columns, numbered[1:])


def _read_lines(path: str | Path, columns: list[str], lines: Iterable[tuple[int, str]]) -> list[Position]:
    positions: list[Position] = []
    seen: dict[str, int] = {}
    errors: list[str] = []
    for number, line in lines:
        cells = _cells(path, number, line)
        if len(cells) != len(columns):
            errors.append(f"line {number}: {len(cells)} fields instead of {len(columns)}")
            continue
        try:
            position = _position(dict(zip(columns, cells, strict=True)))
        except ValidationError as error:
            errors.append(f"line {number}: {_first_message(error)}")
            continue
        if not 1 <= len(position.name) <= NAME_CHARS or not position.name.isprintable():
            errors.append(f"line {number}: name {position.name[:40]!r}: write 1 to {NAME_CHARS} printable characters")
            continue
        if position.name in seen:
            errors.append(f"line {number}: {position.name} is already on line {seen[position.name]}")
            continue
        seen[position.name] = number
        positions.append(position)
    if errors:
        more = f" and {len(errors) - MAX_ERRORS} more" if len(errors) > MAX_ERRORS else ""
        raise InvalidInput(f"catalogue {path}: {'; '.join(errors[:MAX_ERRORS])}{more}")
    if not positions:
        raise InvalidInput(f"catalogue {path} has no source")
    return positions


def _cells(path: str | Path, number: int, line: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line]))]
    except csv.Error as error:
        raise InvalidInput(f"catalogue {path}, line {number}: {error}") from error


def _position(row: dict[str, str]) -> Position:
    return Position.model_validate(
        {
            "name": row["name"],
            "ra_deg": row["ra_deg"],
            "dec_deg": row["dec_deg"],
            "flux_jy": row.get("flux_jy") or None,
        }
    )


def _first_message(error: ValidationError) -> str:
    first = error.errors()[0]
    message = message_of(first)
    return f"{first['loc'][0]} {first['input']!r}: {message[0].lower()}{message[1:]}"
