"""The engine on the real kernel, where it dies: processes killed, the power cut, the disk full.

    python tests/kernel.py kill|power|full [--seconds S | --rounds N] [--seed N] …

Rounds on one volume after another. In each a process opens the volume, examines it (`ledger.py`
says what must be there), and four threads commit: single pages and bulk batches, durability `sync`
and `os`, one thread in an event loop. Then

- `kill`: SIGKILL, after a random number of acknowledgements; or while it opens, recovery with its
  rewriting included, or while it closes, after a random number of its reads and writes;
- `power`: the same moments, and the power is cut: the file system is shut down, and mounted anew;
- `full`: 16 MiB, and nobody stops before every thread was refused for want of space. Then there is
  room again and they go on, or the process is killed, or the volume closed, on the full disk.

In between, other processes open the volume read-only, beside the writer and after its death.

The moments are no times but counts, of what happened; the threads' order is the kernel's. So a seed
repeats the kind of run, not each step of it. A failure keeps the volume and says where it is.

`kernel_life.py` has the rounds of one volume, `kernel_worker.py` the process at work. Each process
is forked from this one, which itself never opens a volume: a round costs some milliseconds, and
what is known of the volume is there without being passed on.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import file_systems
from file_systems import FileSystem
from kernel_life import Life
from kernel_process import FAILED, FINE, Failure
from repeating import repeat

SKIPPED = 77  # exit status: could not be tried here
ROUNDS_MAX = {"kill": 150, "power": 40, "full": 20}  # of one volume
DISK_MIB = {"power": 192, "full": 16}
ISOLATED = "AUROLOG_ISOLATED"  # set in the environment once it is

EXT4_OPTIONS = (
    "data=ordered",
    "data=ordered,nodelalloc",
    "data=writeback",
    "data=writeback,noauto_da_alloc",
    "data=journal",
)


@contextlib.contextmanager
def _place(mode: str, rng: random.Random, kind: str) -> Iterator[tuple[Path, FileSystem | None]]:
    """Where a volume lives."""
    if mode == "kill":
        with tempfile.TemporaryDirectory(prefix="aurolog-kernel-") as scratch:
            yield Path(scratch), None
        return
    kind = kind or ("ext4" if mode == "power" else rng.choice(("ext4", "tmpfs")))
    options = rng.choice(EXT4_OPTIONS) if mode == "power" and kind == "ext4" else ""
    with file_systems.mounted(kind, DISK_MIB[mode], options) as system:
        yield system.place, system


def why_not(mode: str, kind: str) -> str:
    """Why a mode cannot be had here; empty when it can."""
    if mode == "kill":
        return ""
    kinds = [kind] if kind else ["ext4"] if mode == "power" else ["ext4", "tmpfs"]
    return next(filter(None, (file_systems.reason(k, power=mode == "power") for k in kinds)), "")


def campaign(mode: str, seed: int, seconds: float, rounds: int, kind: str) -> bool:
    """Volumes one after another, until the time or the rounds are over; whether all was well."""
    begun = time.monotonic()
    tally: Counter[str] = Counter()

    def enough() -> bool:
        return tally["rounds"] >= rounds if rounds else time.monotonic() - begun >= seconds

    for number in itertools.count():
        rng = random.Random(f"{mode}/{seed}/{number}")
        with _place(mode, rng, kind) as (place, system):
            life = Life(mode, place, rng, tally)
            life.system = system
            if mode == "full":
                life.add_ballast()
            try:
                for _ in range(ROUNDS_MAX[mode]):
                    life.round()
                    if enough() or life.over or life.worn():
                        break
                life.finish()
            except BaseException as failure:
                if not isinstance(failure, (Failure, AssertionError, OSError)):
                    raise
                _tell(failure, life, mode, seed)
                return False
        if enough():
            break
    figures = ", ".join(f"{count:,} {what}" for what, count in sorted(tally.items()))
    print(f"{mode}: {figures}; {time.monotonic() - begun:.1f} s; nothing lost", flush=True)
    return True


def _tell(failure: BaseException, life: Life, mode: str, seed: int) -> None:
    traceback.print_exception(failure)
    kept = Path(tempfile.mkdtemp(prefix="aurolog-kernel-failed-"))
    shutil.copytree(life.path, kept / "volume", dirs_exist_ok=True)
    (kept / "oracle").write_text(f"{life.oracle.history}\n{life.oracle}\n", encoding="utf-8")
    print(f"{mode}: FAILED after {life.tally['rounds']} rounds: {failure}")
    print(f"the volume, as it is now: {kept}")
    print(repeat(seed), flush=True)


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description="Kills, power cuts and full disks.")
    parser.add_argument("modes", nargs="+", choices=("kill", "power", "full"))
    parser.add_argument("--seconds", type=float, default=20.0, help="for each mode")
    parser.add_argument("--rounds", type=int, default=0, help="instead of a time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--file-system", choices=tuple(file_systems.MAKERS), default="")
    given = parser.parse_args()
    isolated = [] if ISOLATED in os.environ else file_systems.isolated()
    if isolated:
        # In mounts of its own, which end with it whatever happens.
        command = [*isolated, sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, ISOLATED: "1"})
    gc.freeze()
    skipped = failed = False
    for mode in given.modes:
        if why := why_not(mode, given.file_system):
            print(f"{mode}: SKIPPED, it is NOT tested here: {why}", flush=True)
            skipped = True
        elif not campaign(mode, given.seed, given.seconds, given.rounds, given.file_system):
            failed = True
    return FAILED if failed else SKIPPED if skipped else FINE


if __name__ == "__main__":
    sys.exit(main())
