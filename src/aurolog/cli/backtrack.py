"""`backtrack`: the volume goes back, in place, or forth again."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

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
from aurolog.cli.terminal import moment_text, plural, print_json, printable


def backtrack(
    path: VolumePath,
    to: Annotated[
        Moment,
        typer.Option(
            "--to",
            metavar="WHEN",
            parser=moment_of,
            help=f"The moment to go to: {WHEN_HELP}.",
            show_default=False,
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be left behind.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    note: Annotated[
        str | None, typer.Option("--note", metavar="TEXT", help="Kept with the branch point.")
    ] = None,
    json: Json = False,
) -> None:
    """Make the volume what it was at a moment, in place and at once; nothing is lost by it.

    What is left behind stays readable and can be gone to again: the command that undoes it is
    printed. Without --yes it says first what would change, and asks.
    """
    if dry_run:
        with open_to_read(path) as volume:
            plan = volume.backtrack(to.when, dry_run=True)
        _print(path, plan, dry_run=True, json=json)
        return
    if not yes and (sys.stdin is None or not sys.stdin.isatty()):
        raise CommandError("there is no terminal to ask on: give --yes, or --dry-run to look first")
    with open_to_write(path) as volume:
        if yes:
            done = volume.backtrack(to.when, note=note)
        else:
            plan = volume.backtrack(to.when, dry_run=True)
            if plan.to_lsn != plan.from_lsn:
                _ask(plan)
            # Not `to` once more: five minutes ago is another moment now.
            done = volume.backtrack(plan.to_lsn, note=note)
    _print(path, done, dry_run=False, json=json)


def _ask(plan: aurolog.Rewind) -> None:
    """On standard error, which is where a terminal is when the result goes into a pipe."""
    sys.stderr.write(f"{plan_text(plan)}\nGo there? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandError("nothing was changed")


def undo_command(path: Path, rewind: aurolog.Rewind) -> str:
    """What undoes it, for a shell."""
    return f"aurolog backtrack {shlex.quote(str(path))} --to {rewind.from_lsn} --yes"


def plan_text(plan: aurolog.Rewind) -> str:
    """What a dry run found."""
    if plan.to_lsn == plan.from_lsn:
        return _nothing(plan)
    pages = "" if plan.pages is None else f"\n{plural(plan.pages, 'page')} would change"
    lost = f"{plural(plan.commits, 'commit')} would be left behind"
    back = f"; {plural(plan.regained, 'commit')} would count again" if plan.regained else ""
    return f"from LSN {plan.from_lsn} to {_place(plan)}\n{lost}{back}{pages}"


def rewind_text(path: Path, rewind: aurolog.Rewind) -> str:
    """What was done, and how it is undone."""
    if rewind.lsn is None:
        return _nothing(rewind)
    lines = [
        f"from LSN {rewind.from_lsn} to {_place(rewind)}",
        f"{plural(rewind.commits, 'commit')} left behind; still readable",
    ]
    if rewind.regained:
        lines.append(f"{plural(rewind.regained, 'commit')}, left behind before, count again")
    lines.append(f"to undo it: {printable(undo_command(path, rewind))}")
    return "\n".join(lines)


def _nothing(rewind: aurolog.Rewind) -> str:
    return f"nothing to do: the newest commit is {_place(rewind)}"


def _place(rewind: aurolog.Rewind) -> str:
    time = moment_text(rewind.to_time)
    return f"LSN {rewind.to_lsn}" + (f", {time}" if time else ", the empty volume")


def _print(path: Path, rewind: aurolog.Rewind, *, dry_run: bool, json: bool) -> None:
    if not json:
        print(plan_text(rewind) if dry_run else rewind_text(path, rewind))
        return
    undo = None if rewind.lsn is None else undo_command(path.absolute(), rewind)
    value: dict[str, Any] = {"path": str(path.absolute()), "dry_run": dry_run}
    print_json({**value, **asdict(rewind), "undo": undo})
