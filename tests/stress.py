"""Threads on one volume: committers, readers, views, followers, and a close in the midst of them.

    python tests/stress.py [--seconds S] [--seed N]

Sessions on one volume after another, of a second or so each. In a session all of these run at once
until the volume is closed under them, or dropped without being closed; the next opens it again:

- *counters* write one rising number into every page of a group of theirs, some with a bulk batch;
  one of them awaits its commits in an event loop;
- *bankers* move money between accounts on many pages, reading in the transaction;
- a *cutter* writes a number into the pages of a range, or truncates all of it;
- *readers* read groups in one crossing, views of any LSN, pinned pages, the log, versions;
- *followers* open the volume read-only beside its writer;
- in every other session a *rewinder* goes to past commits, forth and back, and names where it was.

What a tear would break: every group shows one number, which at a commit's LSN is that commit's; the
money is constant; the range is there whole or not at all; no reader sees anything older than it saw
before, unless it was rewound; a view shows the same as long as it is held, as does a pinned page;
many pages read in one crossing are the same as read one by one; batches of the log follow each
other without a gap; what was acknowledged is there after the next opening, and a follower shows no
less than was durable before it came.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import os
import random
import sys
import tempfile
import threading
import time
import traceback
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from repeating import repeat

import aurolog

COUNTERS = 4  # of which the last awaits its commits
GROUP_PAGES = 6
BULK_PAGES = 280
ACCOUNTS = 40
BALANCE = 1000
ACCOUNTS_AT = COUNTERS * GROUP_PAGES
BULK_AT = ACCOUNTS_AT + ACCOUNTS
RANGE_AT = BULK_AT + BULK_PAGES
RANGE_PAGES = 30
WHERE_BYTES = 4088  # numbers stand at both ends of a page
SESSIONS_MAX = 12  # on one volume
CACHE_BYTES = 128 * 4096  # smaller than the volume


def group(counter: int) -> range:
    """The pages of a counter."""
    return range(counter * GROUP_PAGES, (counter + 1) * GROUP_PAGES)


def both_ends(page: int, number: int) -> list[tuple[Any, ...]]:
    """Changes that put a number at both ends of a page; as a whole page now and then, so that a
    cold read is not of all its past.
    """
    octets = number.to_bytes(8, "little")
    if number % 16 == 0:
        return [("image", page, octets + bytes(WHERE_BYTES - 8) + octets)]
    return [(page, 0, octets), (page, WHERE_BYTES, octets)]


def number_in(image: bytes | memoryview) -> int:
    """The number that a page shows, at both of its ends."""
    first, last = bytes(image[:8]), bytes(image[WHERE_BYTES:])
    assert first == last, f"a page in part: {first.hex()} {last.hex()}"
    return int.from_bytes(first, "little")


def number_of(reader: Any, pages: range) -> int:
    """The number that all of them show, read in one crossing."""
    data = reader.read_many(pages)
    numbers = {number_in(data[n * 4096 : (n + 1) * 4096]) for n in range(len(pages))}
    assert len(numbers) == 1, f"a commit in part: {sorted(numbers)}"
    return numbers.pop()


class History:
    """Which number a group shows since which LSN, as its one writer was told."""

    def __init__(self) -> None:
        self.lsns: list[int] = []
        self.numbers: list[int] = []
        self.begun = 0
        self.last = 0  # acknowledged, since the last rewind

    def acknowledge(self, lsn: int, number: int) -> None:
        """Numbers first: whoever finds the LSN finds the number."""
        self.numbers.append(number)
        self.lsns.append(lsn)
        self.last = number

    def at(self, lsn: int) -> int | None:
        """The number at this very commit, if it was one."""
        place = bisect_right(self.lsns, lsn) - 1
        return self.numbers[place] if place >= 0 and self.lsns[place] == lsn else None


class Stress:
    """One volume and its sessions."""

    def __init__(self, path: Path, seed: str, tally: Counter[str]) -> None:
        self.path = path
        self.seed = seed
        self.rng = random.Random(seed)
        self.tally = tally
        self.histories = [History() for _ in range(COUNTERS)]
        self.bulk = History()
        self.failures: list[str] = []
        self.over = threading.Event()
        self.rewinding = self.was_rewound = False  # this session, the volume
        with aurolog.open(path) as db, db.transaction() as tx:
            for page in range(ACCOUNTS_AT, ACCOUNTS_AT + ACCOUNTS):
                tx.apply(both_ends(page, BALANCE))

    def session(self, seconds: float) -> None:
        """Everybody at once, until the volume is closed under them."""
        self.over.clear()
        db = self.open_when_free()
        self._after_opening(db)
        self.rewinding = self.tally["sessions"] % 2 == 1
        self.was_rewound |= self.rewinding
        bodies: list[Callable[[aurolog.Volume, random.Random], None]] = [
            *(self._counter(n) for n in range(COUNTERS - 1)),
            self._awaiting_counter,
            *([self._banker] * 2),
            self._cutter,
            *([self._reader] * 2),
            self._viewer,
            self._logger,
            self._follower,
            *([self._rewinder] * self.rewinding),
        ]
        threads = [
            threading.Thread(target=self._guarded, args=(body, db, n), daemon=True)
            for n, body in enumerate(bodies)
        ]
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        if self.rng.random() < 0.7:
            db.close()
            self.over.set()
        else:  # as by a process that dies: nobody says goodbye
            self.over.set()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), f"{thread} hangs"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del db, threads, bodies
            gc.collect()
        self.tally["sessions"] += 1

    def open_when_free(self) -> aurolog.Volume:
        """What was dropped is locked until its committing thread has noticed."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return aurolog.open(self.path, cache_bytes=CACHE_BYTES)
            except aurolog.VolumeLockedError:
                if time.monotonic() > deadline:
                    raise
            os.sched_yield()

    def _guarded(
        self, body: Callable[[aurolog.Volume, random.Random], None], db: aurolog.Volume, n: int
    ) -> None:
        try:
            body(db, random.Random(f"{self.seed}/{self.tally['sessions']}/{n}"))
        except aurolog.ClosedError:
            pass
        except BaseException:
            self.failures.append(traceback.format_exc())
            self.over.set()

    def _after_opening(self, db: aurolog.Volume) -> None:
        for counter, history in enumerate(self.histories):
            found = number_of(db, group(counter))
            assert found <= history.begun, (counter, history.begun, found)
            assert history.last <= found or self.rewinding, (counter, history.last, found)
            history.last = found
            if not self.was_rewound:  # what was left behind has numbers, too
                history.begun = found
        found = number_of(db, range(BULK_AT, BULK_AT + BULK_PAGES))
        assert self.bulk.last <= found or self.rewinding
        self.bulk.last = found
        self._check_money(db)

    # those who write

    def _counter(self, counter: int) -> Callable[[aurolog.Volume, random.Random], None]:
        history = self.histories[counter]

        def body(db: aurolog.Volume, rng: random.Random) -> None:
            while not self.over.is_set():
                number = history.begun = history.begun + 1
                bulk = counter == 0 and rng.random() < 0.02
                durability = ("sync", "os", rng.choice(("sync", "os")))[counter]
                tx = db.transaction(durability=durability, note=f"{counter} {number}")
                with self._may_conflict(), tx:
                    for page in group(counter):
                        tx.apply(both_ends(page, number))
                    if bulk:
                        image = number.to_bytes(8, "little") * 512
                        pages = range(BULK_AT, BULK_AT + BULK_PAGES)
                        tx.apply([("image", page, image) for page in pages])
                if tx.lsn is None:
                    continue
                history.acknowledge(tx.lsn, number)
                if bulk:
                    self.bulk.acknowledge(tx.lsn, number)
                assert db.visible_lsn >= tx.lsn
                if durability == "sync":
                    assert db.durable_lsn >= tx.lsn
                self.tally["commits"] += 1

        return body

    def _awaiting_counter(self, db: aurolog.Volume, rng: random.Random) -> None:
        history = self.histories[-1]

        async def main() -> None:
            while not self.over.is_set():
                begun = []
                for _ in range(rng.randint(1, 10)):
                    number = history.begun = history.begun + 1
                    tx = await db.transaction(note=f"{COUNTERS - 1} {number}")
                    for page in group(COUNTERS - 1):
                        tx.apply(both_ends(page, number))
                    begun.append((tx, number, tx.commit()))
                results = await asyncio.gather(
                    *(future for _, _, future in begun), return_exceptions=True
                )
                for (tx, number, _), result in zip(begun, results, strict=True):
                    if isinstance(result, aurolog.ConflictError) and self.rewinding:
                        assert tx.outcome == "rolled back", f"{tx!r} is told as in conflict"
                        self.tally["conflicts"] += 1
                        continue
                    if isinstance(result, BaseException):
                        raise result
                    assert tx.lsn is not None
                    history.acknowledge(tx.lsn, number)
                    assert db.durable_lsn >= tx.lsn
                    self.tally["awaited commits"] += 1

        asyncio.run(main())

    def _banker(self, db: aurolog.Volume, rng: random.Random) -> None:
        accounts = range(ACCOUNTS_AT, ACCOUNTS_AT + ACCOUNTS)
        while not self.over.is_set():
            source, target = rng.sample(accounts, 2)
            durability = rng.choice(("sync", "os"))
            with self._may_conflict(), db.transaction(durability=durability) as tx:
                has, gets = number_in(tx[source]), number_in(tx[target])
                amount = rng.randint(0, has)
                tx.apply(both_ends(source, has - amount))
                tx.apply(both_ends(target, gets + amount))
                if rng.random() < 0.1:
                    tx.rollback()
            self.tally["transfers"] += 1

    def _cutter(self, db: aurolog.Volume, rng: random.Random) -> None:
        pages = range(RANGE_AT, RANGE_AT + RANGE_PAGES)
        while not self.over.is_set():
            with self._may_conflict(), db.transaction(durability="os") as tx:
                if rng.random() < 0.5:
                    tx.truncate(RANGE_AT)
                else:
                    number = rng.randint(1, 1 << 40)
                    for page in pages:
                        tx.apply(both_ends(page, number))
            self.over.wait(rng.random() * 0.01)  # or it would have the place most of the time

    @contextlib.contextmanager
    def _may_conflict(self) -> Iterator[None]:
        """Where somebody rewinds, transactions are over, and nothing of them is committed."""
        try:
            yield
        except aurolog.ConflictError:
            if not self.rewinding:
                raise
            self.tally["conflicts"] += 1

    def _rewinder(self, db: aurolog.Volume, rng: random.Random) -> None:
        """Goes to a commit of late, or back to what it left, and names where it was."""
        left, names = 0, list(db.restore_points)
        while not self.over.is_set():
            lsn = left
            if not left or rng.random() < 0.6:
                lsn = max(2, db.visible_lsn - rng.randint(0, 3000))
            try:
                done = db.backtrack(lsn)
            except aurolog.LsnError as error:
                if "cut" not in str(error):
                    raise
                continue
            assert done.to_lsn <= lsn
            left = done.from_lsn
            self.tally["rewinds"] += 1
            if rng.random() < 0.3:
                name = f"left {left} {self.tally['rewinds']}"
                point = db.restore_point(name, at=left)
                assert point.lsn == left
                names.append(name)
            if len(names) > 20:
                db.delete_restore_point(names.pop(rng.randrange(len(names))))
            assert set(db.restore_points) == set(names)
            history = db.history
            assert history[-1].current
            assert [run.lsn for run in history] == sorted({run.lsn for run in history})
            self.over.wait(rng.random() * 0.02)

    # those who read

    def _check_money(self, reader: Any) -> None:
        data = reader.read_many(range(ACCOUNTS_AT, ACCOUNTS_AT + ACCOUNTS))
        total = sum(number_in(data[n * 4096 : (n + 1) * 4096]) for n in range(ACCOUNTS))
        assert total == ACCOUNTS * BALANCE, f"{total} in all"

    def _check(self, reader: Any, lsn: int | None = None) -> list[int]:
        """All invariants at once; the counters' numbers."""
        self._check_money(reader)
        numbers = [number_of(reader, group(counter)) for counter in range(COUNTERS)]
        if lsn is not None:
            for history, number in zip(self.histories, numbers, strict=True):
                assert history.at(lsn) in (None, number), f"at LSN {lsn}"
            number_of(reader, range(RANGE_AT, RANGE_AT + RANGE_PAGES))
            length = len(reader)
            assert length in (RANGE_AT, RANGE_AT + RANGE_PAGES) or length <= BULK_AT, length
        return numbers

    def _reader(self, db: aurolog.Volume, rng: random.Random) -> None:
        """Plain reads: each sees one commit, and none sees less than one before it."""
        seen = [0] * COUNTERS
        visible = durable = 0
        while not self.over.is_set():
            now = db.visible_lsn
            assert now >= visible, f"visible fell from {visible} to {now}"
            visible = now
            now = db.durable_lsn
            assert now >= durable, f"durable fell from {durable} to {now}"
            durable = now
            counter = rng.randrange(COUNTERS)
            acknowledged = self.histories[counter].last
            if rng.random() < 0.5:
                found = number_of(db, group(counter))
            else:
                found = number_in(db[rng.choice(group(counter))])
            if not self.rewinding:
                assert found >= seen[counter], f"fell from {seen[counter]} to {found}"
                assert found >= acknowledged, f"{acknowledged} was acknowledged, {found} is shown"
            seen[counter] = found
            if rng.random() < 0.2:
                self._check_money(db)
                number_of(db, range(BULK_AT, BULK_AT + BULK_PAGES))
                number_of(db, range(RANGE_AT, RANGE_AT + RANGE_PAGES))
            if rng.random() < 0.05:
                db.sync()
                db.stats()
            self.tally["reads"] += 1

    def _viewer(self, db: aurolog.Volume, rng: random.Random) -> None:
        """Views and pinned pages, held for a while."""
        held: list[tuple[aurolog.View, list[int], bytes]] = []
        pinned: list[tuple[memoryview, bytes]] = []
        while not self.over.is_set():
            visible = db.visible_lsn
            acknowledged = self.histories[rng.randrange(COUNTERS)].lsns[-1:]
            lsn = rng.choice((visible, rng.randint(0, visible), *acknowledged))
            try:
                view = db.at(lsn)
            except aurolog.LsnError as error:
                if "cut" not in str(error):  # by the recovery after an earlier session
                    raise
                continue
            assert view.lsn <= lsn
            if view.lsn > 1:
                numbers = self._check(view, view.lsn)
                pages = rng.sample(range(RANGE_AT + RANGE_PAGES + 2), 12)
                held.append((view, numbers, bytes(view.read_many(pages))))
                single = b"".join(view[page] for page in pages)
                assert held[-1][2] == single, "read_many and single reads differ"
            if rng.random() < 0.5:
                page = rng.randrange(RANGE_AT)
                memory = db.view_page(page)
                pinned.append((memory, bytes(memory)))
            if len(held) > 4:
                view, numbers, _ = held.pop(rng.randrange(len(held)))
                assert self._check(view, view.lsn) == numbers, "a view has changed"
                view.close()
            while len(pinned) > 8:
                memory, image = pinned.pop(rng.randrange(len(pinned)))
                assert memory == image, "a pinned page has changed"
                memory.release()
            self.tally["views"] += 1

    def _logger(self, db: aurolog.Volume, rng: random.Random) -> None:
        """Batches of the log, and the versions of pages."""
        while not self.over.is_set():
            last = db.visible_lsn
            first = max(1, last - rng.randint(0, 400))
            previous: aurolog.Batch | None = None
            numbers: dict[int, int] = {}
            for batch in db.log(first, last):
                if previous is not None and batch.kind == previous.kind == "pages":
                    assert batch.first_lsn == previous.lsn + 1, (previous.lsn, batch.first_lsn)
                    assert batch.time >= previous.time
                if batch.note:
                    counter, number = map(int, batch.note.split())
                    assert number > numbers.get(counter, 0)
                    numbers[counter] = number
                    assert self.histories[counter].at(batch.lsn) in (None, number)
                previous = batch
            page = rng.choice(group(rng.randrange(COUNTERS)))
            versions = db.versions(page)
            assert all(a.lsn < b.lsn for a, b in itertools.pairwise(versions))
            self.tally["looks at the log"] += 1

    def _follower(self, db: aurolog.Volume, rng: random.Random) -> None:
        """The volume opened read-only beside its writer."""
        while not self.over.is_set():
            durable = db.durable_lsn
            with aurolog.open(self.path, read_only=True, cache_bytes=CACHE_BYTES) as other:
                assert other.visible_lsn >= durable, (other.visible_lsn, durable)
                numbers = self._check(other, other.visible_lsn)
                assert self._check(other, other.visible_lsn) == numbers
            self.tally["followers"] += 1


def run(seconds: float, seed: int, length: float) -> list[str]:
    """Volumes one after another until the time is over; what went wrong."""
    end = time.monotonic() + seconds
    tally: Counter[str] = Counter()
    failures: list[str] = []
    volumes = 0
    while not failures and (not volumes or time.monotonic() < end):
        with tempfile.TemporaryDirectory(prefix="aurolog-stress-") as scratch:
            stress = Stress(Path(scratch) / "volume", f"{seed}/{volumes}", tally)
            volumes += 1
            for _ in range(SESSIONS_MAX):
                stress.session(length * stress.rng.uniform(0.3, 1.5))
                failures = stress.failures
                if failures or time.monotonic() >= end:
                    break
            if not failures:
                with stress.open_when_free() as db:
                    assert db.verify().ok
    print(", ".join(f"{count:,} {what}" for what, count in sorted(tally.items())), flush=True)
    return failures


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description="Threads on one volume.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--session", type=float, default=1.0, help="about so many seconds each")
    given = parser.parse_args()
    failures = run(given.seconds, given.seed, given.session)
    for failure in failures:
        print(failure)
    print(f"FAILED; {repeat(given.seed)}" if failures else f"seed {given.seed}: nothing torn")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
