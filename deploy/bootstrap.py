"""Make `.venv` from the locks; does nothing when it is up to date. Standard library only, Python >= 3.11.

`python3 deploy/bootstrap.py` installs what running needs, with `dev` also the tools of tests and checks; the targets of
the Makefile call it. Every package must have a hash of the lock. Everything stays inside the checkout.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
PYTHON = VENV / "bin" / "python"
RUN_LOCK, DEV_LOCK = CHECKOUT / "requirements.lock", CHECKOUT / "requirements-dev.lock"
STAMP = VENV / "installed"
LOG = VENV / "install.log"
DOWNLOADS = VENV / "downloads"

FREE_GB = 4.0
# Sizes seen with the present locks, for the estimate of the time left only.
DOWNLOAD_MB = {RUN_LOCK: 360, DEV_LOCK: 90}
DOWNLOAD_SHARE = 0.55

# Settings of the caller's pip that would send packages elsewhere than into our .venv.
MISLEADING = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PYTHONPATH", "PYTHONHOME")


class Unfit(Exception):
    """The machine lacks something; the message says what to install or change."""


def main() -> int:
    """Bring `.venv` up to date; return the exit code."""
    try:
        check_platform()
        locks = [RUN_LOCK, DEV_LOCK] if sys.argv[1:] == ["dev"] else [RUN_LOCK]
        wanted = fingerprint(locks)
        installed = STAMP.read_text().splitlines() if STAMP.exists() and PYTHON.exists() else []
        if set(wanted) <= set(installed):
            return 0
        check_machine()
        began = time.monotonic()
        missing = [lock for lock in locks if hash_of(lock) not in installed]
        size_mb = sum(DOWNLOAD_MB[lock] for lock in missing)
        print(f"Preparing {VENV} (up to {size_mb} MB to download, 1.9 GB installed)", flush=True)
        make_venv()
        for lock in locks:
            install(lock)
        compile_packages()
        STAMP.write_text("\n".join(wanted))
        print(f"Ready after {time.monotonic() - began:.0f} s", flush=True)
    except Unfit as reason:
        print(f"make: {reason}", file=sys.stderr)
        return 1
    return 0


def fingerprint(locks: list[Path]) -> list[str]:
    """Return what `.venv` depends on: the place, the Python that makes it, the locks."""
    return [str(CHECKOUT), f"{sys.version_info[0]}.{sys.version_info[1]}", *map(hash_of, locks)]


def hash_of(lock: Path) -> str:
    """Return a line that is another one when the lock is."""
    return f"{lock.name} {hashlib.sha256(lock.read_bytes()).hexdigest()}"


def check_platform() -> None:
    """Raise Unfit on a machine for which there are no packages of CASA."""
    found = os.uname()
    if (found.sysname, found.machine) != ("Linux", "x86_64"):
        raise Unfit(f"Linux on x86-64 is needed, this is {found.sysname} on {found.machine}: CASA has no wheels for it")


def check_machine() -> None:
    """Raise Unfit, with what to do about it, when the machine lacks what we need."""
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        found = ".".join(map(str, sys.version_info[:3]))
        raise Unfit(
            f"Python 3.11, 3.12 or 3.13 is needed, {sys.executable} is {found}: make PYTHON=/path/to/python3.12"
        )
    if importlib.util.find_spec("venv") is None:
        raise Unfit("the venv module is missing: apt-get install python3-venv")
    free_gb = shutil.disk_usage(CHECKOUT).free / 1e9
    if free_gb < FREE_GB:
        raise Unfit(f"{FREE_GB:.0f} GB of free disk are needed in {CHECKOUT}, there are {free_gb:.1f}: free some space")
    if not os.access(CHECKOUT, os.W_OK):
        raise Unfit(f"{CHECKOUT} is not writable: chown it to yourself, or clone it elsewhere")
    if shutil.which("git") is None:
        print("git is missing, so products will not name the version of the code: apt-get install git", flush=True)


def make_venv() -> None:
    """Make `.venv` with a pip in it, on machines without ensurepip too."""
    if PYTHON.exists() and _answers("import pip") and _same_version():
        return
    shutil.rmtree(VENV, ignore_errors=True)
    if importlib.util.find_spec("ensurepip") is not None:
        made = _run([sys.executable, "-m", "venv", str(VENV)])
        if made.returncode == 0:
            return
        shutil.rmtree(VENV, ignore_errors=True)
    print("ensurepip is missing here, looking for another pip", flush=True)
    made = _run([sys.executable, "-m", "venv", "--without-pip", str(VENV)])
    if made.returncode:
        raise Unfit(f"python3 -m venv does not work: apt-get install python3-venv\n{made.stdout}")
    if not any(_run(lender).returncode == 0 for lender in pip_lenders()):
        raise Unfit("neither ensurepip, pip nor uv works here: apt-get install python3-venv")


def pip_lenders() -> Iterator[list[str]]:
    """Yield the commands by which what is on this machine may put a pip into the bare `.venv`."""
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "--no-cache-dir", "pip"]
    for name in ("uv", "pip3", "pip"):
        if (found := shutil.which(name)) is None:
            continue
        if name == "uv":
            yield [found, "pip", "install", "--no-cache", "--python", str(PYTHON), "pip"]
        else:
            yield [found, "--python", str(PYTHON), "install", "--no-cache-dir", "pip"]


def install(lock: Path) -> None:
    """Install a lock into `.venv`, saying how far it is."""
    DOWNLOADS.mkdir(exist_ok=True)
    argv = [str(PYTHON), "-I", "-m", "pip", "install", "--no-deps", "--no-compile", "--no-input"]
    argv += ["--progress-bar", "off", "--disable-pip-version-check", "--require-hashes", "-r", str(lock)]
    if "PIP_CACHE_DIR" not in os.environ:
        argv.append("--no-cache-dir")
    began = time.monotonic()
    with LOG.open("w") as log:
        installer = subprocess.Popen(
            argv, stdout=log, stderr=subprocess.STDOUT, env=_environment() | {"TMPDIR": str(DOWNLOADS)}, cwd=CHECKOUT
        )
        try:
            report_until_done(installer, began, lock)
        finally:
            if installer.poll() is None:
                installer.terminate()
                installer.wait()
    shutil.rmtree(DOWNLOADS, ignore_errors=True)
    if installer.returncode:
        last = "\n".join(LOG.read_text(errors="replace").splitlines()[-8:])
        raise Unfit(f"the installation failed (all of it in {LOG}):\n{last}")


def compile_packages() -> None:
    """Compile what was installed; every attempt imports CASA afresh, three times faster with the bytecode there."""
    print("  compiling: about 20 s left", flush=True)
    packages = [str(path) for path in VENV.glob("lib/python3*/site-packages")]
    # Some packages carry templates and files for other Pythons that do not compile; nothing imports those.
    _run([str(PYTHON), "-I", "-m", "compileall", "-q", "-j", "0", *packages])


def report_until_done(installer: subprocess.Popen[bytes], began: float, lock: Path) -> None:
    """Print now and then how far pip is and how long it may still take."""
    packages = len(re.findall(r"^[A-Za-z0-9_.-]+==", lock.read_text(), flags=re.MULTILINE))
    before = installed_packages()
    on_terminal = sys.stdout.isatty()
    every_sec = 1.0 if on_terminal else 10.0
    while True:
        try:
            installer.wait(timeout=every_sec)
        except subprocess.TimeoutExpired:
            line = progress_line(lock, packages, installed_packages() - before, time.monotonic() - began)
            print(f"\r\x1b[K{line}" if on_terminal else line, end="" if on_terminal else "\n", flush=True)
        else:
            if on_terminal:
                print("\r\x1b[K", end="", flush=True)
            return


def installed_packages() -> int:
    """Return how many packages `.venv` holds."""
    return sum(1 for _ in VENV.glob("lib/python3*/site-packages/*.dist-info"))


def progress_line(lock: Path, packages: int, installed: int, elapsed_sec: float) -> str:
    """Return one line: what pip does, how much of it, and about how many seconds are left."""
    fetched_mb = sum(file.stat().st_size for file in _files(DOWNLOADS)) / 1e6
    fetching = installed < packages * 0.1
    if fetching:
        share = DOWNLOAD_SHARE * min(1.0, fetched_mb / DOWNLOAD_MB[lock])
        what = f"downloading: {fetched_mb:.0f} of about {DOWNLOAD_MB[lock]} MB"
    else:
        share = DOWNLOAD_SHARE + (1 - DOWNLOAD_SHARE) * min(1.0, installed / packages)
        what = f"installing: {installed} of about {packages} packages"
    left = f", about {elapsed_sec * (1 - share) / share:.0f} s left" if share > 0.03 else ""
    return f"  {what}{left}"


def _files(directory: Path) -> list[Path]:
    found = []
    for parent, _, names in os.walk(directory):
        found += [Path(parent) / name for name in names]
    return [path for path in found if path.is_file()]


def _answers(statement: str) -> bool:
    return _run([str(PYTHON), "-I", "-c", statement]).returncode == 0


def _same_version() -> bool:
    return _answers(f"import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})")


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in MISLEADING}


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


if __name__ == "__main__":
    sys.exit(main())
