"""`info`, `log` and `cat`: looking into a volume. All of them work beside a live writer."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

import aurolog
from aurolog.cli import terminal
from aurolog.cli.arguments import (
    WHEN_HELP,
    At,
    Json,
    Moment,
    PageNumber,
    VolumePath,
    moment_of,
    open_to_read,
    view_at,
)
from aurolog.cli.status import CommandError
from aurolog.cli.terminal import bytes_text, moment_text, plural, print_json, printable
from aurolog.cli.tree import CurrentRanges

HEX_BYTES_PER_LINE = 16

NAMES_SHOWN = 5


def info(path: VolumePath, json: Json = False) -> None:
    """Show what a volume is: identity, sizes, LSNs, runs, names, and how it was left."""
    with open_to_read(path) as volume:
        facts = _facts(volume)
    if json:
        print_json(facts)
    else:
        terminal.print_facts(_facts_for_people(facts))


def _facts(volume: aurolog.Volume) -> dict[str, Any]:
    stats = volume.stats()
    recovery = volume.recovery
    with view_at(volume, None) as view:
        time = view.time
    runs = volume.history
    points = volume.restore_points
    return {
        "path": str(volume.path.absolute()),
        "volume_id": str(volume.volume_id),
        "page_size": volume.page_size,
        "pages": len(volume),
        "durable_lsn": volume.durable_lsn,
        "last_commit_time": time,
        "runs": len(runs),
        "run": {key: getattr(runs[-1], key) for key in ("lsn", "kind", "parent_lsn", "time")},
        "restore_points": list(points),
        "epoch": volume.epoch,
        "retention_seconds": volume.retention.total_seconds(),
        "disk_bytes": _disk_bytes(volume.path),
        "segments": stats.segments,
        "sealed_segments": stats.sealed_segments,
        "closed_cleanly": recovery.clean,
        "open_seconds": recovery.seconds,
    }


def _disk_bytes(directory: Path) -> int:
    """The sizes of all files of a volume; a writer beside us may remove one meanwhile."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _facts_for_people(facts: dict[str, Any]) -> list[tuple[str, str]]:
    pages, page_size = facts["pages"], facts["page_size"]
    time = facts["last_commit_time"]
    left = "closed" if facts["closed_cleanly"] else "open for writing, or not closed"
    return [
        ("volume", f"{printable(facts['path'])}"),
        ("id", facts["volume_id"]),
        ("pages", f"{pages:,} of {page_size:,} bytes: {bytes_text(pages * page_size)}"),
        ("durable LSN", f"{facts['durable_lsn']}"),
        ("last commit", "none" if time is None else time.isoformat()),
        ("runs", f"{facts['runs']:,}; {_run_text(facts['run'])}"),
        ("restore points", _names_text(facts["restore_points"])),
        ("epoch", f"{facts['epoch']}"),
        ("retention", f"{facts['retention_seconds'] / 3600:g} hours"),
        (
            "log",
            f"{plural(facts['segments'], 'segment')}, {facts['sealed_segments']} sealed",
        ),
        ("on disk", bytes_text(facts["disk_bytes"])),
        ("left", left),
    ]


def _run_text(run: dict[str, Any]) -> str:
    """How the current run began."""
    if run["kind"] == "first":
        return "nothing was ever left behind"
    how = "rewind to" if run["kind"] == "rewind" else "cut after"
    when = moment_text(run["time"])
    return f"the current one began at LSN {run['lsn']}, {when}: {how} LSN {run['parent_lsn']}"


def _names_text(names: list[str]) -> str:
    """The newest few names."""
    if not names:
        return "none"
    newest = [printable(name) for name in names[-NAMES_SHOWN:]]
    more = "… " if len(names) > NAMES_SHOWN else ""
    return f"{len(names):,}: {more}{', '.join(newest)}"


def log(
    path: VolumePath,
    begin: Annotated[
        Moment | None,
        typer.Option(
            "--from",
            metavar="WHEN",
            parser=moment_of,
            help=f"The first LSN shown, or the moment whose commit is the first: {WHEN_HELP}.",
            show_default="the oldest",
        ),
    ] = None,
    end: Annotated[
        Moment | None,
        typer.Option(
            "--to",
            metavar="WHEN",
            parser=moment_of,
            help="The last one, said in the same ways.",
            show_default="the newest",
        ),
    ] = None,
    batches: Annotated[
        bool, typer.Option("--batches", help="Only the batches, not their records.")
    ] = False,
    data: Annotated[
        int, typer.Option("--bytes", metavar="N", min=0, help="Bytes of data shown per record.")
    ] = 16,
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines, one per batch.")] = False,
) -> None:
    """Show the redo records of a range of LSNs, under their batch with its time and note.

    In the log's order: what a rewind left behind is there too, and marked.
    """
    with open_to_read(path) as volume:
        first = 1 if begin is None else _lsn_of(volume, begin)
        last = None if end is None else _lsn_of(volume, end)
        if last is not None and last < first:
            raise CommandError(f"--to {end}, LSN {last}, is below --from {begin}, LSN {first}")
        current = CurrentRanges(volume.history)
        bold, off = ("\x1b[1m", "\x1b[0m") if terminal.styled() and not json else ("", "")
        nothing = True
        for batch in volume.log(first, last):
            nothing = False
            records = [
                record
                for record in batch.records
                if record.lsn >= first and (last is None or record.lsn <= last)
            ]
            left = batch.lsn not in current
            if json:
                value = _batch_value(batch, [] if batches else records, data)
                print_json({**value, "current": not left}, lines=True)
                continue
            print(f"{bold}{_batch_line(batch)}{'  (left behind)' if left else ''}{off}")
            if not batches:
                sys.stdout.writelines(f"  {_record_line(r, data)}\n" for r in records)
        if nothing:
            until = "on" if last is None else f"to {last}"
            sys.stderr.write(
                f"aurolog: there is nothing from LSN {first} {until}; the newest commit is LSN "
                f"{volume.visible_lsn}\n"
            )


def _lsn_of(volume: aurolog.Volume, moment: Moment) -> int:
    """An LSN as it is, also between commits or above all; of another moment, that of its commit."""
    if isinstance(moment.when, int):
        return max(moment.when, 1)
    with volume.at(moment.when) as view:
        return max(view.lsn, 1)


def _batch_line(batch: aurolog.Batch) -> str:
    lsns = f"{batch.lsn}" if batch.first_lsn == batch.lsn else f"{batch.first_lsn}-{batch.lsn}"
    kind = "" if batch.kind == "pages" else f"  {batch.kind}: {batch.records[0].kind}"
    note = f'  "{printable(batch.note)}"' if batch.note else ""
    return (
        f"LSN {lsns}  {batch.time.isoformat()}  epoch {batch.epoch}  "
        f"{plural(batch.pages, 'page')}  {batch.bytes:,} B{kind}{note}"
    )


def _record_line(record: aurolog.Record, data_bytes: int) -> str:
    head = f"{record.lsn:>8}  {record.kind:<8}"
    end = record.offset + record.length
    match record.kind:
        case "write":
            where = f"page {record.page} [{record.offset}, {end})"
        case "image":
            where = f"page {record.page}"
        case "move":
            source = f"[{record.source}, {record.source + record.length})"
            return f"{head}  page {record.page} {source} to [{record.offset}, {end})"
        case "fill":
            return f"{head}  page {record.page} [{record.offset}, {end}) with {record.byte:02x}"
        case "truncate":
            return f"{head}  to {plural(record.page, 'page')}"
        case _:
            return f"{record.lsn:>8}  {record.kind}"
    shown = record.data[:data_bytes]
    more = " ..." if len(shown) < len(record.data) else ""
    return f"{head}  {where}  {shown.hex(' ')}{more}" if data_bytes else f"{head}  {where}"


def _batch_value(
    batch: aurolog.Batch, records: list[aurolog.Record], data_bytes: int
) -> dict[str, Any]:
    return {
        "first_lsn": batch.first_lsn,
        "lsn": batch.lsn,
        "time": batch.time,
        "epoch": batch.epoch,
        "kind": batch.kind,
        "note": batch.note,
        "pages": batch.pages,
        "bytes": batch.bytes,
        "records": [
            {
                "lsn": record.lsn,
                "kind": record.kind,
                "page": record.page,
                "offset": record.offset,
                "length": record.length,
                "source": record.source,
                "byte": record.byte,
                "data_hex": record.data[:data_bytes].hex(),
            }
            for record in records
        ],
    }


def cat(
    path: VolumePath,
    page: PageNumber,
    at: At = None,
    raw: Annotated[
        bool | None,
        typer.Option(
            "--raw/--hex",
            help="The page's bytes as they are, or a hex dump.",
            show_default="a hex dump on a terminal, else the bytes",
        ),
    ] = None,
) -> None:
    """Print one page, now or as of a moment."""
    with open_to_read(path) as volume, view_at(volume, at) as view:
        data = view[page]
        end = len(view)
    if page >= end:
        sys.stderr.write(f"aurolog: page space ends at {end}; page {page} reads as zeros\n")
    if raw is None:
        raw = not sys.stdout.isatty()
    if raw:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        sys.stdout.writelines(f"{line}\n" for line in hex_dump(data))


def hex_dump(data: bytes) -> Iterator[str]:
    """Lines as `hexdump -C` prints them: offset, bytes, text; `*` stands for repeated lines."""
    previous: bytes | None = None
    repeated = False
    for offset in range(0, len(data), HEX_BYTES_PER_LINE):
        line = data[offset : offset + HEX_BYTES_PER_LINE]
        if line == previous:
            if not repeated:
                yield "*"
            repeated = True
            continue
        previous, repeated = line, False
        half = HEX_BYTES_PER_LINE // 2
        left, right = line[:half].hex(" "), line[half:].hex(" ")
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in line)
        yield f"{offset:08x}  {left:<23}  {right:<23}  |{text}|"
    yield f"{len(data):08x}"
