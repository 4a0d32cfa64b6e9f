"""Arguments and options that several commands share, and opening the volume they name."""

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
AtLsn = Annotated[
    int | None,
    typer.Option(
        "--at",
        metavar="LSN",
        min=0,
        help="Read as of the last commit at or below this LSN; `aurolog log` lists them.",
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


def view_at(volume: aurolog.Volume, lsn: int | None) -> aurolog.View:
    """The view that `--at` asks for."""
    return volume.at(volume.visible_lsn if lsn is None else lsn)
