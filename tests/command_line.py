"""Running the command line: in this process, in another one, and in a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MODULE = [sys.executable, "-m", "aurolog"]
SECONDS_MAX = 60


@dataclass
class Ran:
    """What a command left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        return json.loads(self.out)


def in_terminal(
    arguments: Sequence[str],
    *,
    errors_only: bool = False,
    answer: str | None = None,
    columns: int = 100,
) -> tuple[int, str]:
    """Run a command with a terminal as its standard output (or only error); status and output.

    With an answer the terminal is its standard input too, and that is typed.
    """
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL if answer is None else secondary,
        stdout=subprocess.DEVNULL if errors_only else secondary,
        stderr=secondary,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "NO_COLOR": ""},
    )
    os.close(secondary)
    if answer is not None:
        os.write(primary, answer.encode())
    output = b""
    try:
        while select.select([primary], [], [], SECONDS_MAX)[0]:
            try:
                block = os.read(primary, 1 << 16)
            except OSError:  # so Linux says that the other side is closed
                break
            if not block:
                break
            output += block
        return process.wait(SECONDS_MAX), output.decode().replace("\r\n", "\n")
    finally:
        process.kill()
        process.wait()
        os.close(primary)
