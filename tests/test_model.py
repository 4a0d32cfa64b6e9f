"""Random programs of the public API beside the model: a dict of page versions.

Whatever a program does, every LSN of the history shows what the model had then: in the volume and
its views, beside a writer and after it, reopened, killed, rewound. The log is checked as it grows:
applied to the model's pages, its records make the next ones, and what it said once it says for
ever. Runs, names, moments and differences are those of `past.Past`.

What the model does not know: power cuts (`make crash`), threads, damage.

`make model TIME=600` runs longer. A failure prints the program, and how to repeat it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from past import Commit, Past, nanoseconds_until, reason_of, time_of
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
NAMES = ("a", "now", "before the end", "ü" * 127, "v1.0-rc1")
NAME = st.sampled_from(NAMES)
MICROSECOND = timedelta(microseconds=1)


def one_of(data: st.DataObject, items: Sequence[Any]) -> Any:
    """One of them: what is drawn does not depend on how many there are, which after a kill is not
    the same each time."""
    return items[data.draw(st.integers(0, 1 << 16)) % len(items)]


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


class Volumes(RuleBasedStateMachine):
    """A volume and its model, driven by the same steps."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="aurolog-model-"))
        self.path = self.directory / "0"
        self.copies = self.commits = self.now = 0
        self.durable = 0
        self.batches: list[aurolog.Batch] = []
        self.past = Past()
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

    @rule(
        data=st.data(),
        count=st.integers(1, 4),
        durability=DURABILITY,
        blocks=st.booleans(),
        reads=st.booleans(),
        how=st.sampled_from(["tuples", "calls"]),
    )
    def await_commits(
        self,
        data: st.DataObject,
        count: int,
        durability: Any,
        blocks: bool,
        reads: bool,
        how: str,
    ) -> None:
        """Of one event loop: durable in the order in which they were asked for."""
        programs = [data.draw(CHANGES[self.size]) for _ in range(count)]
        done: list[tuple[Draft, Any]] = []

        async def begin(changes: list[Change]) -> Any:
            draft = Draft(self._state_of(done[-1][0])) if done else self.model.begin()
            draft.apply(changes)
            tx = await self.db.transaction(durability=durability)
            if how == "tuples":
                tx.apply(changes)
            else:
                for change in changes:
                    perform(tx, change)
            done.append((draft, tx))
            return tx

        async def with_block(changes: list[Change]) -> int | None:
            async with await begin(changes) as tx:
                if reads:
                    draft = done[-1][0]
                    assert await tx.length() == draft.length
                    for page in range(PAGES):
                        assert await tx.read(page) == draft.page(page)
            return tx.lsn

        async def main() -> list[int | None]:
            if reads:  # who reads sees the commits before, so they are made one after the other
                return [await with_block(changes) for changes in programs]
            if blocks:
                return await asyncio.gather(*map(with_block, programs))
            return await asyncio.gather(*[(await begin(changes)).commit() for changes in programs])

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
        assert batch.pages == draft.length
        redone = self.model.begin()
        for record in batch.records:
            redo(redone, record)
        assert redone.length == draft.length
        for page in {*redone.pages, *draft.pages}:
            assert redone.page(page) == draft.page(page), f"the log makes another page {page}"
        self._add(batch, draft, touched=draft.touched)

    def _add(self, batch: aurolog.Batch, draft: Draft, **of_commit: Any) -> None:
        """A batch that was found right."""
        of_clock = max(self.now, 1, self.past.newest_nanoseconds)
        commit = {
            "nanoseconds": of_clock,
            "parent_lsn": self.past.newest_lsn,
            "touched": (),
            **of_commit,
        }
        commit["touched"] = frozenset(commit["touched"])
        assert batch.time == time_of(commit["nanoseconds"])
        self.past.add(Commit(batch.lsn, batch.first_lsn, epoch=batch.epoch, **commit))
        self.batches.append(batch)
        self.model.commit(draft, batch.lsn)

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
        if lsn > visible or self.past.is_cut(lsn):
            with pytest.raises(aurolog.LsnError) as refused:
                db.at(lsn)
            assert refused.value.lsn == lsn
            assert refused.value.visible_lsn == visible
            return None
        view = db.at(lsn)
        self._check_view(view, lsn)
        return view

    def _check_view(self, view: aurolog.View, lsn: int) -> None:
        commit = self.past.last(lsn)
        assert view.lsn == (commit.lsn if commit else 0)
        assert view.time == (time_of(commit.nanoseconds) if commit else None)
        assert view.page_size == self.size
        assert_same(view, self.model.at(lsn), also=LOOKED_AT)

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
        path = [0, *(commit.lsn for commit in reversed(self.past.path(self.past.newest_lsn)))]
        images = [(lsn, self.model.at(lsn).page(page)) for lsn in path]
        changed = {b[0] for a, b in itertools.pairwise(images) if a[1] != b[1]}
        about_it = [b.lsn for b in self.batches if b.lsn in path and touches(b, page)]
        assert changed <= set(found)
        assert set(found) <= set(about_it)
        assert found == sorted(set(found))
        times = {batch.lsn: batch.time for batch in self.batches}
        for version in self.db.versions(page):
            assert version.time == times[version.lsn]

    # --- going to another moment, and naming it

    def _moment(self, data: st.DataObject) -> tuple[aurolog.When, int | None]:
        """Something that says when, and the LSN that it means; `None` where it is to be refused."""
        lsn: int | None
        kind = data.draw(st.sampled_from(["LSN", "commit", "name", "time", "ago"]))
        if kind == "LSN":
            lsn = one_of(data, sorted({0, 1, self.past.newest_lsn + 1, *self._edges()}))
            refused = lsn > self.past.newest_lsn or self.past.is_cut(lsn)
            said = one_of(data, [lsn, str(lsn)])
            return said, None if refused else lsn
        if kind == "commit":
            lsn = one_of(data, [0, *(commit.lsn for commit in self.past.commits)])
            return lsn, lsn
        if kind == "name":
            name = data.draw(NAME)
            point = self.past.points(self.past.newest_lsn).get(name)
            return name, point.lsn if point else None
        ticks = st.sampled_from([-1, 0, 0, 1])
        times = [0, self.now, *(commit.nanoseconds for commit in self.past.commits)]
        time = time_of(one_of(data, times)) + data.draw(ticks) * MICROSECOND
        until = nanoseconds_until(time)
        when: aurolog.When = one_of(data, [time, time.isoformat()])
        if kind == "ago":
            when = time_of(self.now) - time
            until = max(self.now, 1) - when // MICROSECOND * 1000
        newest = max(self.now, 1, self.past.newest_nanoseconds)
        commit = self.past.last_by(until)
        ahead = isinstance(when, timedelta) and when < timedelta(0)
        if ahead or until // 1000 > newest // 1000 or commit is None:
            return when, None
        return when, commit.lsn

    @rule(data=st.data(), keep=st.booleans())
    def look_at_a_moment(self, data: st.DataObject, keep: bool) -> None:
        when, lsn = self._moment(data)
        if lsn is None:
            with pytest.raises(aurolog.MomentError):
                self.db.at(when)
            return
        view = self.db.at(when)
        self._check_view(view, lsn)
        if keep and len(self.views) < KEPT_MAX:
            self.views.append((view, self.model.at(lsn)))

    @rule(data=st.data(), to_now=st.booleans())
    def compare_two_moments(self, data: st.DataObject, to_now: bool) -> None:
        when, a = self._moment(data)
        if to_now:
            other, b = None, self.past.newest_lsn
        else:
            other, b = self._moment(data)
        if a is None or b is None:
            with pytest.raises(aurolog.MomentError):
                self.db.diff(when, other)
            return
        found = list(self.db.diff(when, other))
        before, after = self.model.at(a), self.model.at(b)
        pages = {*before.pages, *after.pages}
        assert {page for page in pages if before.page(page) != after.page(page)} <= set(found)
        assert found == self.past.touched(a, b)

    @rule(data=st.data(), note=NOTE, dry_run=st.booleans())
    def rewind(self, data: st.DataObject, note: str | None, dry_run: bool) -> None:
        when, lsn = self._moment(data)
        if lsn is None:
            with pytest.raises(aurolog.MomentError):
                self.db.backtrack(when, dry_run=dry_run)
            return
        if dry_run:
            found = self.db.backtrack(when, dry_run=True, note=note)
            assert found == self._rewind_to(lsn, None, pages=True)
            return
        wanted = self._rewind_to(lsn, self.past.newest_lsn + 1)
        assert self.db.backtrack(when, note=note) == wanted
        self._rewound(wanted, note or "")

    @rule(data=st.data(), turns=st.integers(2, 8))
    def go_forth_and_back(self, data: st.DataObject, turns: int) -> None:
        """Small commits, names, and rewinds to one of late, a branch point too: the runs go on from
        each other in all ways."""
        for turn in range(turns):
            what = data.draw(st.sampled_from(["commit", "rewind", "rewind", "name"]))
            byte, page = data.draw(st.integers(0, 255)), data.draw(st.integers(0, 2))
            late = [0, *(commit.lsn for commit in self.past.commits)][-6:]
            lsn = one_of(data, late)
            if what == "name":
                there = NAMES[turn % 2] in self.past.points(self.past.newest_lsn)
                (self.delete_a_name if there else self._name)(NAMES[turn % 2])
            elif what == "rewind":
                done = self._rewind_to(lsn, self.past.newest_lsn + 1)
                assert self.db.backtrack(lsn) == done
                self._rewound(done)
            else:
                draft = self.model.begin()
                draft.write(page, turn, bytes([byte]))
                with self.db.transaction() as tx:
                    tx.write(page, turn, bytes([byte]))
                self._committed([(draft, tx)])
            self._check_runs_and_names(self.db, self.past.newest_lsn)
            assert_same(self.db, self.model.newest)

    def _rewind_to(self, lsn: int, at: int | None, pages: bool = False) -> aurolog.Rewind:
        """What a rewind tells whose branch point has the LSN `at`."""
        before, target = self.past.newest_lsn, self.past.last(lsn)
        to_lsn = target.lsn if target else 0
        commits, regained = self.past.apart(before, to_lsn)
        return aurolog.Rewind(
            lsn=None if to_lsn == before else at,
            from_lsn=before,
            to_lsn=to_lsn,
            to_time=time_of(target.nanoseconds) if target else None,
            commits=commits,
            regained=regained,
            pages=len(self.past.touched(before, to_lsn)) if pages else None,
        )

    def _rewound(self, done: aurolog.Rewind, note: str = "") -> None:
        """The branch point is in the log, durable, and all is as it was back then."""
        new = self._new_batches()
        assert [batch.lsn for batch in new] == ([] if done.lsn is None else [done.lsn])
        if done.lsn is None:
            return
        assert self.db.durable_lsn == done.lsn
        self._add_rewind(new[0], done.to_lsn, note)
        self.commits += 1
        self.wrote = True

    def _add_rewind(self, batch: aurolog.Batch, to_lsn: int, note: str = "") -> None:
        assert batch.note == note
        how = {"parent_lsn": to_lsn, "begins": "rewind", "reason": reason_of(note)}
        self._add_control(batch, target=to_lsn, **how)

    @rule(
        data=st.data(),
        how=st.sampled_from(["collecting", "reading", "reading", "nothing"]),
        call=st.sampled_from(["commit", "read", "length", "roll back", "drop"]),
    )
    def rewind_below_a_transaction(self, data: st.DataObject, how: str, call: str) -> None:
        """It is in conflict at its next call of the engine, and nothing of it is committed; where
        nothing was rewound, it goes on."""
        when, lsn = self._moment(data)
        changes = data.draw(CHANGES[self.size])
        draft = self.model.begin()
        tx = self.db.transaction()
        if how == "reading":
            self._check(tx, draft)
        if how != "nothing":
            draft.apply(changes)
            self._give(tx, changes, "calls")
        if lsn is None:
            with pytest.raises(aurolog.MomentError):
                self.db.backtrack(when)
            done = None
        else:
            done = self._rewind_to(lsn, self.past.newest_lsn + 1)
            assert self.db.backtrack(when) == done
            self._rewound(done)
        if call == "roll back":
            tx.rollback()
            return
        if call == "drop":
            del tx
            return
        in_conflict = done is not None and done.lsn is not None
        if in_conflict and not (how == "nothing" and call == "commit"):
            calls: dict[str, Callable[[], object]] = {
                "commit": tx.commit,
                "read": lambda: tx[0],
                "length": lambda: len(tx),
            }
            with pytest.raises(aurolog.ConflictError):
                calls[call]()
            assert tx.outcome == "rolled back"
            return
        tx.commit()
        self._committed([(draft, tx)])

    @rule(data=st.data(), name=NAME, now=st.booleans())
    def name_a_moment(self, data: st.DataObject, name: str, now: bool) -> None:
        when, lsn = (None, self.past.newest_lsn) if now else self._moment(data)
        if lsn is None or name in self.past.points(self.past.newest_lsn):
            error = aurolog.MomentError if lsn is None else aurolog.RestorePointError
            with pytest.raises(error):
                self.db.restore_point(name, at=when)
            return
        wanted = self._point(name, lsn)
        assert self.db.restore_point(name, at=when) == wanted
        self._name_is_logged(wanted, self.past.make)

    def _name(self, name: str) -> None:
        """The newest commit, which is not named so."""
        wanted = self._point(name, self.past.newest_lsn)
        assert self.db.restore_point(name) == wanted
        self._name_is_logged(wanted, self.past.make)

    @rule(name=NAME)
    def delete_a_name(self, name: str) -> None:
        point = self.past.points(self.past.newest_lsn).get(name)
        if point is None:
            with pytest.raises(aurolog.RestorePointError):
                self.db.delete_restore_point(name)
            return
        self.db.delete_restore_point(name)
        self._name_is_logged(point, self.past.delete)

    def _point(self, name: str, lsn: int) -> aurolog.RestorePoint:
        """The one that is made now."""
        return self.past.point(name, lsn, max(self.now, 1, self.past.newest_nanoseconds))

    def _name_is_logged(
        self, point: aurolog.RestorePoint, what: Callable[[aurolog.RestorePoint, int], None]
    ) -> None:
        (batch,) = self._new_batches()
        assert self.db.durable_lsn == batch.lsn
        self._add_name(batch, point, what)
        self.commits += 1
        self.wrote = True

    def _add_name(
        self,
        batch: aurolog.Batch,
        point: aurolog.RestorePoint,
        what: Callable[[aurolog.RestorePoint, int], None],
    ) -> None:
        """It is made, or deleted."""
        self._add_control(batch)
        (record,) = batch.records
        kinds = {"make": "restore-point", "delete": "delete-restore-point"}
        assert record.kind == kinds[what.__name__]
        assert struct.unpack_from("<Q", record.data) == (point.lsn,)
        assert record.data[40:].rstrip(b"\0") == point.name.encode()
        what(point, batch.lsn)

    # --- reading the log

    @rule()
    def read_the_log(self) -> None:
        assert list(self.db.log()) == self.batches

    @rule(data=st.data())
    def read_a_part_of_the_log(self, data: st.DataObject) -> None:
        lsns = sorted({1, *self._edges()} - {0})
        first, last = one_of(data, lsns), one_of(data, lsns)
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
    @rule(choice=st.integers(0, KEPT_MAX - 1))
    def refresh_a_reader(self, choice: int) -> None:
        """It moves on, over rewinds and names too, to what is durable."""
        at = choice % len(self.readers)
        reader, before = self.readers[at]
        lsn = reader.refresh()
        assert before <= lsn == self.db.durable_lsn
        self.readers[at] = (reader, lsn)
        self._check_runs_and_names(reader, lsn)

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
            self._check_runs_and_names(reader, lsn)

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
        """Control batches that change nothing, and nothing else, have been logged since."""
        assert [record.kind for batch in new for record in batch.records] == kinds
        for batch in new:
            cut = batch.records[0].kind == "branch-point"
            skipped = batch.first_lsn - self.past.newest_lsn - 1
            assert skipped >= 2**32 if cut else skipped == 0
            how: dict[str, Any] = {"begins": "cut", "reason": "unclean end"} if cut else {}
            time = self.past.newest_nanoseconds
            if not self.past.commits:  # the system's: no commit has told that of the volume's clock
                (time,) = struct.unpack_from("<Q", batch.records[0].data, 24)
            self._add_control(batch, nanoseconds=time, **how)

    def _add_control(
        self, batch: aurolog.Batch, target: int | None = None, **of_commit: Any
    ) -> None:
        """A control batch, after which the volume is as at `target`, or as before."""
        assert batch.kind == "control"
        assert batch.lsn == batch.first_lsn
        draft = Draft(self.model.newest if target is None else self.model.at(target))
        assert batch.pages == draft.length
        self._add(batch, draft, **of_commit)
        commit = self.past.commits[-1]
        (record,) = batch.records
        if commit.begins:
            kind = {"rewind": 1, "cut": 2}[commit.begins]
            numbers = (commit.parent_lsn, batch.lsn, batch.epoch, commit.nanoseconds, kind)
            assert record.data == struct.pack("<QQQQI28s", *numbers, commit.reason.encode())

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
        self._check_runs_and_names(self.db, self.past.newest_lsn)
        for memory, wanted in self.pins:
            assert bytes(memory) == wanted
        if self.views:
            assert_same(*self.views[-1])

    def _check_runs_and_names(self, db: aurolog.Volume, lsn: int) -> None:
        assert db.history == self.past.history(lsn)
        assert list(db.restore_points.items()) == list(self.past.points(lsn).items())

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
        steps = self._steps(data, count)
        waits_for = data.draw(st.integers(0, count))
        self._let_go()
        self._close()
        with Child("do_given", self.path, self.durability, self.now) as child:
            assert child.line() == "open"
            for what, given in steps:
                text = aurolog.pack_changes(given).hex() if what == "commit" else given
                child.say(f"{what} {text}")
            acknowledged = [int(child.line()) for _ in range(waits_for)]
            child.kill_and_keep_hearing()
            acknowledged += [int(line) for line in child.lines()]
        wrote = self.wrote
        self._open()
        new = self._new_batches()
        if wrote:
            self._check_control(new[:1], ["clean-close"])
            del new[0]
        cut = [] if self.db.recovery.clean else [new.pop()]
        assert not new or cut
        done = self._done(steps, new)
        assert done[: len(acknowledged)] == acknowledged
        self._check_control(cut, ["branch-point"] * len(cut))

    def _steps(self, data: st.DataObject, count: int) -> list[tuple[str, Any]]:
        """What the other process has to do: each step possible, wherever the ones before lead."""
        there = list(self.past.points(self.past.newest_lsn))
        names = [name for name in NAMES if name not in there]
        lsns = [0, *(commit.lsn for commit in self.past.commits)]
        steps: list[tuple[str, Any]] = []
        for _ in range(count):
            what = data.draw(st.sampled_from(["commit", "commit", "rewind", "name", "delete"]))
            lsn, changes = one_of(data, lsns), data.draw(CHANGES[self.size])
            if what == "rewind":
                steps.append((what, lsn))
            elif what == "name" and names:
                steps.append((what, names.pop()))
            elif what == "delete" and there:
                steps.append((what, there.pop()))
            else:
                steps.append(("commit", changes))
        return steps

    def _done(self, steps: list[tuple[str, Any]], new: list[aurolog.Batch]) -> list[int]:
        """The first of the steps are in the log; the LSN of each."""
        done = []
        for what, given in steps:
            if what == "rewind" and self._rewind_to(given, 1).lsn is None:
                done.append(0)
                continue
            if len(done) - done.count(0) == len(new):
                return done
            batch = new[len(done) - done.count(0)]
            if what == "commit":
                draft = self.model.begin()
                draft.apply(given)
                self._check_batch(batch, draft)
            elif what == "rewind":
                self._add_rewind(batch, self._rewind_to(given, 1).to_lsn)
            elif what == "name":
                self._add_name(batch, self._point(given, self.past.newest_lsn), self.past.make)
            else:
                there = self.past.points(self.past.newest_lsn)
                self._add_name(batch, there[given], self.past.delete)
            done.append(batch.lsn)
        assert len(done) - done.count(0) == len(new)
        return done


EXAMPLES = int(os.environ.get("AUROLOG_MODEL_EXAMPLES", "60"))
Volumes.TestCase.settings = settings(max_examples=EXAMPLES, stateful_step_count=30)
KilledWriters.TestCase.settings = settings(max_examples=EXAMPLES // 6, stateful_step_count=30)
test_the_volume_is_a_dict_of_page_versions = Volumes.TestCase
test_so_it_is_when_writers_are_killed = pytest.mark.slow(KilledWriters.TestCase)
