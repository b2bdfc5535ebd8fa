"""The compiled inner loop of conversion; made for `threads.in_parts`."""

from __future__ import annotations

from math import cos, pi, sin
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pipeline_app.telescope import SPEED_OF_LIGHT_M_S

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def place(
    data: Array, flags: Array, samples: Array, limit: Array, swapped: Array, partner: Array, order: Array,
    freqs_hz: Array, w_change_m: Array, target: Array, first_channel: int, out: Array, out_flags: Array,
    out_samples: Array, counts: Array, low: int, high: int,
) -> None:  # fmt: skip
    """Copy the rows of a subband (n_rows, n_channels, n_correlations) into a tile, moved to its phase centre.

    Args:
        limit: (n_rows,), square of the amplitude above which a value is garbage; garbage becomes 0 and is flagged.
        swapped: (n_rows,), whether the row is the conjugate of what is wanted; `partner` then are its correlations.
        order: channels in ascending frequency; `freqs_hz` are ascending and evenly spaced.
        w_change_m: (n_rows,), from the phase centre of the data to that of the tile.
        target: (n_rows,) into the rows of `out`, -1 for a row that is not wanted.
        first_channel: of the subband in `out`.
        out: (n_tile_rows, n_tile_channels, n_correlations), and its flags and numbers of samples.
        counts: (n_rows, 3): values that are garbage, flagged or without a sample, and good.
    """
    step_hz = freqs_hz[1] - freqs_hz[0] if len(freqs_hz) > 1 else 0.0
    for r in range(low, high):
        o = target[r]
        if o < 0:
            continue
        angle = -2 * pi / SPEED_OF_LIGHT_M_S * w_change_m[r]
        turn = complex(cos(angle * freqs_hz[0]), sin(angle * freqs_hz[0]))
        step = complex(cos(angle * step_hz), sin(angle * step_hz))
        for i in range(len(order)):
            f, k = order[i], first_channel + i
            for p in range(out.shape[2]):
                q = partner[p] if swapped[r] else p
                value, sample = data[r, f, q], samples[r, f, q]
                size = float(value.real) ** 2 + float(value.imag) ** 2
                missing = flags[r, f, q] or sample == 0
                garbage = not size <= limit[r]  # NaN is garbage too
                if garbage:
                    value = np.complex64(0)
                elif swapped[r]:
                    value = value.conjugate()
                out[o, k, p] = value * turn
                bad = missing or garbage or size == 0
                out_flags[o, k, p] = bad
                # some writers put impossible numbers everywhere, which mean nothing
                out_samples[o, k, p] = sample if 0 < sample < 1e6 else 1
                counts[r, 0] += garbage
                counts[r, 1] += missing
                counts[r, 2] += not bad
            turn *= step
