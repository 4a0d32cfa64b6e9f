"""Does all the damage of `make flips` and writes what came of it into a document.

    python tests/flips_table.py build/flips/flips docs/testing.md

The program's tables replace what is between the two markers of that file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from repeating import commit
from seeded_bugs import put_into


def main(program: Path, document: Path) -> int:
    """The command."""
    done = subprocess.run([program.resolve()], capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    if done.returncode:
        return done.returncode
    damages, seconds = (
        re.search(rf"(\d+) {what}", done.stdout) for what in ("damages", "seconds of processors")
    )
    assert damages
    assert seconds
    _, _, tables = done.stdout.partition("\n\n")
    tables = re.sub(r"\d{4,}", lambda figure: f"{int(figure[0]):,}", tables)
    figures = (
        f"{int(damages[1]):,} pieces of damage in {seconds[1]} s of {os.cpu_count()} processors, "
        f"seed 1, commit {commit()}; 0 violations."
    )
    put_into(document, f"{figures}\n\n{tables.strip()}", "flips")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
