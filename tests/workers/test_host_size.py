"""The size of the host, from files as kernels write them, and from a real control group where one can be made."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import uuid
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.live import ROOT
from workers import host_size, registration

GB = 10**9
V2_MOUNT = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "33 25 0:29 {part} /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
    "34 25 0:30 {part} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
    "36 25 0:31 / /sys/fs/cgroup/systemd rw,nosuid - cgroup cgroup rw,xattr,name=systemd\n"
)
UNLIMITED = "9223372036854771712"


def tree(root: Path, mounts: str, groups: str, **files: str) -> Path:
    """Write what a kernel shows: mounts, the process's groups, and files by their path, `__` standing for a slash."""
    written = {"proc/self/mountinfo": mounts, "proc/self/cgroup": groups}
    for path, text in {**written, **files}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_without_limits_there_are_none(tmp_path):
    assert host_size.cgroup_limits(tmp_path) == host_size.CgroupLimits()
    files = {"sys/fs/cgroup/user.slice/memory.max": "max\n", "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n"}
    assert host_size.cgroup_limits(tree(tmp_path, V2_MOUNT, "0::/user.slice\n", **files)) == host_size.CgroupLimits()


def test_a_systemd_service_in_a_slice_has_the_tightest_limit_of_all_levels(tmp_path):
    base = "sys/fs/cgroup/absurd.slice"
    root = tree(
        tmp_path,
        V2_MOUNT,
        "0::/absurd.slice/absurd-worker.service\n",
        **{
            f"{base}/memory.max": f"{12 * GB}\n",
            f"{base}/memory.current": f"{9 * GB}\n",
            f"{base}/memory.stat": f"anon 1\ninactive_file {2 * GB}\nactive_file 5\n",
            f"{base}/cpu.max": "350000 100000\n",
            f"{base}/absurd-worker.service/memory.max": "max\n",
            f"{base}/absurd-worker.service/memory.high": f"{8 * GB}\n",
            f"{base}/absurd-worker.service/memory.current": f"{1 * GB}\n",
            f"{base}/absurd-worker.service/cpu.max": "max 100000\n",
        },
    )
    assert host_size.cgroup_limits(root) == host_size.CgroupLimits(memory_bytes=8 * GB, free_bytes=5 * GB, cores=3.5)
    assert host_size.memory_bytes(root) <= 8 * GB and host_size.free_bytes(root) <= 5 * GB
    assert 1 <= host_size.cores(root) <= 3


def test_a_container_sees_its_own_group_as_the_top(tmp_path):
    files = {"sys/fs/cgroup/memory.max": f"{4 * GB}\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}
    root = tree(tmp_path, V2_MOUNT, "0::/\n", **files)
    assert (host_size.cgroup_limits(root).memory_bytes, host_size.cgroup_limits(root).cores) == (4 * GB, 0.5)
    assert host_size.cores(root) == 1
    (root / "proc/self/cgroup").write_text("0::/../../elsewhere\n")
    assert host_size.cgroup_limits(root).memory_bytes == 4 * GB


def test_version_1_has_a_hierarchy_for_each_controller_and_limits_at_the_job(tmp_path):
    job, task = "slurm/uid_1000/job_42", "slurm/uid_1000/job_42/step_0/task_0"
    groups = f"5:memory:/{task}\n4:cpu,cpuacct:/{job}\n1:name=systemd:/\n0::/\n"
    root = tree(
        tmp_path,
        V1_MOUNTS.format(part="/"),
        groups,
        **{
            "sys/fs/cgroup/memory/memory.limit_in_bytes": UNLIMITED,
            f"sys/fs/cgroup/memory/{job}/memory.limit_in_bytes": str(6 * GB),
            f"sys/fs/cgroup/memory/{job}/memory.usage_in_bytes": str(5 * GB),
            f"sys/fs/cgroup/memory/{job}/memory.stat": f"cache 9\ntotal_inactive_file {1 * GB}\n",
            f"sys/fs/cgroup/memory/{task}/memory.limit_in_bytes": UNLIMITED,
            f"sys/fs/cgroup/cpu,cpuacct/{job}/cpu.cfs_quota_us": "200000",
            f"sys/fs/cgroup/cpu,cpuacct/{job}/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
        },
    )
    assert host_size.cgroup_limits(root) == host_size.CgroupLimits(memory_bytes=6 * GB, free_bytes=2 * GB, cores=2.0)


def test_a_container_of_version_1_sees_the_path_outside_and_mounts_its_part(tmp_path):
    files = {"sys/fs/cgroup/memory/memory.limit_in_bytes": str(3 * GB)}
    root = tree(tmp_path, V1_MOUNTS.format(part="/docker/abc"), "5:memory:/docker/abc\n", **files)
    assert host_size.cgroup_limits(root).memory_bytes == 3 * GB


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"])
def test_an_allocation_is_a_host_of_its_own_with_the_size_that_slurm_names(monkeypatch, name):
    registration.host_id.cache_clear()
    here = registration.host_id()
    monkeypatch.setenv(name, "42")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "512")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "1")
    registration.host_id.cache_clear()
    assert registration.host_id() != here
    assert (host_size.memory_bytes(), host_size.cores()) == (512 * host_size.MEGABYTE, 1)
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "0")  # all that the node has
    assert host_size.memory_bytes() > 512 * host_size.MEGABYTE
    monkeypatch.undo()
    registration.host_id.cache_clear()


@pytest.fixture
def real_group() -> Iterator[Path]:
    """Make a control group with 1 GB of memory below the process's own, where that is permitted."""
    files = ("memory.max", "memory.limit_in_bytes")
    parents = [group for group in host_size._groups(Path("/")) if any((group / name).exists() for name in files)]
    if not parents:
        pytest.skip("this process is in no control group for memory")
    group = parents[0] / f"absurd-test-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    try:
        limit = next((group / name for name in files if (group / name).exists()), None)
        if limit is None:
            pytest.skip("the memory controller is not passed on to groups below")
        limit.write_text(str(1 << 30))
        yield group
    finally:
        group.rmdir()


def test_a_worker_in_a_real_control_group_takes_its_limit_for_the_hosts_size(real_group):
    code = (
        f"import os; open('{real_group}/cgroup.procs', 'w').write(str(os.getpid()))\n"
        "from workers import host_size; print(host_size.memory_bytes(), host_size.free_bytes())"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, env=os.environ)
    memory_bytes, free_bytes = map(float, found.stdout.split())
    assert memory_bytes == 1 << 30
    assert 0 < free_bytes < memory_bytes and math.isfinite(free_bytes)


def test_the_use_of_the_host_is_measured_between_two_calls(monkeypatch):
    names = ("user", "system", "idle", "iowait", "guest")
    Times = namedtuple("Times", names)
    times = iter([Times(10, 0, 100, 0, 5), Times(10.1, 0, 100.1, 0, 5), Times(40, 10, 170, 50, 30)])
    monkeypatch.setattr(host_size.psutil, "cpu_times", lambda: next(times))
    use = host_size.HostUse()
    assert use.measure()["host_cpu_busy"] is None, "no time has passed"
    found = use.measure()
    assert found["host_cpu_busy"] == pytest.approx(40 / 160)
    assert found["host_memory_bytes"] == int(host_size.memory_bytes())
    assert 0 < found["host_free_bytes"] <= found["host_memory_bytes"]
