"""The process that follows the volume while another one writes to it.

As a process (`python -m aurolog.cli.demo.follower VOLUME LSN`) it says on standard output that it
is ready, and then tells each commit after that LSN with one JSON object a line, and when it saw it.
It ends when its standard input does: a follower whose parent is gone does not go on alone.
"""

import contextlib
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

import aurolog
from aurolog.cli import status

READY = b"ready\n"


@dataclass(frozen=True, slots=True)
class Seen:
    """A commit that the follower saw, and when: nanoseconds of the clock that all processes of a
    machine share."""

    lsn: int
    kind: str
    pages: int
    at_ns: int

    def to_line(self) -> bytes:
        """One line of JSON."""
        value = {"lsn": self.lsn, "kind": self.kind, "pages": self.pages, "at_ns": self.at_ns}
        return json.dumps(value).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Seen":
        """What `to_line` wrote."""
        value: dict[str, Any] = json.loads(line)
        return cls(int(value["lsn"]), value["kind"], int(value["pages"]), int(value["at_ns"]))


def _end_with_the_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(status.Status.OK)


def main(arguments: list[str]) -> int:
    """The following process."""
    path, since = arguments
    threading.Thread(target=_end_with_the_input, daemon=True).start()
    output = sys.stdout.fileno()
    try:
        with (
            aurolog.open(path, read_only=True) as volume,
            contextlib.closing(volume.follow(int(since))) as commits,
        ):
            os.write(output, READY)
            for commit in commits:
                seen = Seen(commit.lsn, commit.kind, len(commit.pages), time.monotonic_ns())
                os.write(output, seen.to_line())
    except BrokenPipeError:
        return status.Status.OUTPUT_CLOSED  # the parent is gone
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - it becomes a status
        sys.stderr.write(f"{type(error).__name__}: {status.explain(error)}\n")
        return status.status_of(error)
    return status.Status.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
