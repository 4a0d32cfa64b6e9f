"""What the commands print with: JSON, figures, text made safe, progress bars.

Results go to standard output; progress bars and messages go to standard error, so a result can
always be piped. rich is imported only where something is drawn.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

PROGRESS_AFTER_SECONDS = 1.0
"""A bar that would be gone at once is only flicker."""

PROGRESS_STEP_SECONDS = 0.05

COLUMNS_DEFAULT = 80
"""Of a terminal that does not say."""


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


def width(stream: Any = None) -> int | None:
    """How wide the terminal is that a stream goes to; `None` where it goes to none."""
    stream = sys.stdout if stream is None else stream
    if not stream.isatty():
        return None
    try:
        columns = int(os.environ.get("COLUMNS", "0"))
    except ValueError:
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except OSError:
            columns = 0
    return columns or COLUMNS_DEFAULT


def fitted(text: str, columns: int | None) -> str:
    """The text cut to so many columns, with an ellipsis where something is missing."""
    if columns is None:
        return text
    from rich.cells import cell_len, set_cell_size

    return text if cell_len(text) <= columns else f"{set_cell_size(text, columns - 1).rstrip()}…"


def encodable(text: str, otherwise: dict[str, str]) -> str:
    """The text as standard output can show it: characters that it lacks are replaced."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    lacking: dict[str, int | str | None] = {}
    for character, plain in otherwise.items():
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            lacking[character] = plain
    return text.translate(str.maketrans(lacking)) if lacking else text


def ranges_text(ranges: Iterable[tuple[int, int]]) -> Iterator[str]:
    """`12-15`, `40`: numbers for people, from first and last."""
    return (f"{first}" if first == last else f"{first}-{last}" for first, last in ranges)


def ranges_of(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """First and last of each gapless range of ascending numbers."""
    first = last = None
    for number in numbers:
        if first is None or last is None:
            first = number
        elif number != last + 1:
            yield first, last
            first = number
        last = number
    if first is not None and last is not None:
        yield first, last


def moment_text(time: datetime | None) -> str:
    """A time in UTC for people, to the second; the exact one is in JSON."""
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


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
