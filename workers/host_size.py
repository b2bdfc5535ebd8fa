"""How large the host is for this worker: the machine, or what control groups and Slurm leave of it.

Control groups are those of systemd slices, containers and Slurm, versions 1 and 2. A limit may stand at any level above
the process, so all of them are read, again at each call. `root` stands for the root directory, below which all is read.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

MEGABYTE = 1024 * 1024
"""Slurm counts in these."""
_MEMORY_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
_MEMORY_USED = ("memory.current", "memory.usage_in_bytes")
CONTROLLERS = frozenset({"memory", "cpu", "cpuacct", "cpuset"})
BUSY_OVER_SEC = 1.0
"""Processor time of all cores together, below which a share of it means nothing."""
_RECLAIMABLE = ("inactive_file", "total_inactive_file")
"""Page cache that the kernel gives back before it kills, as memory.stat names it in either version."""


def memory_bytes(root: Path = Path("/")) -> float:
    """Return the memory that all workers of the host may use together."""
    return min(psutil.virtual_memory().total, cgroup_limits(root).memory_bytes, _slurm_memory_bytes())


def free_bytes(root: Path = Path("/")) -> float:
    """Return the memory that is free now."""
    return min(psutil.virtual_memory().available, cgroup_limits(root).free_bytes)


def cores(root: Path = Path("/")) -> int:
    """Return the cores that this process may keep busy, at least 1; a part of a core does not count."""
    allowed = float(len(os.sched_getaffinity(0)))
    return max(1, int(min(allowed, cgroup_limits(root).cores, _slurm_number("SLURM_CPUS_ON_NODE"))))


class HostUse:
    """Measures how busy the host is between one call and the next."""

    def __init__(self) -> None:
        self._last = psutil.cpu_times()

    def measure(self) -> dict[str, float | None]:
        """Return the columns of the worker's row; the processor's is None when hardly any time has passed."""
        times, last = psutil.cpu_times(), self._last
        # Guests are counted in user time already.
        spent = {name: getattr(times, name) - getattr(last, name) for name in times._fields if "guest" not in name}
        passed_sec = sum(spent.values())
        busy = None
        if passed_sec > BUSY_OVER_SEC:
            idle_sec = spent["idle"] + spent.get("iowait", 0.0)
            busy, self._last = round(min(1.0, max(0.0, 1 - idle_sec / passed_sec)), 3), times
        return {"host_memory_bytes": int(memory_bytes()), "host_free_bytes": int(free_bytes()), "host_cpu_busy": busy}


def _slurm_memory_bytes() -> float:
    of_node = _slurm_number("SLURM_MEM_PER_NODE")
    of_cpus = _slurm_number("SLURM_MEM_PER_CPU") * _slurm_number("SLURM_CPUS_ON_NODE")
    return min(of_node, of_cpus) * MEGABYTE


def _slurm_number(name: str) -> float:
    """Return a number of a Slurm allocation; infinite where there is none, or 0, which stands for everything."""
    text = os.environ.get(name, "")
    return float(text) if text.isascii() and text.isdigit() and int(text) > 0 else math.inf


@dataclass(frozen=True, kw_only=True)
class CgroupLimits:
    """The tightest limits above the process; infinite where there is none."""

    memory_bytes: float = math.inf
    free_bytes: float = math.inf
    """What may still be taken before some level reaches its limit."""
    cores: float = math.inf
    """The processor time that may be used, in cores."""


def cgroup_limits(root: Path = Path("/")) -> CgroupLimits:
    """Return the limits of this process."""
    memory, free, cores = [math.inf], [math.inf], [math.inf]
    for group in _groups(root):
        limit = min((_number(group / name) for name in _MEMORY_LIMITS), default=math.inf)
        memory.append(limit)
        if math.isfinite(limit):
            free.append(max(0.0, limit - _used_bytes(group)))
        cores.append(_cores(group))
    return CgroupLimits(memory_bytes=min(memory), free_bytes=min(free), cores=min(cores))


def _groups(root: Path) -> Iterator[Path]:
    """Yield the directories of the groups that the process belongs to, each followed by those above it."""
    own = _own_paths(root)
    for mount, part, controllers in _mounts(root):
        path = next((path for names, path in own.items() if names & controllers or names == controllers), None)
        if path is None:
            continue
        # A container may see its own part of the hierarchy only, and may or may not know where that part hangs.
        inside = Path(path).relative_to(part) if Path(path).is_relative_to(part) else Path()
        group = mount if ".." in inside.parts else mount / inside
        yield from (each for each in (group, *group.parents) if each.is_relative_to(mount))


def _own_paths(root: Path) -> dict[frozenset[str], str]:
    """Return the path of the process in each hierarchy, by its controllers; version 2 has none by name."""
    paths = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        paths[frozenset(filter(None, controllers.split(",")))] = path
    return paths


def _mounts(root: Path) -> Iterator[tuple[Path, str, frozenset[str]]]:
    """Yield where each hierarchy is mounted, which part of it, and its controllers; version 2 has none by name."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3 or kinds[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset(kinds[2].split(",")) & CONTROLLERS if kinds[0] == "cgroup" else frozenset()
        if kinds[0] == "cgroup2" or controllers:
            yield root / fields[4].lstrip("/"), fields[3], controllers


def _cores(group: Path) -> float:
    """Return the quota of one group: cpu.max in version 2, two files in version 1."""
    words = next(iter(_lines(group / "cpu.max")), "").split()
    if len(words) == 2:
        quota, period = _parsed(words[0]), _parsed(words[1])
    else:
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return quota / period if 0 < quota < math.inf and 0 < period < math.inf else math.inf


def _used_bytes(group: Path) -> float:
    used = min((_number(group / name) for name in _MEMORY_USED), default=math.inf)
    stat = dict(line.split(maxsplit=1) for line in _lines(group / "memory.stat") if " " in line)
    cache = max((_parsed(stat[name]) for name in _RECLAIMABLE if name in stat), default=0.0)
    return max(0.0, used - cache) if math.isfinite(used) else 0.0


def _number(path: Path) -> float:
    return _parsed(next(iter(_lines(path)), ""))


def _parsed(text: str) -> float:
    """Return a number; infinite for `max`, for nothing and for what stands for no limit."""
    with contextlib.suppress(ValueError):
        return float(int(text))
    return math.inf


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
