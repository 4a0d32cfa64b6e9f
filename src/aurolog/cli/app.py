"""The commands put together, and the one place where an error becomes an exit status."""

import inspect as introspection
import io
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from aurolog.cli import (
    backtrack,
    changes,
    check,
    history,
    inspect,
    points,
    status,
    transfer,
)
from aurolog.cli.demo import command as demo
from aurolog.cli.status import Status


class Commands(TyperGroup):
    """The command group: what ends a command badly is one line and a status, not a traceback."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        # Where `--help` and `--version` print.
        return _told(lambda: super(Commands, self).make_context(*args, **kwargs))

    def invoke(self, ctx: Any) -> Any:
        return _told(lambda: super(Commands, self).invoke(ctx))


def _told(step: Callable[[], Any]) -> Any:
    """One step of the command line; what it printed is out, or its error told, when it ends."""
    _prepare_streams()
    try:
        try:
            result = step()
        except typer.Exit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit) as error:
        # rich makes an exit of it, with a status of its own
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        _abandon_stdout()
        raise typer.Exit(Status.OUTPUT_CLOSED) from None
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, typer.Exit | typer.Abort) or hasattr(error, "exit_code"):
            raise  # typer's own: usage errors, and the statuses that commands ended with
        code = status.status_of(error)
        if code == Status.BUG:
            traceback.print_exc()
        _settle_stdout()
        print(f"aurolog: {status.explain(error)}", file=sys.stderr)
        raise typer.Exit(code) from None
    return result


class _Nowhere(io.RawIOBase):
    """Takes everything and keeps nothing."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data)


def _nowhere() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(_Nowhere()))


def _prepare_streams() -> None:
    """Standard streams that take any text, even where the caller closed them."""
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names and notes may hold what the terminal's encoding cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")


def _settle_stdout() -> None:
    """Print what is buffered; where that is what failed (a full disk), let it go."""
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_stdout()


def _abandon_stdout() -> None:
    """Or the interpreter would try once more to print what is buffered, and complain."""
    sys.stdout = _nowhere()


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=status.HELP,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"aurolog {version('aurolog')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
) -> None:
    """A durable page store whose past stays readable."""


def _add(name: str, command: Callable[..., None], **settings: Any) -> None:
    """Add a command; its help is its docstring, a line per paragraph for the terminal to wrap."""
    paragraphs = (introspection.getdoc(command) or "").split("\n\n")
    text = "\n\n".join(" ".join(text.split()) for text in paragraphs)
    app.command(name, help=text, context_settings=settings)(command)


_add("demo", demo.demo)
_add("info", inspect.info)
_add("log", inspect.log)
_add("cat", inspect.cat, ignore_unknown_options=True)  # -1 is a bad page number, no option
_add("history", history.history)
_add("restore-point", points.restore_point)
_add("backtrack", backtrack.backtrack)
_add("diff", changes.diff)
_add("follow", changes.follow)
_add("verify", check.verify)
_add("import", transfer.import_file)
_add("export", transfer.export_file)
