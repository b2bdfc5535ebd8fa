"""The operator's account and API key of this machine, with their secrets in files only their owner can read."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from django.contrib.auth.models import Group, User
from django.db import transaction

from tasks_app.models import ApiKey

OPERATOR = "operator"
OPERATOR_GROUP = "Operator"
KEY_NAME = "operator on this machine"
SCOPES = ["read", "spawn", "operate"]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What was created by this call; None where it existed already."""

    password: str | None
    api_key: str | None


def password_file(var: Path) -> Path:
    """Return the file that keeps the operator's password."""
    return var / "operator_password"


def api_key_file(var: Path) -> Path:
    """Return the file that keeps the API key."""
    return var / "api_key"


def exist() -> bool:
    """Whether there is any account."""
    return User.objects.exists()


@transaction.atomic
def prepare(var: Path, *, new_password: bool = False) -> Made:
    """Make the operator's account and key where they are missing; leave alone what is there.

    A password changed in the console stays; `new_password` replaces it.
    """
    operator, is_new = User.objects.get_or_create(username=OPERATOR, defaults={"is_staff": True})
    operator.groups.add(Group.objects.get(name=OPERATOR_GROUP))
    password = None
    if is_new or new_password:
        kept = None if new_password else _read(password_file(var))
        password = kept or secrets.token_urlsafe(15)
        operator.set_password(password)
        operator.save(update_fields=["password"])
        write_secret(password_file(var), password)
    return Made(password=password, api_key=_prepare_key(var, operator))


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read, and that is never seen half-written."""
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    partial.replace(path)


def _prepare_key(var: Path, operator: User) -> str | None:
    kept = _read(api_key_file(var))
    if kept and ApiKey.objects.is_valid(kept):
        return None
    _, key = ApiKey.objects.create_key(name=KEY_NAME, scopes=SCOPES, owner=operator)
    write_secret(api_key_file(var), key)
    return str(key)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
