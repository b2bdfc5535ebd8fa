"""Products as files to be fetched: found below the data roots, sent whole, by ranges, or directories as tar."""

from __future__ import annotations

import os
import tarfile
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast
from urllib.parse import quote

from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from pipeline_app.models import Product
from tasks_app.errors import FilesBusy
from tasks_app.feed import other_hosts
from tasks_app.files.bounded_calls import in_time, in_time_async, root_of
from tasks_app.files.http_streaming import CHUNK_BYTES, open_file, open_regular, send_file, streamed
from tasks_app.files.remote import NotFetched

T = TypeVar("T")
PREVIEWS = frozenset({"preview", "plot"})
PICTURES = PREVIEWS | {"thumbnail"}
FITS = (".fits", ".fit")
GONE = "is not on this host below ABSURD_DATA_ROOTS"


def picture_of(product: Product) -> Product | None:
    """Return the product that is the picture of a product: itself if it is one, else the first that its task made."""
    if product.kind in PICTURES:
        return product
    beside = Product.objects.filter(task_id=product.task_id, kind__in=PREVIEWS)
    return beside.order_by("-kind", "id").first()


def locate(product: Product) -> Path | None:
    """Return where the product is, resolved; None where it is not on this host or not below ABSURD_DATA_ROOTS.

    Raises FilesBusy.
    """
    place = Path(product.path)
    return in_time(place, _resolved, place) if place.is_absolute() and "\0" not in product.path else None


def _resolved(place: Path) -> Path | None:
    try:
        path = place.resolve(strict=True)
        roots = [root.resolve() for root in settings.ABSURD_DATA_ROOTS]
    except (OSError, RuntimeError):
        return None
    return path if any(path.is_relative_to(root) and path != root for root in roots) else None


@dataclass(frozen=True, kw_only=True)
class State:
    """What there is of a product, on this host or to be fetched from its own."""

    is_file: bool = False
    problem: str = ""
    """Why it cannot be fetched; empty where it can."""


def states(products: Iterable[Product]) -> dict[int, State]:
    """Return what there is of each product, by its key; those below one data root are looked for in one call."""
    by_root: dict[str, list[Product]] = defaultdict(list)
    for product in products:
        by_root[root_of(Path(product.path))].append(product)
    found: dict[int, State] = {}
    for root, rows in by_root.items():
        try:
            found |= in_time(Path(root), lambda rows: {row.pk: _state(row) for row in rows}, rows)
        except FilesBusy as error:
            found |= {row.pk: State(problem=str(error)) for row in rows}
        # Whether it is there still is seen when it is fetched.
        fetched = [row.pk for row in rows if found[row.pk].problem == GONE and other_hosts.serves_files(row.host)]
        found |= dict.fromkeys(fetched, State(is_file=True))
    return found


def _state(product: Product) -> State:
    path = _resolved(Path(product.path)) if product.path.startswith("/") and "\0" not in product.path else None
    if path is None or not os.access(path, os.R_OK):
        return State(problem=GONE)
    return State(is_file=path.is_file())


def open_product(product: Product) -> BinaryIO:
    """Open a product that is a regular file, here or on its host.

    Raises OSError, whose text says why it cannot be had, and FilesBusy.
    """
    return _open_at(locate(product), product)


def _open_at(path: Path | None, product: Product) -> BinaryIO:
    if path is not None:
        return open_file(path)
    try:
        return cast(BinaryIO, other_hosts.open_file(product.host, product.path))
    except NotFetched as error:
        raise NotFetched(f"it {GONE}; {error}") from None


def read(product: Product, work: Callable[[BinaryIO], T]) -> T:
    """Return what `work` makes of a product that is a regular file. Raises as `open_product` does, and as `work`."""
    file = open_product(product)

    def read_and_close() -> T:
        # Closed where it is read: closing it would wait for a read that hangs.
        with file:
            return work(file)

    return in_time(Path(file.name), read_and_close)


def send(product: Product, asked: Mapping[str, str], *, directories: bool) -> HttpResponseBase:
    """Send the product, from here or fetched from its host: pictures to be shown, everything else to be saved.

    `asked` are the headers of the request; only directories of this host are sent, if at all. Raises OSError, whose
    text says why it cannot be had, RangeNotSatisfiable and FilesBusy.
    """
    path, place = locate(product), Path(product.path)
    if path is not None and in_time(path, path.is_dir):
        if not directories:
            raise IsADirectoryError("it is a directory")
        return _send_directory(path)
    kind = _content_type(product, place)
    shown = kind == "image/png"
    disposition = content_disposition_header(as_attachment=not shown, filename=place.name) or "attachment"
    headers = {"Content-Disposition": disposition}
    file = _open_at(path, product)
    if settings.ABSURD_INTERNAL_FILES and path is not None and not shown:
        file.close()
        # nginx sends it, whole or by ranges, and adds what belongs to that.
        headers["X-Accel-Redirect"] = settings.ABSURD_INTERNAL_FILES + quote(str(path))
        return HttpResponse(content_type=kind, headers=headers)
    return send_file(file, content_type=kind, headers=headers, request_headers=asked)


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
    for path, is_directory in await in_time_async(directory, lambda: list(_entries(directory))):
        name = str(Path(directory.name) / path.relative_to(directory))
        if is_directory:
            yield await in_time_async(path, _header, path, f"{name}/")
            continue
        with await in_time_async(path, open_regular, path) as file:
            size = (await in_time_async(path, os.fstat, file.fileno())).st_size
            yield await in_time_async(path, _header, path, name, size)
            left = size
            while left:
                part = await in_time_async(path, file.read, min(CHUNK_BYTES, left))
                # A file that shrinks meanwhile must not shift those behind it.
                part = part or bytes(min(CHUNK_BYTES, left))
                left -= len(part)
                yield part
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _entries(directory: Path) -> Iterator[tuple[Path, bool]]:
    for place, folders, names in os.walk(directory):
        folders.sort()
        folders[:] = [folder for folder in folders if not Path(place, folder).is_symlink()]
        yield Path(place), True
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                yield path, False


def _header(path: Path, name: str, size: int = 0) -> bytes:
    status = path.stat()
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
    info.size, info.mtime, info.mode = size, int(status.st_mtime), status.st_mode & 0o755
    return info.tobuf(tarfile.PAX_FORMAT)
