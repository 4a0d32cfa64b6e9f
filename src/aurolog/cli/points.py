"""`restore-point`: names for moments, made, listed and deleted."""

import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import aurolog
from aurolog.cli.arguments import (
    WHEN_HELP,
    Json,
    Moment,
    VolumePath,
    moment_of,
    open_to_read,
    open_to_write,
)
from aurolog.cli.status import CommandError
from aurolog.cli.terminal import moment_text, print_json, printable


class Action(StrEnum):
    """What is done with restore points."""

    CREATE = "create"
    LIST = "list"
    DELETE = "delete"


def restore_point(
    path: VolumePath,
    action: Annotated[Action, typer.Argument(metavar="create|list|delete", show_default=False)],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="To create or delete.", show_default=False)
    ] = None,
    at: Annotated[
        Moment | None,
        typer.Option(
            "--at",
            metavar="WHEN",
            parser=moment_of,
            help=f"The moment that it names: {WHEN_HELP}.",
            show_default="the newest commit",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Give a moment a name, list the names there are, or delete one.

    A name stands for its moment wherever one is asked for, and no rewind takes it away. One that
    reads as a duration, such as 5m, is given as name:5m there.
    """
    if action == Action.LIST:
        if name is not None or at is not None:
            raise CommandError("list takes no NAME and no --at: it lists them all")
        _list(path, json)
        return
    if name is None:
        raise CommandError(f"{action} needs the NAME of a restore point")
    if action == Action.CREATE:
        _create(path, name, at, json)
        return
    if at is not None:
        raise CommandError("--at is for create: a name is deleted whatever it names")
    with open_to_write(path) as volume:
        volume.delete_restore_point(name)
    if json:
        print_json({"path": str(path.absolute()), "name": name, "deleted": True})
    else:
        print(f"deleted: {printable(name)}")


def _create(path: Path, name: str, at: Moment | None, json: bool) -> None:
    with open_to_write(path) as volume:
        point = volume.restore_point(name, at=None if at is None else at.when)
    if json:
        print_json({"path": str(path.absolute()), **asdict(point)})
    else:
        print(point_line(point))


def _list(path: Path, json: bool) -> None:
    with open_to_read(path) as volume:
        points = list(volume.restore_points.values())
    if json:
        found = [asdict(point) for point in points]
        print_json({"path": str(path.absolute()), "restore_points": found})
        return
    width = max((len(str(point.lsn)) for point in points), default=0)
    sys.stdout.writelines(f"{point_line(point, width)}\n" for point in points)
    if not points:
        sys.stderr.write("aurolog: the volume has no restore points\n")


def point_line(point: aurolog.RestorePoint, width: int = 0) -> str:
    """LSN, time and name."""
    return f"LSN {point.lsn:>{width}}  {moment_text(point.time):<20}  {printable(point.name)}"
