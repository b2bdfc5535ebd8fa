"""Typed readers of the ABSURD_* environment that refuse a bad value by name."""

from __future__ import annotations

import difflib
import os
import re
import secrets
import sys
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from absurd_project import variables
from tasks_app.formats import without_passwords
from tasks_app.validation import fault_of_name

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}

SECRETS = frozenset({"SECRET_KEY", "ABSURD_API_KEY", "ABSURD_FILES_KEY", "ABSURD_NOTIFY"})
FROM_FILES = SECRETS | {"ABSURD_DATABASE_URL", "ABSURD_REDIS_URL", "ABSURD_BACKUP_DATABASE_URL", "ABSURD_SMTP_URL"}
"""Variables with secrets: each may instead be in the file that NAME_FILE names."""
WITH_WEB = frozenset({"check", "runserver", "absurd_up", "absurd_demo", "absurd_benchmark", "absurd_gameday"})
"""Commands that serve the web, start what serves it, or check its settings. The others sign nothing and answer under
no name, so production runs them on hosts that have neither SECRET_KEY nor ABSURD_HOSTS."""
PROGRAMS = frozenset({"manage.py", "absurd", "__main__.py"})
KEY_CHARS_LEAST, KEY_DIFFERENT_LEAST = 50, 5
"""What `check --deploy` wants of SECRET_KEY as well."""
FILES_KEY_CHARS_LEAST = 32

Mode = Literal["local", "production"]


class BadSetting(Exception):
    """An environment variable holds a value that cannot be used."""

    def __init__(self, name: str, value: str, wanted: str) -> None:
        shown = "…" if value and name in SECRETS else without_passwords(value)
        super().__init__(f"{name}={shown!r} is not valid: {wanted}")


def text(name: str, default: str | None = None) -> str:
    """Return the variable, or what the file of a secret has, or the default when it is unset or empty."""
    return _value(name, "text", default)


def _value(name: str, kind: str, default: str | None = None, shown: str | None = None) -> str:
    """Return what is given, else the default, and record how the variable is read."""
    fallback = variables.note(name, kind, default, shown)
    return _given(name) or str(fallback or "")


def _given(name: str) -> str:
    return os.environ.get(name) or (_from_file(name) if name in FROM_FILES else "")


def _from_file(name: str) -> str:
    """Return the first line of the file that NAME_FILE names; empty where it is unset."""
    path = os.environ.get(f"{name}_FILE")
    if not path:
        return ""
    try:
        found = Path(path).read_text().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(f"{name}_FILE", path, f"it cannot be read: {error}") from error
    if not found:
        raise BadSetting(f"{name}_FILE", path, "the file is empty")
    return found


def serves_web() -> bool:
    """Whether this process, or one that it starts, may serve the web: no command but certain ones does."""
    return Path(sys.argv[0]).name not in PROGRAMS or not set(sys.argv[1:2]) - WITH_WEB


def names(name: str) -> tuple[str, ...]:
    """Return the dotted names of a list separated by commas."""
    variables.note(name, "names of modules")
    found = tuple(each.strip() for each in _given(name).split(",") if each.strip())
    for each in found:
        if not all(part.isidentifier() for part in each.split(".")):
            raise BadSetting(name, each, "write names of modules, separated by commas")
    return found


def choice(name: str, words: tuple[str, ...]) -> str:
    """Return one of the words."""
    value = _value(name, " or ".join(f"`{word}`" for word in words))
    if value not in words:
        raise BadSetting(name, value, f"write {' or '.join(words)}")
    return value


def queue_name(name: str, default: str) -> str:
    """Return the name of a queue."""
    value = _value(name, "name", default)
    if fault := fault_of_name(value):
        raise BadSetting(name, value, f"it {fault}")
    return value


def flag(name: str, default: bool | None = None, *, shown: str | None = None) -> bool:
    """Return a boolean; anything but the usual words for true and false is refused."""
    fallback = bool(variables.note(name, "true or false", default, shown))
    value = os.environ.get(name)
    if value is None:
        return fallback
    lowered = value.strip().lower()
    if lowered in TRUE:
        return True
    if lowered in FALSE:
        return False
    raise BadSetting(name, value, "write true or false")


def integer(name: str, *, least: int = 0, most: int | None = None, unit: str = "whole number") -> int:
    """Return a whole number within its bounds."""
    bounds = f"from {least}" + (f" to {most}" if most is not None else "")
    fallback = int(variables.note(name, f"{unit} {bounds}"))
    value = os.environ.get(name)
    if not value:
        return fallback
    wanted = f"write a whole number {bounds}"
    try:
        number = int(value)
    except ValueError:
        raise BadSetting(name, value, wanted) from None
    if number < least or (most is not None and number > most):
        raise BadSetting(name, value, wanted)
    return number


def days(name: str, *, least: int = 0) -> int:
    """Return a duration in whole days."""
    return integer(name, least=least, most=36_500, unit="days")


def archive_days(name: str, *, key_days: int) -> int:
    """Return for how long the archive is kept; no idempotency key may outlive the task that it finds."""
    found = days(name)
    if 0 < found < key_days:
        raise BadSetting(name, str(found), f"write 0 (keep for ever) or at least ABSURD_KEY_RETENTION_DAYS={key_days}")
    return found


def seconds(name: str, *, least: float = 0.0) -> float:
    """Return a duration in seconds."""
    return _number(name, least, "seconds")


def gigabytes(name: str) -> float:
    """Return a size in GB."""
    return _number(name, 0.0, "gigabytes")


def _number(name: str, least: float, unit: str) -> float:
    fallback = float(variables.note(name, unit))
    value = os.environ.get(name)
    if not value:
        return fallback
    try:
        number = float(value)
    except ValueError:
        raise BadSetting(name, value, f"write a number of {unit}") from None
    if not least <= number < float("inf"):
        raise BadSetting(name, value, f"write a number of {unit} not below {least:g}")
    return number


def numbers(name: str) -> dict[str, float]:
    """Return the defaults with those replaced that the variable names, as in `depth_warn=800,dead_rows_warn=1e6`."""
    defaults: Mapping[str, float] = variables.note(name, "numbers by name", shown="see below")
    value = _given(name)
    found = dict(defaults)
    for part in value.replace(",", " ").split():
        key, _, number = part.partition("=")
        if key not in defaults:
            near = difflib.get_close_matches(key, defaults, n=1)
            raise BadSetting(name, value, f"unknown name {key!r}" + (f", did you mean {near[0]}?" if near else ""))
        try:
            found[key] = float(number)
        except ValueError:
            raise BadSetting(name, value, f"write a number after {key}=") from None
        if not 0 <= found[key] < float("inf"):
            raise BadSetting(name, value, f"write a number not below 0 after {key}=")
    return found


def paths(name: str, default: str, *, shown: str) -> tuple[Path, ...]:
    """Return a colon-separated list of absolute directories."""
    value = _value(name, "absolute directories", default, shown)
    found = tuple(Path(part) for part in value.split(":") if part)
    for path in found:
        if not path.is_absolute():
            raise BadSetting(name, value, f"{path} is not an absolute path")
    return found


def networks(name: str, word: str) -> tuple[IPv4Network | IPv6Network | str, ...]:
    """Return a comma-separated list of addresses and networks; `word` stands for something without an address."""
    value = _value(name, "addresses and networks")
    found: list[IPv4Network | IPv6Network | str] = []
    for part in value.replace(",", " ").split():
        try:
            found.append(part if part == word else ip_network(part))
        except ValueError:
            raise BadSetting(name, value, f"{part} is not an address, not a network and not {word!r}") from None
    return tuple(found)


def url_path(name: str) -> str:
    """Return a path of a URL without the slash at its end, or an empty string."""
    value = _value(name, "path of a URL").rstrip("/")
    if value and not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", value):
        raise BadSetting(name, value, "write a path of a URL, such as /internal-files")
    return value


def url(name: str, schemes: tuple[str, ...], *, shown: str | None = None) -> str:
    """Return a URL of one of the given schemes, or the default, which may be an empty string."""
    value = _value(name, "URL", shown=shown)
    if not value:
        return value
    try:
        parts = urlsplit(value)
        _ = parts.port  # which says so when it is no number
    except ValueError as error:
        raise BadSetting(name, value, f"it is not a valid address: {without_passwords(str(error))}") from None
    if parts.scheme not in schemes or not value.startswith(f"{parts.scheme}://"):
        raise BadSetting(name, value, f"start it with {' or '.join(s + '://' for s in schemes)}")
    return value


def bind(name: str, current_mode: Mode) -> str:
    """Return the address that the web listens on: in local mode one of this machine."""
    value = _value(name, "address")
    try:
        address = ip_address(value.strip("[]"))
    except ValueError:
        raise BadSetting(name, value, "write an address of this host, such as 10.0.0.5, or 0.0.0.0 for all") from None
    if current_mode == "local" and not address.is_loopback:
        raise BadSetting(name, value, "local mode answers this machine only; set ABSURD_MODE=production")
    return str(address)


def files_key(name: str) -> str:
    """Return the secret with which hosts sign requests for each other's files; empty when unset."""
    value = text(name)
    if value and len(value) < FILES_KEY_CHARS_LEAST:
        raise BadSetting(name, value, f"write {FILES_KEY_CHARS_LEAST} random characters or more, the same on all hosts")
    return value


def files_address(name: str, key: str) -> str:
    """Return the address and port at which a worker serves files of its host, such as 10.0.0.5:8001; empty: none."""
    value = _value(name, "address and port")
    if not value:
        return value
    host, _, port = value.rpartition(":")
    wanted = "write an address of this host that the web host reaches, and a port, such as 10.0.0.5:8001"
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port)
    except ValueError:
        raise BadSetting(name, value, wanted) from None
    if address.is_unspecified or not 1 <= number <= 65535:
        raise BadSetting(name, value, wanted)
    if not key:
        raise BadSetting(name, value, "it needs ABSURD_FILES_KEY, the same on all hosts")
    return f"[{address}]:{number}" if address.version == 6 else f"{address}:{number}"


def conninfo(name: str, url: str) -> dict[str, str]:
    """Return the parts of a PostgreSQL URL under the names of libpq, as libpq itself reads them."""
    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except ProgrammingError:  # whose text may hold a part of the password
        raise BadSetting(name, url, "PostgreSQL cannot read it: check its options and each %") from None


def origins(name: str) -> list[str]:
    """Return a comma-separated list of origins as browsers write them: scheme, host, any unusual port."""
    value = _value(name, "origins")
    found = [part.strip() for part in value.split(",") if part.strip()]
    for each in found:
        try:
            parts = urlsplit(each)
            usual = {"http": 80, "https": 443}[parts.scheme] == parts.port
        except (ValueError, KeyError):
            parts, usual = urlsplit(""), True
        if usual or not parts.hostname or each != f"{parts.scheme}://{parts.netloc}" or each != each.lower():
            raise BadSetting(name, each, "write origins such as https://console.example.org, separated by commas")
    return found


RECIPIENT = re.compile(r"mailto:[^@\s,]+@[^@\s,]+|(?:slack\+)?https?://[^/\s,]+[^\s,]*")


def recipients(name: str) -> tuple[str, ...]:
    """Return the addresses of a list separated by commas, to which notices are sent."""
    variables.note(name, "addresses")
    found = tuple(each.strip() for each in _given(name).split(",") if each.strip())
    for number, each in enumerate(found, 1):
        if not RECIPIENT.fullmatch(each):
            wanted = "write mailto:someone@example.org, https://… or slack+https://…, separated by commas"
            raise BadSetting(name, each, f"address {number} is none; {wanted}")
    return found


def hours(name: str) -> tuple[int, int] | None:
    """Return two times of the day in minutes, as in 22:00-07:00; None when unset."""
    value = _value(name, "two times of the day")
    if not value:
        return None
    found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", value)
    if found is None:
        raise BadSetting(name, value, "write two times of the day in UTC, such as 22:00-07:00")
    first_hour, first, last_hour, last = map(int, found.groups())
    return first_hour * 60 + first, last_hour * 60 + last


def hosts(name: str, current_mode: Mode) -> list[str]:
    """Return the names under which the web may be called; the web in production needs at least one."""
    local = str(variables.note(name, "host names"))
    value = _given(name) or ("" if current_mode == "production" else local)
    found = [host.strip() for host in value.split(",") if host.strip()]
    if not found and serves_web():
        raise BadSetting(name, value, "production needs the host names of the web server, such as a.example.org")
    return found


def mode() -> Mode:
    """Return ABSURD_MODE; `local` is the default only while both servers are private ones."""
    shown = "`local` while both server URLs are unset, else `production`"
    variables.note("ABSURD_MODE", "`local` or `production`", shown=shown)
    value = _given("ABSURD_MODE")  # not the default, which is for other Django sites
    if not value:
        external = _given("ABSURD_DATABASE_URL") or _given("ABSURD_REDIS_URL")
        return "production" if external else "local"
    if value == "local":
        return "local"
    if value == "production":
        return "production"
    raise BadSetting("ABSURD_MODE", value, "write local or production")


def state_directory(default: Path) -> Path:
    """Return ABSURD_VAR as an absolute path."""
    shown = "`var/` in a checkout, else `~/.local/state/absurd`"
    fallback = variables.note("ABSURD_VAR", "directory", str(default), shown)
    return Path(_given("ABSURD_VAR") or fallback).expanduser().absolute()


def directory(name: str, default: Path, *, shown: str) -> Path:
    """Return an absolute directory."""
    value = _value(name, "absolute directory", str(default), shown)
    if not Path(value).is_absolute():
        raise BadSetting(name, value, "write an absolute path")
    return Path(value)


def secret_key(var: Path, current_mode: Mode) -> str:
    """Return Django's secret key; in local mode one is made once and kept in the state directory."""
    variables.note("SECRET_KEY", "text", shown="made in local mode")
    value = _given("SECRET_KEY")
    if value and current_mode == "production" and _is_weak(value):
        raise BadSetting("SECRET_KEY", value, f"production needs a random one of {KEY_CHARS_LEAST} characters or more")
    if value:
        return value
    if current_mode == "production" and not serves_web():
        return secrets.token_urlsafe(50)
    if current_mode == "production":
        raise BadSetting("SECRET_KEY", "", "production needs a long random one, also from the file SECRET_KEY_FILE")
    try:
        return _kept_key(var)
    except OSError as error:
        raise BadSetting(
            "ABSURD_VAR", str(var), f"{error.strerror}; choose a directory that this user may write to"
        ) from error


def _is_weak(key: str) -> bool:
    return len(key) < KEY_CHARS_LEAST or len(set(key)) < KEY_DIFFERENT_LEAST or key.startswith("django-insecure-")


def _kept_key(var: Path) -> str:
    """Return the key that the state directory keeps, made if there is none."""
    path = var / "secret_key"
    try:
        return path.read_text()
    except FileNotFoundError:
        var.mkdir(parents=True, exist_ok=True)
    key = secrets.token_urlsafe(50)
    partial = path.with_name(f"secret_key.{os.getpid()}")
    partial.touch(mode=0o600)
    partial.write_text(key)
    try:
        os.link(partial, path)
    except FileExistsError:
        key = path.read_text()
    finally:
        partial.unlink()
    return key
