"""What a process promised before it was killed, and whether the volume kept it.

The *ledger* is memory shared between the campaign (`kernel.py`) and the process at work: for each
thread how many commits it has begun and what became of each. It lies outside of any volume, and
one store makes an entry true, so it is exact to the instant in which the process dies.

The *oracle* is all that is known of a volume: the commits that it was seen to hold, and the LSNs
that anybody was told. `examine` compares a volume just opened with the oracle and with the ledger
of the session that died:

1. Every acknowledged commit is there, under its LSN. After a power cut these are the ones that
   were durable: acknowledged with durability `sync`, or at or below a durable LSN that was told.
2. None is there in part: every commit of a thread writes its number and bytes drawn from it into
   six pages (the bulk ones into 300 more), and each page shows the same commit.
3. Of each thread the commits that are there are its first ones, in order, without a gap, and none
   that was refused (a full disk) is among them.
4. Nothing comes back: the commits of older sessions are those that were seen before.
5. No LSN is given twice: those of a session are above all that earlier ones gave or showed.
6. Past LSNs show what they showed, and those of lost commits are refused.
7. Rewinds and restore points are commits like the others: pages are those of the path that the
   rewinds make, and the volume tells the same runs and names.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import mmap
import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

import aurolog

THREADS = 4
COMMITS_MAX = 2000  # of a thread in one session
PAGES = 6  # that each commit of a thread writes
BULK_PAGES = 300  # that a bulk one writes, too: more than 1 MiB
BULK_AT = 100
PAGE_SIZE = 4096

# What a commit is.
SMALL, BULK, REWIND, NAME = range(4)

# What became of a commit.
BEGUN, OS, SYNC, REFUSED, UNKNOWN = range(1, 6)

# How far the process is.
STARTING, OPENING, OPEN, CLOSING, CLOSED = range(5)


class Ledger:
    """The shared memory: words of 64 bits, each written by one thread only."""

    _PHASE, _STOP, _CUT, _THREADS = range(4)
    _BEGUN, _DURABLE, _VISIBLE, _COMMITS = range(4)  # of a thread
    _WORDS = _COMMITS + 2 * COMMITS_MAX

    def __init__(self, words: Any = None) -> None:
        if words is None:
            size = 8 * (self._THREADS + THREADS * self._WORDS)
            words = memoryview(mmap.mmap(-1, size)).cast("Q")
        self.words = words

    def copy(self) -> Ledger:
        """As it is now, in memory of this process alone."""
        return Ledger(memoryview(bytes(self.words)).cast("Q"))

    def promised(self, told: Ledger) -> Ledger:
        """As it is now, but what was not acknowledged, or called durable, when `told` was copied
        has had no answer.
        """
        kept = self.copy()
        kept.words = memoryview(bytearray(kept.words)).cast("Q")
        for thread in range(THREADS):
            at = self._at(thread)
            kept.words[at + self._DURABLE] = told.words[at + self._DURABLE]
            for number, state, lsn in self.commits(thread):
                if state in (OS, SYNC) and told.words[at + self._COMMITS + 2 * number] != state:
                    kept.settle(thread, number, BEGUN, lsn)
        return kept

    def clear(self) -> None:
        """For the next process."""
        self.words[:] = memoryview(bytes(self.words.nbytes)).cast("Q")

    @property
    def phase(self) -> int:
        """How far the process is."""
        return int(self.words[self._PHASE])

    @phase.setter
    def phase(self, value: int) -> None:
        self.words[self._PHASE] = value

    @property
    def stop(self) -> bool:
        """Whether the threads are to end."""
        return bool(self.words[self._STOP])

    @stop.setter
    def stop(self, value: bool) -> None:
        self.words[self._STOP] = value

    @property
    def cut(self) -> bool:
        """Whether the power is cut, or is about to be."""
        return bool(self.words[self._CUT])

    @cut.setter
    def cut(self, value: bool) -> None:
        self.words[self._CUT] = value

    # one thread's

    def _at(self, thread: int) -> int:
        return self._THREADS + thread * self._WORDS

    def begin(self, thread: int, number: int) -> None:
        """Before its commit `number` of this session, from 0."""
        self.words[self._at(thread) + self._COMMITS + 2 * number] = BEGUN
        self.words[self._at(thread) + self._BEGUN] = number + 1

    def settle(self, thread: int, number: int, state: int, lsn: int = 0) -> None:
        """What became of it."""
        at = self._at(thread) + self._COMMITS + 2 * number
        self.words[at + 1] = lsn
        self.words[at] = state

    def tell(self, thread: int, durable: int, visible: int) -> None:
        """LSNs that the thread was told."""
        self.words[self._at(thread) + self._DURABLE] = durable
        self.words[self._at(thread) + self._VISIBLE] = visible

    # read by the campaign

    def begun(self, thread: int) -> int:
        """How many commits it has begun."""
        return int(self.words[self._at(thread) + self._BEGUN])

    def commits(self, thread: int) -> Iterator[tuple[int, int, int]]:
        """Number in this session, state and LSN of each."""
        at = self._at(thread) + self._COMMITS
        for number in range(self.begun(thread)):
            yield number, int(self.words[at + 2 * number]), int(self.words[at + 2 * number + 1])

    def acknowledged(self, *states: int) -> int:
        """The highest LSN that was acknowledged so."""
        return max(
            (
                lsn
                for thread in range(THREADS)
                for _, state, lsn in self.commits(thread)
                if state in states
            ),
            default=0,
        )

    def count(self, *states: int) -> int:
        """How many commits are in these states."""
        return sum(
            state in states for thread in range(THREADS) for _, state, _ in self.commits(thread)
        )

    def durable(self) -> int:
        """What must survive a power cut: all that was called durable."""
        told = [int(self.words[self._at(thread) + self._DURABLE]) for thread in range(THREADS)]
        return max(self.acknowledged(SYNC), *told)

    def highest(self) -> int:
        """The highest LSN that anybody was told."""
        told = [int(self.words[self._at(thread) + self._VISIBLE]) for thread in range(THREADS)]
        return max(self.acknowledged(BEGUN, OS, SYNC), self.durable(), *told)


# --- what a commit writes -------------------------------------------------------------------------


class Commit(NamedTuple):
    """One that the log holds; its note says whose it is."""

    first_lsn: int
    lsn: int
    session: int
    thread: int
    number: int  # of its thread, over all sessions
    kind: int
    parent: int  # of a rewind: what it went to

    @classmethod
    def of(cls, batch: aurolog.Batch) -> Commit | None:
        """The commit that a batch of the log is; `None` for what opening and closing log."""
        note, parent = batch.note, 0
        record = batch.records[0]
        if record.kind == "restore-point":
            note = record.data[40:].rstrip(b"\0").decode()
        elif record.kind == "branch-point":
            (parent,) = struct.unpack_from("<Q", record.data)
        if not note:
            return None
        session, thread, number, kind = map(int, note.split())
        return cls(batch.first_lsn, batch.lsn, session, thread, number, kind, parent)

    @property
    def label(self) -> str:
        """Its note, or name."""
        return f"{self.session} {self.thread} {self.number} {self.kind}"


@functools.lru_cache(4096)
def stamp(thread: int, number: int, page: int, whole: bool) -> bytes:
    """What commit `number` of a thread writes at the beginning of a page, or all over it."""
    digest = hashlib.blake2b(f"{thread}/{number}/{page}".encode()).digest()
    length = 200 if thread == 0 else 24 + int.from_bytes(digest[:2], "little") % 3000
    if whole:
        length = PAGE_SIZE
    head = number.to_bytes(8, "little") + length.to_bytes(8, "little")
    return (head + digest * (length // len(digest) + 1))[:length]


def small_pages(thread: int) -> range:
    """Those that each of the thread's commits writes."""
    return range(thread * PAGES, thread * PAGES + PAGES)


def bulk_pages(thread: int) -> range:
    """Those that its bulk commits write besides."""
    return range(BULK_AT + thread * BULK_PAGES, BULK_AT + (thread + 1) * BULK_PAGES)


def changes(thread: int, number: int, bulk: bool) -> list[tuple[Any, ...]]:
    """What commit `number` of a thread does."""
    made: list[tuple[Any, ...]] = [
        (page, 0, stamp(thread, number, page, False)) for page in small_pages(thread)
    ]
    if bulk:
        made += [("image", p, stamp(thread, number, p, True)) for p in bulk_pages(thread)]
    return made


# --- what must be there ---------------------------------------------------------------------------


@dataclass
class Report:
    """What an examination found that was not known before."""

    new: list[Commit]
    lost: list[int]  # LSNs acknowledged with durability `os` that a power cut took
    last: int


@dataclass
class Oracle:
    """All that is known of one volume."""

    history: list[Commit] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    last: int = 0  # what the last opening showed: durable since
    highest: int = 0  # the highest LSN that anybody was ever told
    session: int = 0  # the last one that wrote
    clean: bool = False  # whether it closed the volume
    #: how many commits each thread had begun before that session
    before: list[int] = field(default_factory=lambda: [0] * THREADS)
    past: Ledger = field(default_factory=lambda: Ledger().copy())
    power: bool = False  # whether it ended by a power cut

    def base(self, thread: int) -> int:
        """How many commits the thread has begun in all sessions so far: none of these numbers is
        used again, so whatever comes back is known.
        """
        return self.before[thread] + self.past.begun(thread)

    def required(self) -> int:
        """The LSN that must be there."""
        if self.power:
            return max(self.last, self.past.durable())
        return max(self.last, self.past.durable(), self.past.acknowledged(OS))

    def begin(self, report: Report, ledger: Ledger) -> None:
        """A session found this and goes to work."""
        self.history += report.new
        self.lost += report.lost
        self.last = report.last
        self.highest = max(self.highest, self.past.highest(), report.last)
        self.before = [self.base(thread) for thread in range(THREADS)]
        self.session += 1
        self.past, self.clean = ledger, False

    def end(self, *, clean: bool, told: Ledger | None = None) -> None:
        """It has ended, by a power cut when `told` is what it had promised before that."""
        self.clean, self.power = clean, told is not None
        self.past = self.past.promised(told) if told else self.past.copy()
        if clean:
            self.last = max(self.last, self.past.acknowledged(OS, SYNC))

    def newest(self, commits: list[Commit], lsn: int) -> dict[int, tuple[int, int]]:
        """Of each thread the last commit at or below an LSN, and its last bulk one; 0 is none."""
        found: dict[int, list[int]] = {thread: [0, 0] for thread in range(THREADS)}
        wanted = {(thread, bulk) for thread in range(THREADS) for bulk in (0, 1)}
        at = bisect.bisect_right(commits, lsn, key=lambda commit: commit.lsn) - 1
        while wanted and at >= 0:
            commit = commits[at]
            if commit.kind == REWIND:
                at = bisect.bisect_right(commits, commit.parent, key=lambda one: one.lsn)
            for bulk in {SMALL: (0,), BULK: (0, 1)}.get(commit.kind, ()):
                if (commit.thread, bulk) in wanted:
                    wanted.remove((commit.thread, bulk))
                    found[commit.thread][bulk] = commit.number
            at -= 1
        return {thread: (small, bulk) for thread, (small, bulk) in found.items()}


def examine(
    db: aurolog.Volume,
    oracle: Oracle,
    rng: random.Random,
    *,
    required: int,
    live: bool = False,
    whole: bool = False,
    powerless: Callable[[], bool] = lambda: False,
) -> Report:
    """Compares the volume with what is known; `live`: the last session is still at work;
    `powerless`: whether the disk fails by now.
    """
    last = db.visible_lsn
    assert last >= required, f"the log ends at LSN {last}, {required} was acknowledged"
    assert db.durable_lsn == last, "what is shown at opening is durable"
    old = [commit for commit in oracle.history if commit.lsn <= last]
    start = 0 if whole or not old else rng.randrange(max(0, len(old) - 200), len(old))
    first = old[start].first_lsn if start < len(old) else 1
    found = [commit for batch in db.log(first) if (commit := Commit.of(batch))]
    found = [commit for commit in found if commit.lsn <= last]
    known = old[start:]
    assert found[: len(known)] == known, "the past is another one"
    new = found[len(known) :]
    lost = _examine_new(new, oracle, required)
    commits = old + new

    _examine_pages(db, oracle.newest(commits, last), bulk=True)
    _examine_past(db, commits)
    for commit in rng.sample(commits, min(3, len(commits))):
        with db.at(commit.lsn) as view:
            assert view.lsn == commit.lsn
            _examine_pages(view, oracle.newest(commits, commit.lsn), bulk=rng.random() < 0.1)
    for lsn in [*oracle.lost[-3:], *([] if live else lost[-3:])]:
        with pytest.raises(aurolog.LsnError):
            db.at(lsn)
    if whole:
        report = db.verify()
        assert report.ok or powerless(), report.problems
    return Report(new, lost, last)


def _examine_past(db: aurolog.Volume, commits: list[Commit]) -> None:
    """The volume tells the rewinds and the names that its log has."""
    told = [(run.lsn, run.parent_lsn) for run in db.history if run.kind == "rewind"]
    assert told == [(commit.lsn, commit.parent) for commit in commits if commit.kind == REWIND]
    names = {commit.label for commit in commits if commit.kind == NAME}
    assert set(db.restore_points) == names


def _examine_new(new: list[Commit], oracle: Oracle, required: int) -> list[int]:
    """The commits that were not known; the acknowledged LSNs that are not among them, which are
    above all that are, and above what is required.
    """
    highest = oracle.highest
    there: list[dict[int, int]] = [{} for _ in range(THREADS)]
    for commit in new:
        assert commit.session == oracle.session, f"{commit} has come back, or was never begun"
        assert commit.first_lsn > highest, f"{commit}: LSN {highest} was given or shown before"
        highest = commit.lsn
        there[commit.thread][commit.number - oracle.before[commit.thread] - 1] = commit.lsn
    lost = []
    for thread in range(THREADS):
        states = list(oracle.past.commits(thread))
        numbers = list(there[thread])
        # Nobody was told of those that the death, or a rewind just before it, has refused.
        kept = [
            number
            for number, state, _ in states
            if state in (OS, SYNC) or (state != REFUSED and number in there[thread])
        ]
        assert numbers == kept[: len(numbers)], f"thread {thread}: {numbers}, begun were {states}"
        for number, state, lsn in states:
            if state not in (OS, SYNC):
                continue
            if number in there[thread]:
                assert there[thread][number] == lsn, f"thread {thread}, commit {number}: {lsn}"
            else:
                assert lsn > max(highest, required), (
                    f"LSN {lsn} was acknowledged and is not there; the last commit that is has "
                    f"{highest}, durable was {oracle.past.durable()}, required is {required}"
                )
                lost.append(lsn)
    return lost


def _examine_pages(reader: Any, newest: dict[int, tuple[int, int]], *, bulk: bool) -> None:
    """Every page shows the commit that it should, whole."""
    for thread, numbers in newest.items():
        for part, pages in enumerate((small_pages(thread), bulk_pages(thread))):
            if part and not bulk:
                continue
            data = bytes(reader.read_many(pages))
            for n, page in enumerate(pages):
                image = data[n * PAGE_SIZE : (n + 1) * PAGE_SIZE]
                number = numbers[part]
                wanted = stamp(thread, number, page, bool(part)) if number else bytes(PAGE_SIZE)
                assert image.startswith(wanted), (
                    f"page {page} shows {int.from_bytes(image[:8], 'little')}, not {number}"
                )
