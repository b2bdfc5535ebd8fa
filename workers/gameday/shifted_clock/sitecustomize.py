"""Shows the Python process that has this directory on its path another time of day, as on a host whose clock is wrong.

The monotonic clock, other processes and the database are not affected.
"""

import datetime
import os
import time
from datetime import datetime as RealDatetime

OFFSET_SEC = float(os.environ.get("GAMEDAY_CLOCK_OFFSET_SEC", "0"))
_real_time, _real_time_ns = time.time, time.time_ns


class _AnyDatetime(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, RealDatetime)


class _ShiftedDatetime(RealDatetime, metaclass=_AnyDatetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> RealDatetime:  # type: ignore[override]
        return RealDatetime.now(tz) + datetime.timedelta(seconds=OFFSET_SEC)

    @classmethod
    def utcnow(cls) -> RealDatetime:  # type: ignore[override]
        return RealDatetime.utcnow() + datetime.timedelta(seconds=OFFSET_SEC)


time.time = lambda: _real_time() + OFFSET_SEC
time.time_ns = lambda: _real_time_ns() + int(OFFSET_SEC * 1e9)
datetime.datetime = _ShiftedDatetime  # type: ignore[misc]
