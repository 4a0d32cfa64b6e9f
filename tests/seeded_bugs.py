"""Runs the crash campaign against each of the deliberate bugs, and tells how soon it found them.

    python tests/seeded_bugs.py build/crash/crash-bugs [--seconds 60] [--seed 1] [--jobs N]
        [--only NUMBER ...] [--sample N] [--document docs/testing.md]

The bugs are the names in `csrc/seeded.h`. Each is hunted by one process, as many of them side by
side as there are processors, and a hunt ends when it has found something. A bug that is not found
within the time is a failure: the campaign would not have noticed it. `--sample` takes some of them
by the seed. With `--document` the table replaces the one between the two markers of that file.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from repeating import ROOT, commit

HEADER = ROOT / "csrc" / "seeded.h"


@dataclass(frozen=True)
class Bug:
    """One of them."""

    number: int
    name: str
    file: str
    what: str


@dataclass(frozen=True)
class Result:
    """What became of it."""

    bug: Bug
    seconds: float
    found: str  # the first violation, or nothing


def bugs() -> list[Bug]:
    """All of them, as the header has them."""
    pattern = re.compile(r"AUL_SEEDED_(\w+),\s*/\* ([\w.]+): (.*?) \*/", re.DOTALL)
    found = pattern.findall(HEADER.read_text(encoding="utf-8"))
    return [
        Bug(n, name.lower().replace("_", " "), file, " ".join(what.split()))
        for n, (name, file, what) in enumerate(found, 1)
    ]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program outside of whatever this process had to preload."""
    outside = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return subprocess.run(
        command, cwd=ROOT, env=outside, capture_output=True, text=True, check=False, timeout=500
    )


def hunt(program: Path, bug: Bug, seconds: int, seed: int) -> Result:
    """Run the campaign with one bug switched on."""
    begin = time.monotonic()
    chosen = {
        "--bug": bug.number,
        "--time": seconds,
        "--seed": seed,
        "--jobs": 1,
        "--commit": commit(),
    }
    done = run([str(program.resolve()), *(str(x) for option in chosen.items() for x in option)])
    found = re.search(r"^seed \d+: (.*)$", done.stderr, re.MULTILINE)
    if done.returncode not in (0, 1):
        sys.exit(done.stderr)
    return Result(bug, time.monotonic() - begin, found[1] if found and done.returncode else "")


def choose(only: list[int] | None, sample: int, seed: int) -> list[Bug]:
    """Those that are asked for: all, or some by number, or as many by the seed."""
    known = bugs()
    if unknown := set(only or ()) - {bug.number for bug in known}:
        sys.exit(f"there are {len(known)} bugs, and none has the number {min(unknown)}")
    chosen = [bug for bug in known if not only or bug.number in only]
    if not 0 < sample < len(chosen):
        return chosen
    return sorted(random.Random(seed).sample(chosen, sample), key=lambda bug: bug.number)


def table(results: list[Result]) -> str:
    """The results in Markdown."""
    lines = ["| bug | what it does | in | found after | as |", "| --- | --- | --- | ---: | --- |"]
    for result in results:
        bug, what = result.bug, re.sub(r"\d{2,}", "…", result.found.replace("|", "/"))
        when = f"{result.seconds:.1f} s" if result.found else "**not found**"
        lines.append(f"| {bug.number} | {bug.what} | `{bug.file}` | {when} | {what[:90]} |")
    return "\n".join(lines)


def put_into(document: Path, text: str, name: str = "seeded bugs") -> None:
    """Replace what stands between the two markers of that name."""
    begin, end = (f"<!-- {name}: {which} -->" for which in ("begin", "end"))
    before, _, rest = document.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("program", type=Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--document", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", type=int, nargs="+")
    parser.add_argument("--sample", type=int, default=0)
    options = parser.parse_args()
    chosen = choose(options.only, options.sample, options.seed)
    with ThreadPoolExecutor(options.jobs) as pool:
        hunts = [
            pool.submit(hunt, options.program, bug, options.seconds, options.seed) for bug in chosen
        ]
        results = [hunt.result() for hunt in hunts]
    text = table(results)
    print(text)
    if options.document:
        put_into(options.document, text)
    print(f"{sum(bool(result.found) for result in results)} of {len(results)} found")
    missed = [f"{result.bug.number} ({result.bug.what})" for result in results if not result.found]
    if missed:
        print(f"{len(missed)} of {len(results)} not found: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
