"""What a campaign says last when it has found something: seed, commit, and the command that repeats
it. Needs nothing but Python.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def commit() -> str:
    """The commit of the sources, with a mark when they are not as committed."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return "unknown"
    return done.stdout.strip() or "unknown"


def python() -> str:
    """The interpreter that has aurolog, as seen from the sources."""
    path = Path(sys.executable)
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def command(seed: int | None = None) -> str:
    """How this process was called, with the seed that it has used."""
    words = [python(), os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]
    if seed is not None and "--seed" not in words:
        words += ["--seed", str(seed)]
    return shlex.join(words)


def repeat(seed: int | None = None, again: str | None = None) -> str:
    """The line; `again` when it is another command than this process's."""
    which = "" if seed is None else f"seed {seed}, "
    return f"{which}commit {commit()}; to repeat: {again or command(seed)}"
