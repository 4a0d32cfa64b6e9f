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

Each process is forked from this one, which itself never opens a volume: a round costs some
milliseconds, and what is known of the volume is there without being passed on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import os
import pickle
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import file_systems
import ledger as ledgers
from file_systems import FileSystem
from ledger import (
    CLOSED,
    CLOSING,
    COMMITS_MAX,
    OPEN,
    OPENING,
    OS,
    REFUSED,
    SYNC,
    THREADS,
    UNKNOWN,
    Ledger,
    Oracle,
    changes,
    examine,
)
from repeating import repeat

import aurolog

SILENCE_SECONDS_MAX = 60.0
SKIPPED = 77  # exit status: could not be tried here
ROUNDS_MAX = {"kill": 150, "power": 40, "full": 20}  # of one volume
FINE, FAILED, NO_SPACE = 0, 1, 3  # exit statuses of the forked processes
DISK_MIB = {"power": 192, "full": 16}
POWER_BYTES_MIN = 64 << 20
BALLAST_BYTES = 1 << 20
REFUSALS = 3  # in a row, and a thread believes that the disk is full
ISOLATED = "AUROLOG_ISOLATED"  # set in the environment once it is

EXT4_OPTIONS = (
    "data=ordered",
    "data=ordered,nodelalloc",
    "data=writeback",
    "data=writeback,noauto_da_alloc",
    "data=journal",
)


# What calls raise on a disk without power, which to ext4 is a read-only one, too. Never
# `CorruptionError`: it has not damaged anything.
POWERLESS = (aurolog.StorageError, aurolog.CommitOutcomeUnknown, aurolog.AccessError)


class Failure(Exception):
    """The volume, or a process, did not do what it must."""


# --- the process at work --------------------------------------------------------------------------


class Worker:
    """Opens, examines and commits, in a process of its own until it dies."""

    def __init__(self, life: Life, output: int, room: int, rng: random.Random) -> None:
        self.path = life.path
        self.mode = life.mode
        self.oracle = life.oracle
        self.ledger = life.ledger
        self.output = output
        self.room = room
        self.rng = rng
        self.bases = [self.oracle.base(thread) for thread in range(THREADS)]
        self.failed: list[str] = []

    def run(self, whole: bool) -> int:
        """Its whole life; the exit status."""
        self.ledger.phase = OPENING
        try:
            db = aurolog.open(self.path, cache_bytes=256 * 4096)
        except aurolog.DiskFullError:
            return NO_SPACE
        except POWERLESS:
            if self.ledger.cut:
                return FINE
            raise
        self.ledger.phase = OPEN
        try:
            if self.oracle.clean:
                assert db.recovery.clean, "it had been closed"
            report = examine(
                db,
                self.oracle,
                self.rng,
                required=self.oracle.required(),
                whole=whole,
                powerless=lambda: self.ledger.cut,
            )
            message = pickle.dumps(report)
            os.write(self.output, struct.pack("<Q", len(message)))
            for start in range(0, len(message), 1 << 15):
                os.write(self.output, message[start : start + (1 << 15)])
            self._work(db)
        except POWERLESS:
            if not self.ledger.cut:
                raise
        self.ledger.phase = CLOSING
        try:
            db.close()
        except aurolog.DiskFullError:
            return NO_SPACE
        except POWERLESS:
            if not self.ledger.cut:
                raise
            return FINE
        self.ledger.phase = CLOSED
        return FINE

    def _work(self, db: aurolog.Volume) -> None:
        threads = [
            threading.Thread(target=self._guarded, args=(db, thread), daemon=True)
            for thread in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failed:
            raise Failure("\n".join(self.failed))

    def _guarded(self, db: aurolog.Volume, thread: int) -> None:
        try:
            rng = random.Random(f"{self.rng.random()}/{thread}")
            if thread == THREADS - 1:
                asyncio.run(self._commit_awaiting(db, thread, rng))
            else:
                self._commit(db, thread, rng)
        except BaseException:
            self.failed.append(traceback.format_exc())
            os.write(self.output, b"!")

    def _begin(
        self, db: aurolog.Volume, thread: int, number: int, durability: str, bulk: bool
    ) -> aurolog.Transaction:
        self.ledger.begin(thread, number)
        mine = self.bases[thread] + number + 1
        note = f"{self.oracle.session + 1} {thread} {mine} {bulk:d}"
        tx = db.transaction(durability=durability, note=note)
        tx.apply(changes(thread, mine, bulk))
        return tx

    def _settle(
        self,
        tx: aurolog.Transaction | None,
        thread: int,
        number: int,
        state: int,
        error: BaseException | None,
    ) -> bool:
        """Into the ledger; whether the thread may go on."""
        if error is None:
            assert tx is not None
            assert tx.lsn is not None
            self.ledger.settle(thread, number, state, tx.lsn)
            os.write(self.output, b"a")
            return True
        full = isinstance(error, aurolog.DiskFullError)
        # The only other reason is a disk without power.
        assert full or (self.ledger.cut and isinstance(error, POWERLESS)), repr(error)
        rolled_back = tx is None or tx.outcome == "rolled back"
        assert rolled_back or not full, "a full disk refuses a commit, and knows that it does"
        self.ledger.settle(thread, number, REFUSED if rolled_back else UNKNOWN)
        return full

    def _commit(self, db: aurolog.Volume, thread: int, rng: random.Random) -> None:
        refused = 0
        bulky = 0.1 if self.mode == "full" else 0.03
        for number in range(COMMITS_MAX):
            if self.ledger.stop:
                break
            durability = ("sync", "os", rng.choice(("sync", "os")))[thread]
            bulk = thread == 2 and rng.random() < bulky
            tx = error = None
            try:
                tx = self._begin(db, thread, number, durability, bulk)
                tx.commit()
            except aurolog.AurologError as caught:
                error = caught
            state = SYNC if durability == "sync" else OS
            if not self._settle(tx, thread, number, state, error):
                return
            lsn = 0
            if rng.random() < 0.01:
                try:
                    lsn = db.sync()
                except POWERLESS:
                    assert self.ledger.cut
                    return
            self.ledger.tell(thread, max(lsn, db.durable_lsn), db.visible_lsn)
            refused = refused + 1 if error else 0
            if refused == REFUSALS:
                self._wait_for_room()
                refused = 0

    async def _commit_awaiting(self, db: aurolog.Volume, thread: int, rng: random.Random) -> None:
        number = refused = 0
        while number + 8 < COMMITS_MAX and not self.ledger.stop:
            begun: list[tuple[int, aurolog.Transaction | None, asyncio.Future[int | None]]] = []
            for _ in range(rng.randint(1, 8)):
                tx = None
                try:
                    tx = self._begin(db, thread, number, "sync", bulk=False)
                    future = tx.commit_async()
                except aurolog.AurologError as error:
                    future = asyncio.get_running_loop().create_future()
                    future.set_exception(error)
                begun.append((number, tx, future))
                number += 1
            refused += 1
            may_go_on = True
            for own, tx, future in begun:
                error = None
                try:
                    await future
                    refused = 0
                except aurolog.AurologError as caught:
                    error = caught
                may_go_on &= self._settle(tx, thread, own, SYNC, error)
            if not may_go_on:
                return
            self.ledger.tell(thread, db.durable_lsn, db.visible_lsn)
            if refused == REFUSALS:
                self._wait_for_room()
                refused = 0

    def _wait_for_room(self) -> None:
        """The disk is full: until the campaign says that it is not, or that it is over."""
        if not self.ledger.stop:
            os.write(self.output, b"f")
            os.read(self.room, 1)


# --- a volume and its processes -------------------------------------------------------------------


class Process:
    """A forked process and what it says."""

    def __init__(self, body: Callable[[int, int], int]) -> None:
        self.input, output = os.pipe()
        room, self.room = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.input)
            os.close(self.room)
            _end(lambda: body(output, room))
        os.close(output)
        os.close(room)
        self.status: int | None = None
        self.counts: Counter[int] = Counter()

    def _read(self, bytes_max: int) -> bytes:
        ready, _, _ = select.select([self.input], [], [], SILENCE_SECONDS_MAX)
        if not ready:
            raise Failure(f"the process did nothing for {SILENCE_SECONDS_MAX} s")
        return os.read(self.input, bytes_max)

    def report(self) -> ledgers.Report | None:
        """What it found at opening; nothing when it ended before it could tell."""
        message = b""
        wanted = 8
        while len(message) < wanted:
            block = self._read(wanted - len(message))
            if not block:
                return None
            message += block
            if len(message) == 8:
                wanted = 8 + struct.unpack("<Q", message)[0]
        found = pickle.loads(message[8:])
        assert isinstance(found, ledgers.Report)
        return found

    def wait_for(self, kind: bytes, count: int) -> bool:
        """Until it said so often; whether it did before its end, or before everybody else said
        that the disk is full.
        """
        while self.counts[kind[0]] < count:
            block = self._read(1 << 16)
            self.counts.update(block)
            full = kind == b"a" and self.counts[b"f"[0]] == THREADS
            if not block or b"!" in block or full:
                return self.counts[kind[0]] >= count
        return True

    def make_room(self) -> None:
        """Those who wait for room go on."""
        self.counts[b"f"[0]] = 0
        os.write(self.room, bytes(THREADS))

    def calls(self) -> int:
        """How many times it has called read and write."""
        with open(f"/proc/{self.pid}/io", encoding="ascii") as file:
            figures = dict(line.split(": ") for line in file.read().splitlines())
        return int(figures["syscr"]) + int(figures["syscw"])

    def ended(self) -> bool:
        """Whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self) -> int:
        """Its end, and how it ended."""
        deadline = time.monotonic() + SILENCE_SECONDS_MAX
        while self.status is None:
            # Its pipe closes with it; what it still says is of no interest.
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self.input], [], [], left)
            if not ready:
                raise Failure(f"the process did not end in {SILENCE_SECONDS_MAX} s")
            if not os.read(self.input, 1 << 16):
                self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def kill(self) -> None:
        """SIGKILL."""
        if not self.ended():
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def drop(self) -> None:
        """Kill, and close the pipes."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.input)
        os.close(self.room)


def _end(body: Callable[[], int]) -> NoReturn:
    """The end of a forked process: no handler or finalizer of the campaign's may run in it."""
    status = FAILED
    try:
        status = body()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


class Life:
    """One volume and its rounds."""

    def __init__(self, mode: str, place: Path, rng: random.Random, tally: Counter[str]) -> None:
        self.mode = mode
        self.path = place / "volume"
        self.rng = rng
        self.tally = tally
        self.ledger = Ledger()
        self.oracle = Oracle()
        self.system: FileSystem | None = None
        self.told: Ledger | None = None  # the ledger when the power was cut, in this round
        self.ballast: list[Path] = []
        self.over = False

    def add_ballast(self) -> None:
        """Files that can be removed when the disk is full."""
        for n in range(self.rng.randint(2, 6)):
            file = self.path.with_name(f"ballast{n}")
            file.write_bytes(bytes(BALLAST_BYTES))
            self.ballast.append(file)

    # one round

    def round(self) -> None:
        """A process opens the volume, examines it, works, and comes to its end."""
        self.ledger.clear()
        self.told = None
        seed = self.rng.random()
        whole = self.rng.random() < 0.04
        limit = 0
        if self.mode == "kill" and self.rng.random() < 0.12:
            limit = 1 << self.rng.randint(15, 20)
        process = Process(
            lambda output, room: _limited(
                limit, lambda: Worker(self, output, room, random.Random(seed)).run(whole)
            )
        )
        try:
            self._drive(process, limit)
        finally:
            process.drop()
            if self.ledger.cut:
                assert self.system is not None
                self.system.restart()
        self.tally["rounds"] += 1
        if self.rng.random() < 0.25:
            self._look_at_the_dead()

    def _drive(self, process: Process, limit: int) -> None:
        kind = self.rng.choices(("work", "opening", "closing", "close"), (60, 20, 12, 8))[0]
        struck = kind == "opening" and self._strike_in(process, OPENING, 50)
        report = process.report()
        if report is None:
            status = self._ended(process, struck)
            self.oracle.power |= self.ledger.cut
            if status == NO_SPACE:
                self._refused_to_open(limit)
            elif not struck:
                raise Failure("the process ended before it went to work")
            return
        self.oracle.begin(report, self.ledger)
        self.tally["sessions"] += 1
        closed = False
        try:
            if struck:
                self._ended(process, struck)
            elif self.mode == "full":
                closed = self._fill(process)
            else:
                acks = self.rng.randint(1, self.rng.choice((1, 3, 10, 40, 120)))
                enough = process.wait_for(b"a", acks)
                if not enough and not (limit and process.counts[b"f"[0]]):
                    raise Failure("the process ended by itself")
                if self.rng.random() < 0.2:
                    self._look_beside()
                closed = self._stop(process, kind)
        finally:
            self.oracle.end(clean=closed, told=self.told)
            self.tally["acknowledged"] += self.ledger.count(OS, SYNC)
            self.tally["refused"] += self.ledger.count(REFUSED)
            self.tally["unanswered"] += self.ledger.count(ledgers.BEGUN, UNKNOWN)

    def _stop(self, process: Process, kind: str) -> bool:
        """Strikes at work, or lets it close; whether it has closed the volume."""
        if kind not in ("closing", "close"):
            self._strike(process)
            self._ended(process, struck=True)
            self.tally["struck at work"] += 1
            return False
        self.ledger.stop = True
        process.make_room()
        struck = kind == "closing" and self._strike_in(process, CLOSING, 12)
        status = self._ended(process, struck)
        closed = status == FINE and self.ledger.phase == CLOSED and not self.ledger.cut
        self.tally["closed"] += closed
        return closed

    def _fill(self, process: Process) -> bool:
        """Until the disk is full, and full again; then as `_stop`."""
        while True:
            if not process.wait_for(b"f", THREADS):
                raise Failure("the process ended before the disk was full")
            self.tally["full"] += 1
            what = self.rng.choices(("room", "work", "close"), (50, 35, 15))[0]
            if what == "room" and self.ballast:
                self.ballast.pop().unlink()
                acknowledged = process.counts[b"a"[0]]
                process.make_room()
                if not process.wait_for(b"a", acknowledged + 1):
                    raise Failure("there is room again, and no commit succeeds")
                continue
            self.over = not self.ballast and self.rng.random() < 0.5
            return self._stop(process, what)

    def _refused_to_open(self, limit: int) -> None:
        """There was no space to open the volume: with more it must."""
        self.tally["no space to open"] += 1
        if limit:
            return  # the next round has another
        if self.ballast:
            self.ballast.pop().unlink()
        else:
            self.over = True

    def _strike_in(self, process: Process, phase: int, calls_max: int) -> bool:
        """Strikes in a phase, after a random number of its calls; whether there was time."""
        calls = self.rng.randrange(self.rng.randint(1, calls_max))
        first: int | None = None
        while self.ledger.phase <= phase and not process.ended():
            if self.ledger.phase == phase:
                count = process.calls()
                first = count if first is None else first
                if count - first >= calls:
                    self._strike(process)
                    inside = self.ledger.phase == phase
                    self.tally["struck opening" if phase == OPENING else "struck closing"] += inside
                    return True
            os.sched_yield()
        return False

    def _strike(self, process: Process) -> None:
        """SIGKILL, or no more power. A killed process's page cache may meet a power cut later."""
        if self.system is None or self.mode != "power" or self.rng.random() < 0.15:
            process.kill()
            return
        # A call that the cut finds under way may return as if nothing had happened: ext4 lets an
        # `fdatasync` into blocks never written before come back with 0 and loses the data. Where
        # the power goes there is nobody left to believe it; so what counts was told before.
        self.told = self.ledger.copy()
        self.ledger.cut = True
        flushes = (file_systems.FLUSH_NOTHING, file_systems.FLUSH_LOG, file_systems.FLUSH_ALL)
        self.system.cut_power(self.rng.choices(flushes, (70, 25, 5))[0])
        self.tally["power cuts"] += 1

    def _ended(self, process: Process, struck: bool) -> int:
        """Waits for its end, which must be one of those that it may have."""
        status = process.wait()
        if status not in (FINE, NO_SPACE) and not (struck and status == -signal.SIGKILL):
            raise Failure(f"the process ended with status {status}")
        return status

    def worn(self) -> bool:
        """Whether the disk is too full for what is not about full disks."""
        return (
            self.mode == "power"
            and self.system is not None
            and self.system.free_bytes < POWER_BYTES_MIN
        )

    # other processes

    def _look_beside(self) -> None:
        """A reader beside the writer: shows what was durable before it came."""
        required = max(self.ledger.durable(), self.oracle.last)
        self._look("a reader beside the writer", required=required, live=True, read_only=True)

    def _look_at_the_dead(self) -> None:
        """A reader after the writer's death: shows no less than the last opening did."""
        if (self.path / "MANIFEST").exists():
            required = self.oracle.last
            self._look("a reader after the end", required=required, live=True, read_only=True)

    def finish(self) -> None:
        """The last look: every commit of its life, every byte, by a reader and by a writer."""
        if (self.path / "MANIFEST").exists():
            required = self.oracle.last
            self._look("a last reader", required=required, live=True, whole=True, read_only=True)
            self._look("the last opening", required=self.oracle.required(), whole=True)
        self.tally["volumes"] += 1

    def _look(
        self,
        what: str,
        *,
        required: int,
        live: bool = False,
        whole: bool = False,
        read_only: bool = False,
    ) -> None:
        seed = self.rng.random()

        def body(_output: int, _room: int) -> int:
            try:
                with aurolog.open(self.path, read_only=read_only) as db:
                    rng = random.Random(seed)
                    examine(db, self.oracle, rng, required=required, live=live, whole=whole)
            except aurolog.DiskFullError:
                if read_only or self.mode != "full":
                    raise
            return FINE

        process = Process(body)
        try:
            status = process.wait()
        finally:
            process.drop()
        if status != FINE:
            raise Failure(f"{what} failed with status {status}")
        self.tally["readers"] += read_only


def _limited(bytes_max: int, body: Callable[[], int]) -> int:
    """With a limit of the size of files, if there is one."""
    if bytes_max:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, resource.RLIM_INFINITY))
    return body()


# --- the campaign ---------------------------------------------------------------------------------


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
