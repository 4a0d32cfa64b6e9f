"""`import` and `export`: any file as pages, and back, byte for byte."""

import os
import secrets
import stat
import time
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

import aurolog
from aurolog.cli import terminal
from aurolog.cli.arguments import (
    AtLsn,
    FilePath,
    FirstPage,
    Json,
    VolumePath,
    open_to_read,
    view_at,
)
from aurolog.cli.status import CommandError
from aurolog.cli.terminal import bytes_text, plural, print_json, printable

TRANSACTION_BYTES = 4 << 20
"""How much of a file one transaction takes, a multiple of every page size: few syncs, and little
to lose when an import is cut short."""

READ_BYTES = 4 << 20

NOTE_BYTES_MAX = 255


def import_file(
    path: VolumePath,
    file: FilePath,
    page: FirstPage = 0,
    page_size: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            help="Bytes per page of a volume that is created.",
            show_default="4096, or what the volume has",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a file into a volume's pages; the volume is created when it is missing.

    The last page is filled up with zeros. Committed in durable transactions of 4 MiB each: cut
    short, an import has written a whole number of them. Importing a changed file over its former
    version logs only what changed.
    """
    with _open_regular(file) as source:
        size = os.fstat(source.fileno()).st_size
        with (
            aurolog.open(path, page_size=page_size) as volume,
            terminal.progress(f"Importing {file.name}") as advance,
        ):
            began = time.perf_counter()
            logged = volume.stats().log_bytes
            note = import_note(file.name, size)
            pages = transactions = done = 0
            lsn: int | None = None
            while data := source.read(min(TRANSACTION_BYTES, size - done)):
                tx_lsn = _write_pages(volume, page + pages, data, note)
                lsn = lsn if tx_lsn is None else tx_lsn
                transactions += tx_lsn is not None
                pages += -(-len(data) // volume.page_size)
                done += len(data)
                advance(done, size)
            seconds = time.perf_counter() - began
            logged = volume.stats().log_bytes - logged
            lsn = volume.durable_lsn if lsn is None else lsn
        if done != size or os.fstat(source.fileno()).st_size != size:
            raise CommandError(f"{file}: grew or shrank while it was imported; import it again")
    if json:
        print_json(
            {
                "path": str(path.absolute()),
                "file": str(file),
                "bytes": done,
                "first_page": page,
                "pages": pages,
                "transactions": transactions,
                "lsn": lsn,
                "log_bytes": logged,
                "seconds": seconds,
            }
        )
        return
    at_page = f" --page {page}" if page else ""
    print(
        f"imported {bytes_text(done)} into {plural(pages, 'page')} from page {page} on, in "
        f"{plural(transactions, 'transaction')}; {bytes_text(logged)} logged; {seconds:.2f} s\n"
        f"the same bytes again: aurolog export {printable(str(path))} FILE "
        f"--at {lsn}{at_page} --size {done}"
    )


def _open_regular(file: Path) -> BinaryIO:
    """Open a file that has a size; opening without waiting, as a pipe without a writer would."""
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise CommandError(f"{file}: not a regular file")
    return open(fd, "rb")  # buffered: a read is short only at the end of the file


def _write_pages(volume: aurolog.Volume, first_page: int, data: bytes, note: str) -> int | None:
    """One transaction of whole pages; returns its commit LSN, `None` when nothing changed."""
    page_size = volume.page_size
    with volume.transaction(durability="sync", note=note) as tx:
        for offset in range(0, len(data), page_size):
            image = data[offset : offset + page_size].ljust(page_size, b"\0")
            tx[first_page + offset // page_size] = image
    return tx.lsn


def import_note(name: str, size: int) -> str:
    """The note kept with an import's commits; a long name is shortened, the size never."""
    name = name.encode("utf-8", "replace").decode()
    room = NOTE_BYTES_MAX - len(f"import  {size}")
    while len(name.encode()) > room:
        name = name[:-1]
    return f"import {name} {size}"


def export_file(
    path: VolumePath,
    file: FilePath,
    at: AtLsn = None,
    page: FirstPage = 0,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES", min=0, help="How many bytes.", show_default="to the end of page space"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    json: Json = False,
) -> None:
    """Write a volume's pages into a file, now or as of an LSN.

    The file appears whole or not at all: it is written under another name beside its place,
    synced and renamed.
    """
    _refuse_existing(file, force)
    with open_to_read(path) as volume, view_at(volume, at) as view:
        available = max(len(view) - page, 0) * view.page_size
        if size is None:
            size = available
        if size > available:
            raise CommandError(
                f"--size {size}: from page {page} on there are {available} bytes as of LSN "
                f"{view.lsn}"
            )
        began = time.perf_counter()
        with terminal.progress(f"Exporting {file.name}") as advance:
            _write_whole(view, page, size, file, force, advance)
        seconds = time.perf_counter() - began
        lsn, view_time = view.lsn, view.time
    if json:
        print_json(
            {
                "path": str(path.absolute()),
                "file": str(file),
                "bytes": size,
                "first_page": page,
                "lsn": lsn,
                "time": view_time,
                "seconds": seconds,
            }
        )
        return
    print(f"exported {bytes_text(size)} as of LSN {lsn} to {printable(str(file))}; {seconds:.2f} s")


def _refuse_existing(file: Path, force: bool) -> None:
    if file.is_dir():
        raise CommandError(f"{file}: is a directory")
    if not force and os.path.lexists(file):
        raise CommandError(f"{file}: exists already; --force replaces it")


def _write_whole(
    view: aurolog.View,
    page: int,
    size: int,
    file: Path,
    force: bool,
    advance: terminal.Advance,
) -> None:
    """Write to a temporary name, sync, put into place, sync the directory."""
    beside = file.with_name(f".aurolog-export-{secrets.token_hex(8)}.tmp")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(fd, "wb", buffering=0) as target:
            _copy_pages(view, page, size, target, advance)
            os.fsync(target.fileno())
        if force:
            os.replace(beside, file)
        else:
            _put_if_absent(beside, file)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, aurolog.AurologError):
            error.filename = str(file)  # that is what could not be written, whatever the call was
        raise
    _sync_directory(file.parent)


def _copy_pages(
    view: aurolog.View, page: int, size: int, target: BinaryIO, advance: terminal.Advance
) -> None:
    pages_at_once = max(READ_BYTES // view.page_size, 1)
    done = 0
    while done < size:
        first = page + done // view.page_size
        count = min(pages_at_once, -(-(size - done) // view.page_size))
        chunk = view.read_many(range(first, first + count))[: size - done]
        while chunk:
            written = target.write(chunk)
            done += written
            chunk = chunk[written:]
        advance(done, size)


def _put_if_absent(beside: Path, file: Path) -> None:
    """Give the file its name, unless something took the name meanwhile."""
    try:
        os.link(beside, file)
    except FileExistsError:
        raise CommandError(f"{file}: exists already; --force replaces it") from None
    except OSError:
        # A file system without hard links: the check at the start has to do.
        _refuse_existing(file, force=False)
        os.replace(beside, file)
    else:
        beside.unlink()


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
