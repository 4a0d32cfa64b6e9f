"""`verify`: reading every byte of a volume and checking it."""

import time
from typing import Any

import typer

import aurolog
from aurolog.cli import terminal
from aurolog.cli.arguments import Json, VolumePath, open_to_read
from aurolog.cli.status import Status
from aurolog.cli.terminal import bytes_text, plural, print_json, printable


def verify(path: VolumePath, json: Json = False) -> None:
    """Read every byte of a volume, check every checksum and index entry. Damage: status 1."""
    with open_to_read(path) as volume, terminal.progress("Verifying") as advance:
        began = time.perf_counter()
        report = volume.verify(progress=advance)
        seconds = time.perf_counter() - began
    if json:
        print_json(_report_value(report, seconds))
    else:
        _print_report(report, seconds)
    if not report.ok:
        raise typer.Exit(Status.CHECK_FAILED)


def _report_value(report: aurolog.VerifyReport, seconds: float) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "segments": report.segments,
        "bytes": report.bytes,
        "frames": report.frames,
        "batches": report.batches,
        "records": report.records,
        "index_entries": report.index_entries,
        "problems": [
            {"file": p.file, "offset": p.offset, "lsn": p.lsn, "what": p.what}
            for p in report.problems
        ],
        "seconds": seconds,
    }


def _print_report(report: aurolog.VerifyReport, seconds: float) -> None:
    for problem in report.problems:
        print(
            f"{printable(problem.file)} at byte {problem.offset}, LSN {problem.lsn}: "
            f"{printable(problem.what)}"
        )
    rate = f", {bytes_text(round(report.bytes / seconds))}/s" if seconds > 0 else ""
    verdict = "no damage" if report.ok else f"DAMAGED: {plural(len(report.problems), 'problem')}"
    print(
        f"{verdict}: {bytes_text(report.bytes)} in {plural(report.segments, 'segment')}; "
        f"{report.frames:,} frames, {report.batches:,} batches, {report.records:,} records, "
        f"{report.index_entries:,} index entries; {seconds:.2f} s{rate}"
    )
