"""Sizes, checksums and fsync of the products of an attempt. Runs in the child; no Django."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20
DIGEST_BYTES = 16
UNSTABLE = frozenset({"table.lock"})
"""CASA rewrites its lock file whenever a table is opened, so it is no part of a table's content."""

_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


def sync(directory: Path) -> None:
    """Force every file and directory below `directory` onto the disk, so that a rename publishes whole files.

    Raises ValueError for a pipe, a socket or a device, whose reader would wait for a writer.
    """
    for folder, _, names in os.walk(directory):
        for name in names:
            _fsync(Path(folder) / name)
        _fsync(Path(folder))


def _fsync(path: Path) -> None:
    if path.is_symlink():
        return
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise ValueError(
            f"the output {path.name} is not a regular file but {_KINDS.get(stat.S_IFMT(mode), 'a device')}"
        )
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def measure(product: Path) -> tuple[int, str]:
    """Return (size in bytes, checksum) of a file or directory.

    A file's checksum is ``blake2b:<hex>`` of its bytes; a directory's is ``manifest:<hex>`` of its sorted lines of
    relative name, size and content hash, CASA's lock files left out.
    """
    if product.is_file():
        return product.stat().st_size, f"blake2b:{_hash(product)}"
    total, manifest = 0, hashlib.blake2b(digest_size=DIGEST_BYTES)
    for path in sorted(_files(product)):
        size = path.stat().st_size
        total += size
        manifest.update(f"{path.relative_to(product)}\t{size}\t{_hash(path)}\n".encode())
    return total, f"manifest:{manifest.hexdigest()}"


def _files(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder) / name
            if name not in UNSTABLE and path.is_file():
                yield path


def _hash(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
