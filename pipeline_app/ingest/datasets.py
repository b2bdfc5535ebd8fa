"""Single values and arrays out of a UVH5 header, with errors that name the key."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray


class BadRawFile(Exception):
    """The file cannot be used; the message is the reason, without the name of the file."""


def numbers(group: h5py.Group, name: str, count: int | None = None) -> NDArray[np.float64]:
    """Return a dataset as finite numbers, shape (count,).

    Raises:
        BadRawFile: there are none, or not `count` of them, or some are no finite numbers.
    """
    dataset = group[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iuf":
        raise BadRawFile(f"{name} are not numbers")
    if dataset.size == 0 or (count is not None and dataset.size != count):
        raise BadRawFile(f"{name} has {dataset.size} values instead of {'some' if count is None else count}")
    values = np.ravel(dataset[()]).astype(np.float64)
    if not np.isfinite(values).all():
        raise BadRawFile(f"{name} holds values that are not finite")
    return values


def first_number(group: h5py.Group, name: str) -> float:
    """Return the first, as a rule the only, number of a dataset. Raises BadRawFile."""
    return float(numbers(group, name)[0])


def optional_number(group: h5py.Group | None, name: str) -> float | None:
    """Return the first number of a dataset, None where there is no such dataset. Raises BadRawFile."""
    return None if group is None or name not in group else first_number(group, name)


def text(value: Any) -> str:
    """Return a dataset or a value of one as text. Raises BadRawFile when it is not UTF-8."""
    if isinstance(value, h5py.Dataset):
        value = value[()]
    if isinstance(value, np.ndarray):
        value = value.ravel()[0]
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        raise BadRawFile(f"the header holds a text that is not UTF-8: {value[:40]!r}") from None
