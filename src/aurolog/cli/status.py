"""Exit statuses, and how an error becomes one status and one line.

    0   done, and every check passed
    1   a check failed: damage was found, or a proof of the demonstration failed
    2   wrong usage or bad input
    3   the volume cannot be opened, or a disk failed or is full
    70  a bug in aurolog (its traceback is printed; please report it)

130 (interrupted), 141 (the reader of the output went away) and 143 (terminated) are the shell's.
"""

import errno
from enum import IntEnum

from aurolog.errors import AurologError, CorruptionError, InputError, InternalError

HELP = (
    "Exit status: 0 done; 1 a check failed (damage was found, or a proof failed); "
    "2 wrong usage or bad input; 3 the volume cannot be opened, or a disk failed or is full."
)


class Status(IntEnum):
    """What the command's end tells a script."""

    OK = 0
    CHECK_FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    BUG = 70
    INTERRUPTED = 130
    OUTPUT_CLOSED = 141
    TERMINATED = 143


class CommandError(Exception):
    """A command cannot go on; the message says what, where and what to do."""

    def __init__(self, message: str, status: Status = Status.USAGE) -> None:
        super().__init__(message)
        self.status = status


# Which errors of the operating system are the disk's fault and not the argument's.
_DISK_ERRNOS = {
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.ENXIO,
    errno.ENODEV,
}


def status_of(error: BaseException) -> Status:
    """The exit status for an error that ended a command."""
    match error:
        case CommandError():
            return error.status
        case CorruptionError():
            return Status.CHECK_FAILED
        case InputError():
            return Status.USAGE
        case InternalError():
            return Status.BUG
        case AurologError():
            return Status.UNAVAILABLE
        case OSError():
            return Status.UNAVAILABLE if error.errno in _DISK_ERRNOS else Status.USAGE
        case KeyboardInterrupt():
            return Status.INTERRUPTED
    return Status.BUG


def explain(error: BaseException) -> str:
    """The error as one line, without a traceback."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        # Without the number that Python puts before it; the library's own errors name the place.
        text = error.strerror
        if not isinstance(error, AurologError):
            # Whatever else is written to or read from has a name.
            place = "standard output" if error.filename is None else error.filename
            text = f"{place}: {text}"
    return " ".join(text.split()) or type(error).__name__
