"""`history`: the runs of the log and how they branch. Works beside a live writer."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from aurolog.cli import terminal, tree
from aurolog.cli.arguments import Json, VolumePath, open_to_read
from aurolog.cli.terminal import plural, print_json, printable
from aurolog.cli.tree import Kind, Line

BOLD, DIM, GREEN, OFF = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[0m"

STYLES = {Kind.NOW: f"{BOLD}{GREEN}", Kind.CURRENT: "", Kind.LEFT: DIM, Kind.FOLDED: DIM}

PLAIN = {
    "●": "*",
    "◆": "+",
    "○": "o",
    "▶": ">",
    "│": "|",
    "┊": ":",
    "├": "|",
    "─": "-",
    "╴": "-",
    "╮": "\\",
    "…": "...",
}
"""For an encoding without the others."""


def history(
    path: VolumePath,
    everything: Annotated[
        bool, typer.Option("--all", help="Every run, also where a long history is folded.")
    ] = False,
    json: Json = False,
) -> None:
    """Show the runs of a volume as a tree: branch points, restore points, what was left behind.

    Any LSN shown can be read (`aurolog cat --at`) and gone back to (`aurolog backtrack --to`).
    """
    with open_to_read(path) as volume:
        runs = volume.history
        points = tuple(volume.restore_points.values())
        name = str(volume.path)
    if json:
        print_json(
            {
                "path": name,
                "lsn": runs[-1].last_lsn,
                "runs": [asdict(run) for run in runs],
                "restore_points": [asdict(point) for point in points],
            }
        )
        return
    print(f"{printable(name)}: {plural(len(runs), 'run')}, {plural(len(points), 'restore point')}")
    print_lines(tree.draw(runs, points, fold=not everything))


def print_lines(lines: Sequence[Line]) -> None:
    """The tree in columns, as wide as the terminal at most."""
    styled, columns = terminal.styled(), terminal.width()
    for kind, line in columned(lines):
        text = terminal.fitted(terminal.encodable(line, PLAIN), columns)
        style = STYLES[kind] if styled else ""
        sys.stdout.write(f"{style}{text}{OFF}\n" if style else f"{text}\n")


def columned(lines: Sequence[Line]) -> Iterator[tuple[Kind, str]]:
    """Each line as text: graph, LSN, time, what."""
    graph = max(len(line.graph) for line in lines)
    lsn = max(len(str(line.lsn)) for line in lines if line.lsn is not None)
    for line in lines:
        time = terminal.moment_text(line.time)
        number = "" if line.lsn is None else str(line.lsn)
        yield line.kind, f"{line.graph:<{graph}} {number:>{lsn}}  {time:<20}  {line.text}"
