"""`aurolog demo`: arguments, printing, and leaving nothing behind."""

import shlex
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from aurolog.cli import terminal
from aurolog.cli.arguments import Json
from aurolog.cli.demo.sources import FILES_MIN
from aurolog.cli.status import CommandError, Status
from aurolog.cli.terminal import bytes_text, plural, print_json, printable

if TYPE_CHECKING:  # the rest of the demonstration is imported only when it runs
    from aurolog.cli.demo.figures import Result
    from aurolog.cli.demo.proofs import Proof

THREADS_MAX = 64


def demo(
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Leave the volume there for looking around.",
            show_default="a temporary directory, removed at the end",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--files",
            metavar="N",
            min=FILES_MIN,
            help="Take at most so many files.",
            show_default="all",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(metavar="N", min=1, max=THREADS_MAX, help="How many load at a time.")
    ] = 4,
    json: Json = False,
) -> None:
    """Kill a loading process midway, and prove that nothing was lost.

    A child process loads the files of this Python's standard library (and, where those are few, of
    its packages) in durable transactions and is killed with SIGKILL; the volume is opened again,
    every acknowledged file is proved intact by its digest, loading goes on, files are edited and
    deleted, read as of before, and the volume is rewound to before that and goes forth again, while
    another process follows; then everything is verified. All figures are measured in the run.
    """
    from aurolog.cli.demo import run, sources

    chosen = sources.standard_library(limit)
    with _place(keep) as place, _terminated_like_interrupted():
        teller = Silence() if json else Narration()
        if not json:
            print(
                f"{len(chosen.names):,} files of this Python, "
                f"{bytes_text(chosen.bytes)}, below {printable(str(chosen.root))}"
            )
        result = run.run(place.path, chosen, threads, teller)
        place.keep = keep is not None or not result.ok
    if json:
        print_json(result.value())
    else:
        _print_figures(result)
        if place.keep:
            _print_what_to_try(place.path, result)
    if not result.ok:
        failed = ", ".join(f"'{proof.claim}'" for proof in result.proofs if not proof.ok)
        raise CommandError(
            f"not proved: {failed}; the volume is kept in {place.path}", Status.CHECK_FAILED
        )


class Place:
    """Where the volume is made, and whether it stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keep = False


@contextmanager
def _place(keep: Path | None) -> Iterator[Place]:
    """The directory that `--keep` names, or a temporary one; removed with all in it unless kept."""
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise CommandError(f"--keep {keep}: exists already and is not an empty directory")
        keep.mkdir(parents=True, exist_ok=True)
        yield Place(keep)
        return
    temporary = Path(tempfile.mkdtemp(prefix="aurolog-demo-"))
    place = Place(temporary / "demo.aurolog")
    try:
        yield place
    finally:
        if not place.keep:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM clean up as Ctrl-C does: the child process ended, the directory removed."""

    def terminated(_signal: int, _frame: FrameType | None) -> None:
        raise CommandError("terminated", Status.TERMINATED)

    former = signal.signal(signal.SIGTERM, terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


class Silence:
    """Tells nothing: for `--json`."""

    def step(self, text: str) -> None:
        pass

    def fact(self, text: str) -> None:
        pass

    def proof(self, proof: "Proof") -> None:
        pass


class Narration:
    """Prints what happens as it happens."""

    def __init__(self) -> None:
        self._steps = 0
        on = terminal.styled()
        self._bold, self._green, self._red, self._off = (
            ("\x1b[1m", "\x1b[32m", "\x1b[1;31m", "\x1b[0m") if on else ("", "", "", "")
        )

    def step(self, text: str) -> None:
        self._steps += 1
        self._line(f"\n{self._bold}{self._steps}  {text}{self._off}")

    def fact(self, text: str) -> None:
        self._line(f"   {text}")

    def proof(self, proof: "Proof") -> None:
        if proof.ok:
            self._line(f"   {self._green}proved{self._off}  {proof.claim}")
            return
        self._line(
            f"   {self._red}FAILED{self._off}  {proof.claim}: {plural(proof.faults, 'fault')}"
        )
        for fault in proof.told:
            self._line(f"           {printable(fault)}")

    @staticmethod
    def _line(text: str) -> None:
        print(text, flush=True)


def _print_figures(result: "Result") -> None:
    from rich.table import Table

    load, change, recovery = result.load, result.change, result.recovery
    rewind, follow = result.rewind, result.follow
    where = f" on {result.filesystem}" if result.filesystem else ""
    rows = [
        ("files loaded", f"{result.files:,}, {bytes_text(result.bytes)}"),
        (
            "durable commits, one file each",
            (
                f"{result.killed_load.commits_per_second:,.0f}/s in the child, "
                f"{load.commits_per_second:,.0f}/s after the kill"
            ),
        ),
        ("durable edits, one thread", f"{change.edits_per_second:,.0f}/s"),
        (
            "bytes logged per byte changed",
            (
                f"{change.log_bytes_per_byte_changed:.2f} (whole pages: "
                f"{change.page_bytes / change.bytes_changed:.0f})"
            ),
        ),
        (
            "recovery after SIGKILL",
            f"{recovery.open_seconds * 1000:.1f} ms, {bytes_text(recovery.scanned_bytes)} read",
        ),
        (
            "rewind, and forth again",
            (
                f"{rewind.back_seconds * 1000:.1f} ms, {rewind.forth_seconds * 1000:.1f} ms; "
                f"{plural(rewind.commits, 'commit')}"
            ),
        ),
        (
            "diff",
            f"{plural(rewind.pages, 'page')} in {rewind.diff_seconds * 1000:.1f} ms",
        ),
        (
            "lag of a following process",
            (
                f"{follow.lag_seconds_median * 1000:.2f} ms; 99 in 100 at most "
                f"{follow.lag_seconds_p99 * 1000:.2f} ms"
            ),
        ),
        ("verify", f"{bytes_text(round(result.verify.bytes_per_second))}/s"),
        ("the whole run", f"{result.seconds:.1f} s{where}"),
    ]
    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("measured")
    for what, measured in rows:
        table.add_row(what, measured)
    print(flush=True)
    terminal.console().print(table)
    if result.filesystem in ("tmpfs", "ramfs"):
        print(
            f"The volume was on {result.filesystem}, where nothing is durable and a sync costs "
            "nothing: with --keep DIR on a disk, commits are slower."
        )


def _print_what_to_try(path: Path, result: "Result") -> None:
    from aurolog.cli.demo.rewind import NAME

    volume, example = shlex.quote(str(path)), result.example
    print(f"\nThe volume is in {printable(str(path))}. To look around:\n")
    for what, command in (
        ("what it is", f"aurolog info {volume}"),
        (
            f"the edit of {example.name}",
            f"aurolog log {volume} --from {example.before_lsn + 1} --to {example.edit_lsn}",
        ),
        (
            "its page before the edit",
            f"aurolog cat {volume} {example.page} --hex --at {example.before_lsn}",
        ),
        ("and now", f"aurolog cat {volume} {example.page} --hex"),
        ("what the loading process wrote", f"aurolog log {volume} --batches"),
        ("its runs, as a tree", f"aurolog history {volume}"),
        ("what a rewind would change", f"aurolog backtrack {volume} --to '{NAME}' --dry-run"),
        ("the pages that differ", f"aurolog diff {volume} '{NAME}'"),
        ("every byte, checked", f"aurolog verify {volume}"),
    ):
        print(f"  # {what}\n  {command}")
