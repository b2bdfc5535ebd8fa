"""Where the private servers keep their files. Sockets need a short, plain path; the data does not."""

from __future__ import annotations

import hashlib
import os
import pwd
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from absurd_project import env
from tasks_app.files.directories import make_private
from tasks_app.version import CHECKOUT, IS_CHECKOUT

# A Unix socket's path holds 107 bytes; the longest name below the socket directory takes 27 of them.
LONGEST_SOCKET_DIRECTORY = 80
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._-]+")


class EmbeddedServerError(RuntimeError):
    """A private server cannot be started, reached or stopped; the message says what to do."""


def state_directory() -> Path:
    """Return the state directory that the environment names.

    By default it is `var` in a checkout, `absurd` in the user's directory of state for an installed package.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state")
    return env.state_directory(CHECKOUT / "var" if IS_CHECKOUT else state / "absurd")


@dataclass(frozen=True, kw_only=True)
class Locations:
    """Every path of one server pair, computed from its state directory; nothing is touched."""

    var: Path

    @property
    def lock(self) -> Path:
        """The file locked while servers are started or stopped."""
        return self.var / "servers.lock"

    @property
    def log(self) -> Path:
        """Directory of the servers' logs."""
        return self.var / "log"

    @property
    def sockets(self) -> Path:
        """Directory of the sockets, short and free of characters that a URL would have to quote."""
        inside = self.var / "run"
        if _fits(inside):
            return inside
        home = self._owner_home()
        kept = home / ".local" / "state" / "absurd" / self.digest if home else None
        # Last: /tmp is emptied by cleaners, after which the servers are started again.
        return kept if kept and _fits(kept) else Path("/tmp") / f".abs-{self.digest}"  # noqa: S108 - checked before use

    def _owner_home(self) -> Path | None:
        """Return the home of whom the state directory belongs to, by the user database: the same for everybody."""
        try:
            home = Path(pwd.getpwuid(self.var.stat().st_uid if self.var.exists() else os.geteuid()).pw_dir)
        except (KeyError, OSError):
            return None
        return home if home.is_dir() and os.access(home, os.W_OK) else None

    @property
    def digest(self) -> str:
        """A short name of this state directory, the same for every spelling of its path."""
        return hashlib.sha256(os.fsencode(os.path.realpath(self.var))).hexdigest()[:12]

    @property
    def postgres_data(self) -> Path:
        """PostgreSQL's data directory (a link, when the servers had to live outside the checkout)."""
        return self.var / "postgres"

    @property
    def postgres_sockets(self) -> Path:
        """Directory of PostgreSQL's socket."""
        return self.sockets / "pg"

    @property
    def postgres_log(self) -> Path:
        """PostgreSQL's log."""
        return self.log / "postgres.log"

    @property
    def valkey_socket(self) -> Path:
        """Valkey's socket."""
        return self.sockets / "valkey.sock"

    @property
    def valkey_pid(self) -> Path:
        """The file in which Valkey leaves its process id."""
        return self.var / "valkey.pid"

    @property
    def valkey_log(self) -> Path:
        """Valkey's log."""
        return self.log / "valkey.log"


def _fits(directory: Path) -> bool:
    return len(os.fsencode(directory)) <= LONGEST_SOCKET_DIRECTORY and bool(PLAIN_PATH.fullmatch(str(directory)))


def prepare(places: Locations) -> None:
    """Make the directories of a pair.

    Raises EmbeddedServerError when one cannot be made, or when the socket directory is not ours: in a place
    that everybody can write to, a stranger could wait there with a server of their own.
    """
    try:
        places.var.mkdir(parents=True, exist_ok=True)
        make_private(places.log)
        places.sockets.parent.mkdir(parents=True, exist_ok=True)
        places.sockets.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EmbeddedServerError(f"cannot prepare the state directory {places.var}: {error}") from error
    found = places.sockets.lstat()
    owners = {os.geteuid(), places.var.stat().st_uid}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or found.st_mode & 0o022:
        raise EmbeddedServerError(
            f"{places.sockets} is not a directory that this user owns alone: remove it or set another ABSURD_VAR"
        )


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log, or an empty string when there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
