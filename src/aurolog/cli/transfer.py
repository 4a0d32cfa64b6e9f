"""`import` and `export`: any file as pages, and back, byte for byte."""

import contextlib
import os
import secrets
import shlex
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

import aurolog
from aurolog.cli import terminal
from aurolog.cli.arguments import (
    At,
    FirstPage,
    Json,
    SourcePath,
    TargetPath,
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

STANDARD = Path("-")
"""Standard input or output in the place of a file."""


def import_file(
    path: VolumePath,
    file: SourcePath,
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
    with _open_source(file) as source:
        size = None if file == STANDARD else os.fstat(source.fileno()).st_size
        volume, created = _open_or_create(path, page_size)
        with volume, terminal.progress(f"Importing {file.name}") as advance:
            began = time.perf_counter()
            done = Imported(file, page, volume.page_size)
            logged = volume.stats().log_bytes
            note = import_note(file.name, size)
            try:
                while data := _read_ahead(source, file, size, done.bytes):
                    done.add(_write_pages(volume, done.next_page, data, note), len(data))
                    advance(done.bytes, size or done.bytes)
            except (KeyboardInterrupt, aurolog.AurologError, OSError):
                if done.transactions:  # the error is told behind it
                    sys.stderr.write(f"aurolog: cut short: {done}; the rest was not\n")
                elif created:
                    sys.stderr.write(
                        f"aurolog: created a volume in {printable(str(path.absolute()))}, which is "
                        "empty: nothing was imported\n"
                    )
                raise
            seconds = time.perf_counter() - began
            logged = volume.stats().log_bytes - logged
            lsn = volume.durable_lsn if done.lsn is None else done.lsn
        if size is not None and (done.bytes != size or os.fstat(source.fileno()).st_size != size):
            raise CommandError(f"{file}: grew or shrank while it was imported; import it again")
    if json:
        print_json(
            {
                "path": str(path.absolute()),
                "created": created,
                "file": _absolute(file),
                "bytes": done.bytes,
                "first_page": page,
                "pages": done.pages,
                "transactions": done.transactions,
                "lsn": lsn,
                "log_bytes": logged,
                "seconds": seconds,
            }
        )
        return
    if created:
        print(f"created a volume in {printable(str(path.absolute()))}")
    at_page = f" --page {page}" if page else ""
    print(
        f"imported {bytes_text(done.bytes)} into {plural(done.pages, 'page')} from page {page} on, "
        f"in {plural(done.transactions, 'transaction')}; {bytes_text(logged)} logged; "
        f"{seconds:.2f} s\n"
        f"the same bytes again: aurolog export {printable(shlex.quote(str(path)))} FILE "
        f"--at {lsn}{at_page} --size {done.bytes}"
    )


@dataclass
class Imported:
    """How far an import has come: what is committed."""

    file: Path
    first_page: int
    page_size: int
    bytes: int = 0
    pages: int = 0
    transactions: int = 0
    lsn: int | None = None

    @property
    def next_page(self) -> int:
        """Where the next bytes go."""
        return self.first_page + self.pages

    def add(self, lsn: int | None, count: int) -> None:
        """A transaction of so many bytes is committed; `None` when nothing changed."""
        self.lsn = self.lsn if lsn is None else lsn
        self.transactions += lsn is not None
        self.pages += -(-count // self.page_size)
        self.bytes += count

    def __str__(self) -> str:
        return (
            f"the first {bytes_text(self.bytes)} of {printable(str(self.file))} were imported, "
            f"into {plural(self.pages, 'page')} from page {self.first_page} on, "
            f"up to LSN {self.lsn}"
        )


def _open_or_create(path: Path, page_size: int | None) -> tuple[aurolog.Volume, bool]:
    """The volume, and whether it was made."""
    try:
        return aurolog.open(path, page_size=page_size, create=False), False
    except aurolog.NotAVolumeError:
        return aurolog.open(path, page_size=page_size), True
    except aurolog.InputError as error:
        text = str(error).replace("leave page_size out", "leave --page-size out")
        raise CommandError(text) from None


def _open_source(file: Path) -> BinaryIO:
    """Open a file that has a size; opening without waiting, as a pipe without a writer would."""
    if file == STANDARD:
        if sys.stdin is None:
            raise CommandError("standard input is closed")
        return open(sys.stdin.fileno(), "rb", closefd=False)
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise CommandError(f"{file}: not a regular file; - reads standard input")
    return open(fd, "rb")  # buffered: a read is short only at the end of the file


def _read_ahead(source: BinaryIO, file: Path, size: int | None, done: int) -> bytes:
    """The bytes of the next transaction; none at the end, or at the size that the file had."""
    try:
        return source.read(
            TRANSACTION_BYTES if size is None else min(TRANSACTION_BYTES, size - done)
        )
    except OSError as error:
        error.filename = "standard input" if file == STANDARD else str(file)
        raise


def _absolute(file: Path) -> str:
    return str(file) if file == STANDARD else str(file.absolute())


def _write_pages(volume: aurolog.Volume, first_page: int, data: bytes, note: str) -> int | None:
    """One transaction of whole pages; returns its commit LSN, `None` when nothing changed."""
    page_size = volume.page_size
    with volume.transaction(durability="sync", note=note) as tx:
        for offset in range(0, len(data), page_size):
            image = data[offset : offset + page_size].ljust(page_size, b"\0")
            tx[first_page + offset // page_size] = image
    return tx.lsn


def import_note(name: str, size: int | None) -> str:
    """The note kept with an import's commits; a long name is shortened, the size never."""
    if size is None:
        return "import from standard input"
    name = name.encode("utf-8", "replace").decode()
    room = NOTE_BYTES_MAX - len(f"import  {size}")
    while len(name.encode()) > room:
        name = name[:-1]
    return f"import {name} {size}"


def export_file(
    path: VolumePath,
    file: TargetPath,
    at: At = None,
    page: FirstPage = 0,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES", min=0, help="How many bytes.", show_default="to the end of page space"
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an existing regular file; its mode stays.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a volume's pages into a file, now or as of a moment.

    The file appears whole or not at all: it is written under another name beside its place,
    synced and renamed. Symbolic links are followed; what is no regular file is never replaced.
    """
    if file == STANDARD:
        if json:
            raise CommandError("--json prints on standard output, where the bytes go: name a file")
    else:
        _refuse_existing(file, force)
    with open_to_read(path) as volume, view_at(volume, at) as view:
        available = max(len(view) - page, 0) * view.page_size
        if size is None:
            _refuse_the_time_before(volume, view)
            size = available
        if size > available:
            raise CommandError(
                f"--size {size}: from page {page} on there are {available} bytes as of LSN "
                f"{view.lsn}"
            )
        began = time.perf_counter()
        with terminal.progress(f"Exporting {file.name}") as advance:
            if file == STANDARD:
                _write_to_stdout(view, page, size, advance)
                return
            _write_whole(view, page, size, file, force, advance)
        seconds = time.perf_counter() - began
        lsn, view_time = view.lsn, view.time
    if json:
        print_json(
            {
                "path": str(path.absolute()),
                "file": _absolute(file),
                "bytes": size,
                "first_page": page,
                "lsn": lsn,
                "time": view_time,
                "seconds": seconds,
            }
        )
        return
    print(f"exported {bytes_text(size)} as of LSN {lsn} to {printable(str(file))}; {seconds:.2f} s")


def _refuse_the_time_before(volume: aurolog.Volume, view: aurolog.View) -> None:
    """Nobody who names an LSN inside the first commit means the empty volume before it."""
    if len(view) > 0 or view.lsn == volume.visible_lsn:
        return
    first = next((batch.lsn for batch in volume.log() if batch.kind == "pages"), 0)
    if view.lsn < first:
        raise CommandError(
            f"the volume is empty as of LSN {view.lsn}; its first commit is LSN {first}: ask for "
            "that one or a later one, or with --size 0 for an empty file"
        )


def _refuse_existing(file: Path, force: bool) -> None:
    if file.is_dir():
        raise CommandError(f"{file}: is a directory")
    if file.exists() and not file.is_file():
        raise CommandError(f"{file}: not a regular file; - writes to standard output")
    if not force and os.path.lexists(file):
        raise CommandError(f"{file}: exists already; --force replaces it")


def _write_to_stdout(view: aurolog.View, page: int, size: int, advance: terminal.Advance) -> None:
    sys.stdout.flush()
    _copy_pages(view, page, size, sys.stdout.buffer, advance)
    sys.stdout.buffer.flush()


def _write_whole(
    view: aurolog.View,
    page: int,
    size: int,
    file: Path,
    force: bool,
    advance: terminal.Advance,
) -> None:
    """Write to a temporary name, sync, put into place, sync the directory."""
    place = Path(os.path.realpath(file)) if force else file
    beside = place.with_name(f".aurolog-export-{secrets.token_hex(8)}.tmp")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with open(fd, "wb", buffering=0) as target:
            if force and place.exists():
                os.fchmod(fd, stat.S_IMODE(place.stat().st_mode))
            _copy_pages(view, page, size, target, advance)
            os.fsync(target.fileno())
        if force:
            _refuse_existing(place, force)  # once more: much time may have passed
            os.replace(beside, place)
        else:
            _put_if_absent(beside, place)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, aurolog.AurologError):
            error.filename = str(file)  # that is what could not be written, whatever the call was
            error.filename2 = None
        raise
    _sync_directory(place.parent)


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
