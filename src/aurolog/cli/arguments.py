"""Arguments and options that several commands share, and opening the volume they name."""

import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

import aurolog

VolumePath = Annotated[
    Path, typer.Argument(metavar="PATH", help="The volume's directory.", show_default=False)
]
SourcePath = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="The file to read; - is standard input.", show_default=False
    ),
]
TargetPath = Annotated[
    Path,
    typer.Argument(
        metavar="FILE", help="The file to write; - is standard output.", show_default=False
    ),
]
PageNumber = Annotated[int, typer.Argument(metavar="PAGE", min=0, show_default=False)]


@dataclass(frozen=True, slots=True)
class Moment:
    """What was given as a moment: the text, and what the library is asked for."""

    text: str
    when: aurolog.When

    def __str__(self) -> str:
        return self.text


_AMOUNT = r"[0-9]+(?:\.[0-9]+)?"
_AGO = re.compile(
    r"(?=[0-9])"
    + "".join(
        f"(?:(?P<{unit}>{_AMOUNT}){unit[0]})?" for unit in ("days", "hours", "minutes", "seconds")
    )
)

LSN_DIGITS_MAX = 20

NAME_PREFIX = "name:"


def moment_of(text: str) -> Moment:
    """The moment that an argument names: a duration ago, or what the library reads in a string.

    A restore point whose name reads as a duration is reached with `name:` before it.
    """
    if text.startswith(NAME_PREFIX):
        return Moment(text, text.removeprefix(NAME_PREFIX))
    if text.isdecimal() and len(text) <= LSN_DIGITS_MAX:
        return Moment(text, int(text))
    found = _AGO.fullmatch(text)
    if found is None:
        return Moment(text, text)
    amounts = {unit: float(amount or 0) for unit, amount in found.groupdict().items()}
    try:
        return Moment(text, timedelta(**amounts))
    except OverflowError:
        raise typer.BadParameter(f"{text} ago is before every time there is") from None


WHEN_HELP = "LSN, time (ISO 8601 with offset), restore point, or so long ago (2h30m, 90s, 1d)"

At = Annotated[
    Moment | None,
    typer.Option(
        "--at",
        metavar="WHEN",
        parser=moment_of,
        help=f"As of this moment: {WHEN_HELP}.",
        show_default="the newest durable commit",
    ),
]
FirstPage = Annotated[
    int, typer.Option("--page", metavar="N", min=0, help="The first page of the file's bytes.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def open_to_read(path: Path) -> aurolog.Volume:
    """Open beside a live writer or with none: shows the durable LSN of this moment."""
    return aurolog.open(path, read_only=True)


def open_to_write(path: Path) -> aurolog.Volume:
    """Open an existing volume as its one writer."""
    return aurolog.open(path, create=False)


def view_at(volume: aurolog.Volume, moment: Moment | None) -> aurolog.View:
    """The view that `--at` asks for."""
    return volume.at(volume.visible_lsn if moment is None else moment.when)
