"""`diff` and `follow`: what changed between two moments, and what changes now."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

import aurolog
from aurolog.cli import terminal
from aurolog.cli.arguments import (
    WHEN_HELP,
    Json,
    Moment,
    VolumePath,
    moment_of,
    open_to_read,
    view_at,
)
from aurolog.cli.terminal import plural, print_json, printable, ranges_of, ranges_text

RANGES_SHOWN = 8
"""Of the pages of a commit; JSON has all."""


def diff(
    path: VolumePath,
    before: Annotated[
        Moment,
        typer.Argument(metavar="WHEN", parser=moment_of, help=f"{WHEN_HELP}.", show_default=False),
    ],
    after: Annotated[
        Moment | None,
        typer.Argument(
            metavar="WHEN",
            parser=moment_of,
            help="The other moment.",
            show_default="the newest durable commit",
        ),
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="Only how many pages.")] = False,
    json: Json = False,
) -> None:
    """Show which pages differ between two moments, or between one and now.

    That takes time for what changed between them, however large the volume is.
    """
    with open_to_read(path) as volume:
        with view_at(volume, before) as view:
            first = view.lsn
        with view_at(volume, after) as view:
            last = view.lsn
        pages = volume.diff(first, last)
        if json:
            value: dict[str, Any] = {"path": str(volume.path), "lsns": [first, last]}
            if count:
                print_json({**value, "count": sum(1 for _ in pages)})
            else:
                found = list(pages)
                print_json({**value, "count": len(found), "pages": found}, lines=True)
            return
        if count:
            print(sum(1 for _ in pages))
            return
        total = 0

        def counted() -> Iterator[tuple[int, int]]:
            nonlocal total
            for low, high in ranges_of(pages):
                total += high - low + 1
                yield low, high

        for line in filled(ranges_text(counted()), terminal.width() or terminal.COLUMNS_DEFAULT):
            print(line)
    differ = "differs" if total == 1 else "differ"
    print(f"{plural(total, 'page')} {differ} between LSN {first} and LSN {last}")


def filled(words: Iterable[str], columns: int) -> Iterator[str]:
    """The words with commas between them, as many to a line as it holds."""
    line = ""
    for word in words:
        if line and len(line) + len(word) + 3 > columns:
            yield f"{line},"
            line = word
        else:
            line = f"{line}, {word}" if line else word
    if line:
        yield line


def follow(
    path: VolumePath,
    since: Annotated[
        Moment | None,
        typer.Option(
            "--since",
            metavar="WHEN",
            parser=moment_of,
            help=f"Begin with what was committed after this moment: {WHEN_HELP}.",
            show_default="now",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0,
            help="End when nothing is committed for so long.",
            show_default="never",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON Lines, one per commit.")] = False,
) -> None:
    """Show commits as they become durable, a line each, while another process makes them.

    Rewinds and restore points are among them. Ctrl-C ends it.
    """
    with open_to_read(path) as volume:
        commits = volume.follow(None if since is None else since.when, timeout=timeout)
        with contextlib.closing(commits):
            for commit in commits:
                if json:
                    print_json(commit_value(commit), lines=True)
                else:
                    print(commit_line(commit))
                sys.stdout.flush()  # somebody waits for it


def commit_value(commit: aurolog.Commit) -> dict[str, Any]:
    """For JSON."""
    return {
        "lsn": commit.lsn,
        "time": commit.time,
        "kind": commit.kind,
        "note": commit.note,
        "pages": list(commit.pages),
        "page_space": commit.page_space,
    }


def commit_line(commit: aurolog.Commit) -> str:
    """For people, in the style of `log`."""
    ranges = list(ranges_text(ranges_of(commit.pages)))
    more = [f"… {plural(len(ranges) - RANGES_SHOWN, 'more range')}"]
    shown = ranges if len(ranges) <= RANGES_SHOWN + 1 else ranges[:RANGES_SHOWN] + more
    kind = "" if commit.kind == "pages" else f"  {commit.kind}"
    pages = f"  {plural(len(commit.pages), 'page')}: {', '.join(shown)}" if ranges else ""
    note = f'  "{printable(commit.note)}"' if commit.note else ""
    return f"LSN {commit.lsn}  {commit.time.isoformat()}{kind}{pages}{note}"
