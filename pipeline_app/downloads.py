"""Products as files to be fetched: found below the data roots, sent whole, by ranges, or directories as tar."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from pipeline_app.models import Product
from tasks_app.streaming import CHUNK_BYTES, open_file, send_file, streamed

PICTURES = frozenset({"preview", "plot"})
FITS = (".fits", ".fit")


def locate(product: Product) -> Path | None:
    """Return where the product is, resolved; None where it is not on this host or not below ABSURD_DATA_ROOTS."""
    if not product.path.startswith("/") or "\0" in product.path:
        return None
    try:
        path = Path(product.path).resolve(strict=True)
        roots = [root.resolve() for root in settings.ABSURD_DATA_ROOTS]
    except (OSError, RuntimeError):
        return None
    return path if any(path.is_relative_to(root) and path != root for root in roots) else None


def picture_path(product: Product) -> Path | None:
    """Return where the product is if it is a picture that can be shown."""
    path = locate(product) if product.kind in PICTURES else None
    return path if path is not None and path.is_file() else None


def send(product: Product, path: Path, asked: Mapping[str, str]) -> HttpResponseBase:
    """Send what `locate` found: pictures to be shown, everything else to be saved.

    `asked` are the headers of the request. Raises OSError, and RangeNotSatisfiable.
    """
    if path.is_dir():
        return _send_directory(path)
    kind = _content_type(product, path)
    shown = kind == "image/png"
    disposition = content_disposition_header(as_attachment=not shown, filename=path.name) or "attachment"
    return send_file(open_file(path), content_type=kind, headers={"Content-Disposition": disposition}, asked=asked)


def _content_type(product: Product, path: Path) -> str:
    if product.kind in PICTURES:
        return "image/png"
    return "application/fits" if path.suffix.lower() in FITS else "application/octet-stream"


def _send_directory(path: Path) -> HttpResponseBase:
    name = f"{path.name}.tar"
    headers = {
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=name) or "attachment",
        "Accept-Ranges": "none",
    }
    return streamed(tar_of(path), content_type="application/x-tar", headers=headers)


async def tar_of(directory: Path) -> AsyncIterator[bytes]:
    """Yield a directory as a tar archive in parts; links are left out, for they may lead anywhere."""
    for path in await asyncio.to_thread(lambda: list(_entries(directory))):
        name = str(Path(directory.name) / path.relative_to(directory))
        if path.is_dir():
            yield _header(path, f"{name}/")
            continue
        with await asyncio.to_thread(open_file, path) as file:
            size = os.fstat(file.fileno()).st_size
            yield _header(path, name, size)
            left = size
            while left:
                part = await asyncio.to_thread(file.read, min(CHUNK_BYTES, left))
                # A file that shrinks meanwhile must not shift those behind it.
                part = part or bytes(min(CHUNK_BYTES, left))
                left -= len(part)
                yield part
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _entries(directory: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(directory):
        folders.sort()
        folders[:] = [folder for folder in folders if not Path(place, folder).is_symlink()]
        yield Path(place)
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _header(path: Path, name: str, size: int = 0) -> bytes:
    status = path.stat()
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
    info.size, info.mtime, info.mode = size, int(status.st_mtime), status.st_mode & 0o755
    return info.tobuf(tarfile.PAX_FORMAT)
