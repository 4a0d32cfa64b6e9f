"""What the commands print with: JSON, figures, text made safe, progress bars.

Results go to standard output; progress bars and messages go to standard error, so a result can
always be piped. rich is imported only where something is drawn.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PROGRESS_AFTER_SECONDS = 1.0
"""A bar that would be gone at once is only flicker."""

PROGRESS_STEP_SECONDS = 0.05


class Advance(Protocol):
    """Tells a progress bar how much is done: called with both figures in the bar's unit."""

    def __call__(self, done: int, total: int, /) -> None: ...


def print_json(value: dict[str, Any], *, lines: bool = False) -> None:
    """Print one JSON object; `lines` puts it on one line (JSON Lines)."""
    # ASCII: whatever the terminal's encoding, and names of files that are no UTF-8, stay JSON.
    print(json.dumps(value, default=datetime.isoformat, indent=None if lines else 2))


def printable(text: str) -> str:
    """The text with control characters escaped: a note must not be able to drive a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def bytes_text(count: int) -> str:
    """A size for people: 12,345 B, 1.2 MB. Powers of ten."""
    if count < 100_000:
        return f"{count:,} B"
    for unit, size in (("kB", 10**3), ("MB", 10**6), ("GB", 10**9)):
        if count < 1000 * size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 10**12:,.1f} TB"


def plural(count: int, noun: str) -> str:
    """`1 page`, `2,000 pages`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def styled(stream: Any = None) -> bool:
    """Whether to write colours: only to a terminal, and never against NO_COLOR."""
    stream = sys.stdout if stream is None else stream
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR")


def console() -> "Console":
    """A rich console on standard output that changes no text: no markup, no emoji, no wrapping."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_facts(facts: list[tuple[str, str]]) -> None:
    """Print two columns: what, and how it is."""
    width = max(len(what) for what, _ in facts) + 2
    bold, off = ("\x1b[1m", "\x1b[0m") if styled() else ("", "")
    for what, value in facts:
        print(f"{bold}{what:<{width}}{off}{value}")


@contextmanager
def progress(what: str, *, unit: str = "bytes") -> Iterator[Advance]:
    """A progress bar on standard error, drawn only on a terminal and only after a second."""
    if not sys.stderr.isatty():
        yield _ignore
        return
    bar: Progress | None = None
    began = drawn = time.monotonic()

    def advance(done: int, total: int) -> None:
        nonlocal bar, drawn
        now = time.monotonic()
        if bar is None:
            if now - began < PROGRESS_AFTER_SECONDS or done >= total:
                return
            bar = _bar(unit)
            bar.start()
            bar.add_task(what, total=total)
        elif now - drawn < PROGRESS_STEP_SECONDS:
            return
        drawn = now
        bar.update(bar.task_ids[0], completed=done, total=total)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _ignore(_done: int, _total: int) -> None:
    pass


def _bar(unit: str) -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    figures: list[ProgressColumn] = (
        [DownloadColumn(), TransferSpeedColumn()] if unit == "bytes" else [MofNCompleteColumn()]
    )
    columns = [TextColumn("{task.description}", markup=False), BarColumn(), *figures]
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
