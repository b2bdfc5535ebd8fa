"""The user that PostgreSQL runs as. It refuses root, so root needs another name for it; other users do not.

In order: the owner of a data directory that is not root's; `nobody` in a user namespace, where nothing on the
disk changes; and, where the kernel or the container forbids namespaces, a real unprivileged user with the data
directory outside the checkout, since that user may not be able to reach into it.
"""

from __future__ import annotations

import logging
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from absurd_project.local.locations import EmbeddedServerError, Locations

LAUNCHER = Path(__file__).with_name("launch.py")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """As whom and from where PostgreSQL runs: options for the launcher, the real directories, the binaries."""

    options: tuple[str, ...]
    data: Path
    sockets: Path
    binaries: Path


def launcher(*options: str) -> list[str]:
    """Return the argv prefix that runs a command through the launcher."""
    return [sys.executable, "-I", "-S", str(LAUNCHER), *options, "--"]


def start_detached(argv: Sequence[str], log: Path, options: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Start a server in a session of its own, writing to a log; return its pid.

    Raises EmbeddedServerError.
    """
    started = subprocess.run(
        [*launcher(*options, "--detach", str(log)), *argv],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if started.returncode:
        raise EmbeddedServerError(f"{Path(argv[0]).name} could not be started: {started.stderr}")
    return int(started.stdout)


def namespaces_work() -> bool:
    """Return whether this process may run a command as `nobody` in a user namespace."""
    attempt = subprocess.run([*launcher("--namespace"), "/bin/true"], capture_output=True, check=False)
    return attempt.returncode == 0


def owner_options(places: Locations) -> tuple[str, ...]:
    """Return the launcher's options that make root serve the owner of a state directory as that owner would."""
    owner = places.var.stat().st_uid
    return ("--uid", str(owner)) if os.geteuid() == 0 and owner != 0 else ()


def choose(places: Locations, binaries: Path) -> Standing:
    """Decide how PostgreSQL is to run here and make the directories for it ready."""
    data = places.postgres_data
    if os.geteuid() != 0:
        return _in_place(places, binaries, ())
    owner = data.stat().st_uid if data.exists() else 0
    if owner != 0 and not data.is_symlink():
        return _in_place(places, binaries, ("--uid", str(owner)), owner=owner)
    if owner == 0 and namespaces_work():
        return _in_place(places, binaries, ("--namespace",))
    return _outside(places, binaries)


def outside_home(places: Locations) -> Path:
    """Return the directory used when root may not make user namespaces."""
    return Path("/var/lib") / f"absurd-{places.digest}"


def _in_place(places: Locations, binaries: Path, options: tuple[str, ...], owner: int | None = None) -> Standing:
    sockets = places.postgres_sockets
    if sockets.is_symlink():
        sockets.unlink()
    sockets.mkdir(mode=0o700, exist_ok=True)
    if owner is not None:
        os.chown(sockets, owner, -1)
    return Standing(options=options, data=places.postgres_data, sockets=sockets, binaries=binaries)


def _outside(places: Locations, binaries: Path) -> Standing:
    home, user = outside_home(places), _unprivileged()
    data, sockets = home / "data", home / "run"
    home.mkdir(mode=0o700, exist_ok=True)
    if places.postgres_data.is_dir() and not places.postgres_data.is_symlink():
        shutil.move(places.postgres_data, data)
        _give(data, user)
    sockets.mkdir(mode=0o700, exist_ok=True)
    for directory in (home, sockets):
        os.chown(directory, user.pw_uid, user.pw_gid)
    _link(places.postgres_data, data)
    _link(places.postgres_sockets, sockets)
    options = ("--uid", str(user.pw_uid))
    if not _reachable(binaries, options):
        binaries = _copy_binaries(binaries, home, user)
    log.warning(
        "user namespaces are forbidden here: PostgreSQL runs as %s with its data in %s (make purge removes it)",
        user.pw_name,
        home,
    )
    return Standing(options=options, data=data, sockets=sockets, binaries=binaries)


def _unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _give(tree: Path, user: pwd.struct_passwd) -> None:
    os.chown(tree, user.pw_uid, user.pw_gid)
    for parent, directories, files in os.walk(tree):
        for name in (*directories, *files):
            os.chown(Path(parent) / name, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    if link.is_symlink():
        link.unlink()
    elif link.is_dir():
        link.rmdir()
    link.symlink_to(target)


def _reachable(binaries: Path, options: tuple[str, ...]) -> bool:
    attempt = subprocess.run(
        [*launcher(*options), str(binaries / "postgres"), "--version"], capture_output=True, check=False
    )
    return attempt.returncode == 0


def _copy_binaries(binaries: Path, home: Path, user: pwd.struct_passwd) -> Path:
    copy = home / "pginstall"
    if not (copy / "bin").is_dir():
        shutil.rmtree(home / "pginstall.new", ignore_errors=True)
        shutil.copytree(binaries.parent, home / "pginstall.new", symlinks=True)
        _give(home / "pginstall.new", user)
        (home / "pginstall.new").rename(copy)
    return copy / "bin"
