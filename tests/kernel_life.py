"""One volume of `kernel.py`, its processes one after another, and how each comes to its end."""

from __future__ import annotations

import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import file_systems
from file_systems import FileSystem
from kernel_process import FINE, NO_SPACE, Failure, Process
from kernel_worker import Worker
from ledger import (
    BEGUN,
    CLOSED,
    CLOSING,
    OPENING,
    OS,
    REFUSED,
    SYNC,
    THREADS,
    UNKNOWN,
    Ledger,
    Oracle,
    examine,
)

import aurolog

POWER_BYTES_MIN = 64 << 20
BALLAST_BYTES = 1 << 20


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
                limit, lambda: self._worker(output, room, random.Random(seed)).run(whole)
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

    def _worker(self, output: int, room: int, rng: random.Random) -> Worker:
        return Worker(self.path, self.mode, self.oracle, self.ledger, output, room, rng)

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
            self.tally["unanswered"] += self.ledger.count(BEGUN, UNKNOWN)

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
