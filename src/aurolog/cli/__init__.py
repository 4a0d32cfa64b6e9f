"""The command line: `aurolog`, also `python -m aurolog`.

A thin layer over the public API: it parses arguments, calls the library and prints. Whatever a
program could want as well belongs in the library, not here.

    app.py       puts the commands together; what ends a command badly becomes an exit status
    inspect.py   info, log, cat
    history.py   history; tree.py draws it
    points.py    restore-point
    backtrack.py backtrack
    changes.py   diff, follow
    check.py     verify
    transfer.py  import, export
    demo/        the demonstration on real files
    arguments.py what several commands take, moments for one
    status.py    exit statuses and one-line error messages
    terminal.py  JSON, figures, progress bars

Importing `aurolog` imports nothing of this, and nothing of typer and rich.
"""

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (`sys.argv` unless given) and return its exit status."""
    try:
        from aurolog.cli.app import app

        app(args=None if arguments is None else list(arguments), prog_name="aurolog")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:  # before a command began, or after it ended
        from aurolog.cli import status

        print(f"aurolog: {status.explain(KeyboardInterrupt())}", file=sys.stderr)
        return status.Status.INTERRUPTED
    return 0
