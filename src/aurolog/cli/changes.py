"""`diff`: what changed between two moments."""

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

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
from aurolog.cli.terminal import plural, print_json, ranges_of, ranges_text


def diff(
    path: VolumePath,
    before: Annotated[
        Moment,
        typer.Argument(metavar="WHEN", parser=moment_of, help=f"{WHEN_HELP}.", show_default=False),
    ],
    after: Annotated[
        Moment | None,
        typer.Argument(
            metavar="[WHEN]",
            parser=moment_of,
            help="The other moment.",
            show_default="the newest durable commit",
        ),
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="Only how many pages.")] = False,
    json: Json = False,
) -> None:
    """Show which pages differ between two moments, or between one and now.

    It takes as long as there are changes between them, however large the volume is.
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
