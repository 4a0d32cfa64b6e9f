"""Random programs of the public API beside the model: a dict of page versions.

Whatever a program does, every LSN of the history shows what the model had then: in the volume and
its views, beside a writer and after it, reopened, killed. The log is checked as it grows: applied
to the model's pages, its records make the next ones, and what it said once it says for ever.

What the model does not know: power cuts (`make crash`), threads, damage.

`make model TIME=600` runs longer. A failure prints the program, and how to repeat it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import Change, Child, Draft, Model, State, assert_same, copy, perform

import aurolog

PAGES = 20  # more than the smallest cache holds
FAR_PAGES = (4096, 2**31 - 2)
CACHE_PAGES = 16
LOOKED_AT = (*range(PAGES), *FAR_PAGES)
PAGE_SIZES = (512, 4096, 65536)
KEPT_MAX = 4  # views, pins, readers and cursors, each
NANOSECOND_MAX = 10**18


@st.composite
def a_change(draw: Callable[[st.SearchStrategy[Any]], Any], size: int) -> Change:
    """One change of one page; hypothesis shrinks towards small writes on page 0."""
    page = draw(st.one_of(st.integers(0, PAGES - 1), st.sampled_from(FAR_PAGES)))
    kind = draw(st.sampled_from(["write", "move", "fill", "image", "truncate"]))
    if kind == "write":
        data = draw(st.binary(min_size=1, max_size=24))
        if draw(st.booleans()):
            data = (data * size)[: draw(st.integers(1, size))]
        return ("write", page, draw(st.integers(0, size - len(data))), data)
    if kind == "move":
        length = draw(st.integers(1, size))
        place = st.integers(0, size - length)
        return ("move", page, draw(place), draw(place), length)
    if kind == "fill":
        length = draw(st.integers(1, size))
        offset = draw(st.integers(0, size - length))
        return ("fill", page, offset, length, draw(st.integers(0, 255)))
    if kind == "image":
        data = draw(st.binary(min_size=1, max_size=8))
        image = bytearray((data * size)[:size])
        if draw(st.booleans()):  # one byte stands out, at an end or anywhere
            image[draw(st.one_of(st.sampled_from([0, size - 1]), st.integers(0, size - 1)))] ^= 0xFF
        return ("image", page, bytes(image))
    return ("truncate", draw(st.one_of(st.integers(0, PAGES), st.sampled_from(FAR_PAGES))))


CHANGES = {size: st.lists(a_change(size), min_size=1, max_size=6) for size in PAGE_SIZES}
HOW = st.sampled_from(["calls", "tuples", "packed"])
DURABILITY = st.sampled_from([None, "os", "sync"])
NOTE = st.one_of(st.none(), st.text(max_size=20).filter(lambda text: text.isprintable()))


def redo(draft: Draft, record: aurolog.Record) -> None:
    """One record of the log, on the model's pages."""
    match record.kind:
        case "write":
            draft.write(record.page, record.offset, record.data)
        case "image":
            draft.image(record.page, record.data)
        case "move":
            draft.move(record.page, record.source, record.offset, record.length)
        case "fill":
            draft.fill(record.page, record.offset, record.length, record.byte)
        case "truncate":
            draft.truncate(record.page)
        case _:
            raise AssertionError(f"a record of kind {record.kind} among pages")


def touches(batch: aurolog.Batch, page: int) -> bool:
    """Whether a record of the batch is about the page."""
    return batch.kind == "pages" and any(
        record.page <= page if record.kind == "truncate" else record.page == page
        for record in batch.records
    )


def time_of(nanoseconds: int) -> datetime:
    """A clock's answer as the API shows it."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=nanoseconds // 1000)


class Volumes(RuleBasedStateMachine):
    """A volume and its model, driven by the same steps."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="aurolog-model-"))
        self.path = self.directory / "0"
        self.copies = self.commits = self.now = 0
        self.durable = 0
        self.batches: list[aurolog.Batch] = []
        self.views: list[tuple[aurolog.View, State]] = []
        self.pins: list[tuple[memoryview, bytes]] = []
        self.readers: list[tuple[aurolog.Volume, int]] = []
        self.cursors: list[tuple[Iterator[aurolog.Batch], list[aurolog.Batch]]] = []

    @initialize(
        size=st.sampled_from(PAGE_SIZES),
        durability=st.sampled_from(["os", "sync"]),
        now=st.integers(0, NANOSECOND_MAX),
    )
    def make(self, size: int, durability: str, now: int) -> None:
        self.size = size
        self.model = Model(size)
        self.durability = durability
        self.now = now
        self._open(page_size=size)
        assert self.db.recovery.clean
        assert self.db.visible_lsn == len(self.db) == 0

    def teardown(self) -> None:
        for memory, _ in self.pins:
            memory.release()
        for reader, _ in self.readers:
            reader.close()
        if hasattr(self, "db"):
            self.db.close()
        shutil.rmtree(self.directory)

    # --- writing

    @rule(data=st.data(), how=HOW, durability=DURABILITY, note=NOTE)
    def commit(self, data: st.DataObject, how: str, durability: Any, note: str | None) -> None:
        changes = data.draw(CHANGES[self.size])
        draft = self.model.begin()
        draft.apply(changes)
        with self.db.transaction(durability=durability, note=note) as tx:
            self._give(tx, changes, how)
            assert len(tx) == draft.length
        self._committed([(draft, tx)], durability, note)
        if tx.lsn is None:
            assert draft.pages == self.model.newest.pages
            assert draft.length == self.model.newest.length

    @rule(data=st.data(), parts=st.integers(1, 3))
    def commit_and_read_within(self, data: st.DataObject, parts: int) -> None:
        draft = self.model.begin()
        with self.db.transaction() as tx:
            for _ in range(parts):
                changes = data.draw(CHANGES[self.size])
                draft.apply(changes)
                self._give(tx, changes, "calls")
                self._check(tx, draft)
            assert_same(self.db, self.model.newest, also=LOOKED_AT)  # nobody else sees it
        self._committed([(draft, tx)])

    @rule(data=st.data(), read=st.booleans(), how=st.sampled_from(["raise", "call", "drop"]))
    def roll_back(self, data: st.DataObject, read: bool, how: str) -> None:
        changes = data.draw(CHANGES[self.size])
        draft = self.model.begin()
        draft.apply(changes)
        tx = self.db.transaction()
        self._give(tx, changes, "calls")
        if read:
            self._check(tx, draft)
        if how == "raise":
            with pytest.raises(ZeroDivisionError), tx:
                raise ZeroDivisionError
        elif how == "call":
            tx.rollback()
        else:
            del tx
            return
        assert tx.lsn is None
        assert tx.outcome == "rolled back"

    @rule(data=st.data(), bad=st.sampled_from(["page", "range", "image"]))
    def commit_around_a_refused_call(self, data: st.DataObject, bad: str) -> None:
        changes = data.draw(CHANGES[self.size])
        wrong = {"page": (-1, 0, b"x"), "range": (0, self.size, b"x"), "image": ("image", 0, b"")}
        draft = self.model.begin()
        draft.apply(changes)
        with self.db.transaction() as tx:
            tx.apply(changes)
            with pytest.raises(aurolog.InputError):
                tx.apply([("fill", 0, 0, self.size, 9), ("truncate", 0), wrong[bad]])
            self._check(tx, draft)
        self._committed([(draft, tx)])

    @rule(data=st.data(), count=st.integers(1, 4), durability=DURABILITY, blocks=st.booleans())
    def await_commits(self, data: st.DataObject, count: int, durability: Any, blocks: bool) -> None:
        """Of one event loop: durable in the order in which they were asked for."""
        programs = [data.draw(CHANGES[self.size]) for _ in range(count)]
        done: list[tuple[Draft, aurolog.Transaction]] = []

        def begin(changes: list[Change]) -> aurolog.Transaction:
            draft = Draft(self._state_of(done[-1][0])) if done else self.model.begin()
            draft.apply(changes)
            tx = self.db.transaction(durability=durability)
            tx.apply(changes)
            done.append((draft, tx))
            return tx

        async def with_block(changes: list[Change]) -> int | None:
            async with begin(changes) as tx:
                pass
            return tx.lsn

        async def main() -> list[int | None]:
            if blocks:
                return await asyncio.gather(*map(with_block, programs))
            return await asyncio.gather(*[begin(changes).commit_async() for changes in programs])

        assert asyncio.run(main()) == [tx.lsn for _, tx in done]
        self._committed(done, durability)

    @precondition(lambda self: self.size == 65536)
    @rule(byte=st.integers(0, 255), durability=DURABILITY)
    def commit_over_a_mebibyte(self, byte: int, durability: Any) -> None:
        """A bulk batch: of several frames, in unprepared files."""
        changes: list[Change] = [
            ("image", page, bytes([byte ^ page]) * self.size) for page in range(PAGES)
        ]
        draft = self.model.begin()
        draft.apply(changes)
        with self.db.transaction(durability=durability) as tx:
            self._give(tx, changes, "tuples")
        self._committed([(draft, tx)], durability)

    @rule()
    def sync(self) -> None:
        assert self.db.sync() == self.db.durable_lsn == self.db.visible_lsn

    @rule(now=st.integers(0, NANOSECOND_MAX))
    def set_the_clock(self, now: int) -> None:
        self.now = now

    def _state_of(self, draft: Draft) -> State:
        return State(0, draft.pages, draft.length, self.size)

    def _committed(
        self,
        done: list[tuple[Draft, aurolog.Transaction]],
        durability: str | None = None,
        note: str | None = None,
    ) -> None:
        """Each of them is in the log, as its last and in order, and makes the model's pages."""
        logged = [(draft, tx) for draft, tx in done if tx.lsn is not None]
        for _, tx in done:
            assert tx.outcome == "committed"
        new = self._new_batches()
        assert [batch.lsn for batch in new] == [tx.lsn for _, tx in logged]
        for batch, (draft, _) in zip(new, logged, strict=True):
            assert batch.epoch == self.db.epoch
            self._check_batch(batch, draft, note or "")
            self.model.commit(draft, batch.lsn)
        self.commits += len(logged)
        self.wrote = self.wrote or bool(logged)
        if logged:
            assert self.db.visible_lsn == logged[-1][1].lsn
            if (durability or self.durability) == "sync":
                assert self.db.durable_lsn == logged[-1][1].lsn

    def _check_batch(self, batch: aurolog.Batch, draft: Draft, note: str = "") -> None:
        """A batch of the log against the transaction on the model."""
        last = self.batches[-1] if self.batches else None
        assert batch.kind == "pages"
        assert batch.note == note
        assert batch.epoch >= (last.epoch if last else 1)
        assert batch.first_lsn == (last.lsn if last else 0) + 1
        assert [record.lsn for record in batch.records] == list(
            range(batch.first_lsn, batch.lsn + 1)
        )
        clock = time_of(self.now)
        assert batch.time == (max(clock, last.time) if last else clock)
        assert batch.pages == draft.length
        redone = self.model.begin()
        for record in batch.records:
            redo(redone, record)
        assert redone.length == draft.length
        for page in {*redone.pages, *draft.pages}:
            assert redone.page(page) == draft.page(page), f"the log makes another page {page}"
        self.batches.append(batch)

    def _new_batches(self) -> list[aurolog.Batch]:
        return list(self.db.log(first=self.batches[-1].lsn + 1 if self.batches else 1))

    # --- reading the past

    @rule(choice=st.integers(0, 1 << 30), keep=st.booleans())
    def look_back(self, choice: int, keep: bool) -> None:
        """At one LSN, wherever it lies: at a commit, in a batch, in a cut range, above all."""
        edges = sorted({0, 1, *self._edges()})
        lsn = edges[choice % len(edges)]
        view = self._at(self.db, lsn, self.db.visible_lsn)
        if view is not None and keep and len(self.views) < KEPT_MAX:
            self.views.append((view, self.model.at(lsn)))

    @rule()
    def look_at_every_lsn(self) -> None:
        for lsn in sorted({0, *self._edges()}):
            self._at(self.db, lsn, self.db.visible_lsn)

    def _edges(self) -> Iterator[int]:
        """Every LSN of every batch, and those around the ranges that recovery cut."""
        for batch in self.batches:
            yield from range(batch.first_lsn - 1, batch.lsn + 2)

    def _at(self, db: aurolog.Volume, lsn: int, visible: int) -> aurolog.View | None:
        """The view of an LSN, checked, or None where it is refused and has to be."""
        before = [batch for batch in self.batches if batch.lsn <= lsn]
        following = self.batches[len(before)] if len(before) < len(self.batches) else None
        commit = before[-1].lsn if before else 0
        is_cut = following is not None and lsn > commit and following.first_lsn > lsn
        if lsn > visible or is_cut:
            with pytest.raises(aurolog.LsnError) as refused:
                db.at(lsn)
            assert refused.value.lsn == lsn
            assert refused.value.visible_lsn == visible
            return None
        view = db.at(lsn)
        assert view.lsn == commit
        assert view.time == (before[-1].time if before else None)
        assert view.page_size == self.size
        assert_same(view, self.model.at(lsn), also=LOOKED_AT)
        return view

    @rule(page=st.sampled_from(LOOKED_AT))
    def pin(self, page: int) -> None:
        if len(self.pins) < KEPT_MAX:
            self.pins.append((self.db.view_page(page), self.model.newest.page(page)))

    @precondition(lambda self: self.pins)
    @rule()
    def unpin(self) -> None:
        memory, wanted = self.pins.pop(0)
        assert bytes(memory) == wanted
        memory.release()

    @rule(page=st.sampled_from(LOOKED_AT))
    def list_versions(self, page: int) -> None:
        found = [version.lsn for version in self.db.versions(page)]
        images = [(state.lsn, state.page(page)) for state in self.model.states]
        changed = {b[0] for a, b in itertools.pairwise(images) if a[1] != b[1]}
        about_it = [batch.lsn for batch in self.batches if touches(batch, page)]
        assert changed <= set(found)
        assert set(found) <= set(about_it)
        assert found == sorted(set(found))
        times = {batch.lsn: batch.time for batch in self.batches}
        for version in self.db.versions(page):
            assert version.time == times[version.lsn]

    # --- reading the log

    @rule()
    def read_the_log(self) -> None:
        assert list(self.db.log()) == self.batches

    @rule(data=st.data())
    def read_a_part_of_the_log(self, data: st.DataObject) -> None:
        lsns = st.integers(1, self.db.visible_lsn + 2)
        first, last = data.draw(lsns), data.draw(lsns)
        assert list(self.db.log(first, last)) == [
            batch
            for batch in self.batches
            if batch.lsn >= first <= last and batch.first_lsn <= last
        ]

    @rule(taken=st.integers(0, 3))
    def begin_to_read_the_log(self, taken: int) -> None:
        if len(self.cursors) < KEPT_MAX:
            cursor, rest = self.db.log(), self.batches[:]
            for batch in itertools.islice(cursor, taken):
                assert batch == rest.pop(0)
            self.cursors.append((cursor, rest))

    @precondition(lambda self: self.cursors)
    @rule()
    def read_the_log_to_its_end(self) -> None:
        """What was committed since the cursor was made is not in it."""
        cursor, rest = self.cursors.pop(0)
        assert list(cursor) == rest

    @rule()
    def verify(self) -> None:
        progress: list[tuple[int, int]] = []
        report = self.db.verify(lambda done, total: progress.append((done, total)))
        assert report.ok, report.problems
        assert report.batches == len(self.batches)
        assert report.records == sum(len(batch.records) for batch in self.batches)
        assert progress == sorted(progress)

    @rule()
    def count(self) -> None:
        stats = self.db.stats()
        assert stats.commits == self.commits
        assert stats.cached_pages <= stats.cache_capacity_pages == CACHE_PAGES
        assert stats.pinned_pages <= len(self.pins)
        assert self.db.sync() == self.db.visible_lsn
        assert self.db.stats().unsynced_bytes == 0

    # --- reading beside the writer

    @rule()
    def open_a_reader(self) -> None:
        """It shows a durable LSN of the moment, whatever the writer does then."""
        if len(self.readers) == KEPT_MAX:
            self.readers.pop(0)[0].close()
        least = self.db.durable_lsn
        reader = self._open_to_read()
        lsn = reader.visible_lsn
        assert least <= lsn <= self.db.durable_lsn
        assert lsn in {0, *(batch.lsn for batch in self.batches)}
        self.readers.append((reader, lsn))

    def _open_to_read(self) -> aurolog.Volume:
        reader = aurolog.open(self.path, read_only=True, cache_bytes=CACHE_PAGES * self.size)
        with pytest.raises(aurolog.ReadOnlyError):
            reader.transaction()
        assert reader.page_size == self.size
        assert reader.volume_id == self.db.volume_id
        return reader

    @precondition(lambda self: self.readers)
    @rule(choice=st.integers(0, KEPT_MAX - 1), every=st.booleans())
    def look_at_a_reader(self, choice: int, every: bool) -> None:
        reader, lsn = self.readers[choice % len(self.readers)]
        assert reader.visible_lsn == reader.durable_lsn == lsn
        assert_same(reader, self.model.at(lsn), also=LOOKED_AT)
        if every:
            for past in sorted({0, *self._edges()}):
                if past <= lsn + 1:
                    self._at(reader, past, lsn)
            assert list(reader.log()) == [batch for batch in self.batches if batch.lsn <= lsn]

    # --- reopening

    def _let_go(self) -> None:
        for view, state in self.views:
            assert_same(view, state)
        while self.cursors:
            self.read_the_log_to_its_end()

    def _close(self) -> None:
        """Closes the volume; what was pinned in its cache stays readable, nothing else does."""
        self.db.close()
        for call in (lambda: self.db[0], self.db.transaction, lambda: self.db.at(0), self.db.sync):
            with pytest.raises(aurolog.ClosedError):
                call()
        for view, _ in self.views:
            with pytest.raises(aurolog.ClosedError):
                view.read_many([0])
        self.views.clear()

    @rule(read_only_first=st.booleans())
    def reopen(self, read_only_first: bool) -> None:
        self._let_go()
        self._close()
        if read_only_first:
            with self._open_to_read() as reader:
                assert_same(reader, self.model.newest, also=LOOKED_AT)
        wrote = self.wrote
        self._open()
        assert self.db.recovery.clean
        self._check_control(self._new_batches(), ["clean-close"] if wrote else [])

    @rule()
    def leave_a_copy_of_a_dead_process(self) -> None:
        """The files of a moment are what a process leaves that dies then; go on with them."""
        self._let_go()
        self.copies += 1
        killed = copy(self.path, self.directory / str(self.copies))
        self._close()
        while self.readers:
            self.readers.pop()[0].close()
        shutil.rmtree(self.path)
        self.path = killed
        wrote = self.wrote
        self._open()
        assert self.db.recovery.clean != wrote
        assert self.db.recovery.cut_bytes == 0
        self._check_control(self._new_batches(), ["branch-point"] if wrote else [])

    def _open(self, **how: Any) -> None:
        self.db = aurolog.open(
            self.path,
            durability=self.durability,
            cache_bytes=CACHE_PAGES * self.size,
            clock=lambda: self.now,
            **how,
        )
        self.commits = 0 if self.db.recovery.clean else 1  # the branch point is one, too
        self.wrote = not self.db.recovery.clean  # and not only looked
        assert self.db.page_size == self.size

    def _check_control(self, new: list[aurolog.Batch], kinds: list[str]) -> None:
        """Control batches, and nothing else, have been logged since."""
        assert [record.kind for batch in new for record in batch.records] == kinds
        for batch in new:
            last = self.batches[-1] if self.batches else None
            assert batch.kind == "control"
            assert batch.pages == self.model.newest.length
            assert last is None or batch.time >= last.time
            skipped = batch.first_lsn - (last.lsn if last else 0) - 1
            assert skipped >= 2**32 if "branch-point" in kinds else skipped == 0
            self.batches.append(batch)

    # --- always

    @invariant()
    def the_newest_state_is_right(self) -> None:
        if not hasattr(self, "db"):
            return
        assert self.db.visible_lsn == (self.batches[-1].lsn if self.batches else 0)
        assert self.durable <= self.db.durable_lsn <= self.db.visible_lsn
        self.durable = self.db.durable_lsn
        assert_same(self.db, self.model.newest, also=LOOKED_AT)
        buffer = bytearray(self.size)
        self.db.read_into(0, buffer)
        assert buffer == self.model.newest.page(0)
        for memory, wanted in self.pins:
            assert bytes(memory) == wanted
        if self.views:
            assert_same(*self.views[-1])

    def _give(self, tx: aurolog.Transaction, changes: list[Change], how: str) -> None:
        if how == "calls":
            for change in changes:
                perform(tx, change)
        elif how == "tuples":
            tx.apply(changes)
        else:
            tx.apply(aurolog.pack_changes(changes))

    def _check(self, tx: aurolog.Transaction, draft: Draft) -> None:
        assert len(tx) == draft.length
        for page in LOOKED_AT:
            assert tx[page] == draft.page(page)


class KilledWriters(Volumes):
    """The same, and other processes that write and are killed: each costs a start of Python."""

    @rule(data=st.data(), count=st.integers(1, 8))
    def kill_a_process(self, data: st.DataObject, count: int) -> None:
        """Another one writes and is killed, wherever it then is, after some acknowledgements."""
        programs = [data.draw(CHANGES[self.size]) for _ in range(count)]
        waits_for = data.draw(st.integers(0, count))
        self._let_go()
        self._close()
        with Child("commit_given", self.path, self.durability, self.now) as child:
            assert child.line() == "open"
            for changes in programs:
                child.say(aurolog.pack_changes(changes).hex())
            acknowledged = [int(child.line()) for _ in range(waits_for)]
            child.kill_and_keep_hearing()
            acknowledged += [int(line) for line in child.lines()]
        wrote = self.wrote
        self._open()
        new = self._new_batches()
        if wrote:
            self._check_control(new[:1], ["clean-close"])
            del new[0]
        theirs = [batch for batch in new if batch.kind == "pages"]
        assert [batch.lsn for batch in theirs][: len(acknowledged)] == acknowledged
        assert len(theirs) <= count
        for batch, changes in zip(theirs, programs, strict=False):
            draft = self.model.begin()
            draft.apply(changes)
            self._check_batch(batch, draft)
            self.model.commit(draft, batch.lsn)
        if theirs:
            assert not self.db.recovery.clean
        self._check_control(new[len(theirs) :], [] if self.db.recovery.clean else ["branch-point"])


EXAMPLES = int(os.environ.get("AUROLOG_MODEL_EXAMPLES", "60"))
Volumes.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
KilledWriters.TestCase.settings = settings(max_examples=EXAMPLES // 6, stateful_step_count=30)
test_the_volume_is_a_dict_of_page_versions = Volumes.TestCase
test_so_it_is_when_writers_are_killed = pytest.mark.slow(KilledWriters.TestCase)
