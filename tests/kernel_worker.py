"""The process at work on a volume of `kernel.py`, until it dies: it opens the volume, examines it,
and four threads commit. What becomes of each commit goes into the ledger.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import struct
import threading
import traceback
from pathlib import Path
from typing import Any

from kernel_process import FINE, NO_SPACE, Failure
from ledger import (
    BULK,
    CLOSED,
    CLOSING,
    COMMITS_MAX,
    NAME,
    OPEN,
    OPENING,
    OS,
    REFUSED,
    REWIND,
    SMALL,
    SYNC,
    THREADS,
    UNKNOWN,
    Ledger,
    Oracle,
    changes,
    examine,
)

import aurolog

REFUSALS = 3  # in a row, and a thread believes that the disk is full
REWINDS = 0.02  # of what a thread does, and as many names
BACK_MAX = 12  # of a thread's own commits, that a rewind goes back

# What calls raise on a disk without power, which to ext4 is a read-only one, too. Never
# `CorruptionError`: it has not damaged anything.
POWERLESS = (aurolog.StorageError, aurolog.CommitOutcomeUnknown, aurolog.AccessError)


class Worker:
    """Opens, examines and commits, in a process of its own until it dies."""

    def __init__(
        self,
        path: Path,
        mode: str,
        oracle: Oracle,
        ledger: Ledger,
        output: int,
        room: int,
        rng: random.Random,
    ) -> None:
        self.path = path
        self.mode = mode
        self.oracle = oracle
        self.ledger = ledger
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
        note = self._label(thread, number, BULK if bulk else SMALL)
        tx = db.transaction(durability=durability, note=note)
        tx.apply(changes(thread, self.bases[thread] + number + 1, bulk))
        return tx

    def _label(self, thread: int, number: int, kind: int) -> str:
        """What tells a commit in the log; from now on it is begun."""
        self.ledger.begin(thread, number)
        return f"{self.oracle.session + 1} {thread} {self.bases[thread] + number + 1} {kind}"

    def _settle_control(
        self, thread: int, number: int, lsn: int | None, error: BaseException | None
    ) -> bool:
        """The same of a rewind, or a name."""
        if error is None:
            self.ledger.settle(thread, number, SYNC if lsn else REFUSED, lsn or 0)
            os.write(self.output, b"a" if lsn else b"")
            return True
        full = isinstance(error, aurolog.DiskFullError)
        assert full or (self.ledger.cut and isinstance(error, POWERLESS)), repr(error)
        self.ledger.settle(thread, number, REFUSED if full else UNKNOWN)
        return full

    def _rewind(self, db: aurolog.Volume, thread: int, number: int, lsn: int) -> bool:
        """To an LSN, whatever others are about."""
        done = error = None
        try:
            done = db.backtrack(lsn, note=self._label(thread, number, REWIND)).lsn
        except aurolog.AurologError as caught:
            error = caught
        return self._settle_control(thread, number, done, error)

    def _name(self, db: aurolog.Volume, thread: int, number: int) -> bool:
        """The newest commit; which LSN that makes is found in the log."""
        name, done, error = self._label(thread, number, NAME), None, None
        try:
            db.restore_point(name)
            after = db.log(db.restore_points[name].lsn + 1)
            done = next(batch.lsn for batch in after if name.encode() in batch.records[0].data)
        except aurolog.AurologError as caught:
            error = caught
        return self._settle_control(thread, number, done, error)

    def _settle(
        self,
        tx: Any,
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
        passing = isinstance(error, (aurolog.DiskFullError, aurolog.ConflictError))
        # The only other reason is a disk without power.
        assert passing or (self.ledger.cut and isinstance(error, POWERLESS)), repr(error)
        rolled_back = tx is None or tx.outcome == "rolled back"
        assert rolled_back or not passing, f"refused, and that is known: {error!r} {tx!r}"
        self.ledger.settle(thread, number, REFUSED if rolled_back else UNKNOWN)
        return passing

    def _commit(self, db: aurolog.Volume, thread: int, rng: random.Random) -> None:
        refused = 0
        bulky = 0.1 if self.mode == "full" else 0.03
        lsns: list[int] = []
        for number in range(COMMITS_MAX):
            if self.ledger.stop:
                break
            drawn = rng.random()
            if drawn < 2 * REWINDS:
                if drawn < REWINDS and lsns:
                    may_go_on = self._rewind(db, thread, number, rng.choice(lsns[-BACK_MAX:]))
                else:
                    may_go_on = self._name(db, thread, number)
                if not may_go_on:
                    return
                continue
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
            if tx is not None and tx.lsn:
                lsns.append(tx.lsn)
            if rng.random() < 0.01:
                try:
                    lsn = db.sync()
                except POWERLESS:
                    assert self.ledger.cut
                    return
            self.ledger.tell(thread, max(lsn, db.durable_lsn), db.visible_lsn)
            refused = refused + 1 if isinstance(error, aurolog.DiskFullError) else 0
            if refused == REFUSALS:
                self._wait_for_room()
                refused = 0

    async def _commit_awaiting(self, db: aurolog.Volume, thread: int, rng: random.Random) -> None:
        number = refused = 0
        while number + 8 < COMMITS_MAX and not self.ledger.stop:
            begun: list[tuple[int, Any, asyncio.Future[int | None]]] = []
            for _ in range(rng.randint(1, 8)):
                tx = None
                try:
                    tx = await self._begin(db, thread, number, "sync", bulk=False)
                    future = tx.commit()
                except aurolog.AurologError as error:
                    future = asyncio.get_running_loop().create_future()
                    future.set_exception(error)
                begun.append((number, tx, future))
                number += 1
            full, may_go_on = False, True
            for own, tx, future in begun:
                error = None
                try:
                    await future
                    refused = 0
                except aurolog.AurologError as caught:
                    error = caught
                    full |= isinstance(error, aurolog.DiskFullError)
                may_go_on &= self._settle(tx, thread, own, SYNC, error)
            if not may_go_on:
                return
            self.ledger.tell(thread, db.durable_lsn, db.visible_lsn)
            refused += full
            if refused == REFUSALS:
                self._wait_for_room()
                refused = 0

    def _wait_for_room(self) -> None:
        """The disk is full: until the campaign says that it is not, or that it is over."""
        if not self.ledger.stop:
            os.write(self.output, b"f")
            os.read(self.room, 1)
