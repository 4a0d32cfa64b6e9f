"""Random programs of the public API beside the model: a dict of page versions. What the model does
not know: time, durability, and the log's shape.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support import Change, Draft, Model, State, assert_same, copy, perform

import aurolog

PAGE_SIZE = 512
PAGES = 10


@st.composite
def a_change(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Change:
    """One change of one page; hypothesis shrinks towards small writes on page 0."""
    page = draw(st.integers(0, PAGES - 1))
    kind = draw(st.sampled_from(["write", "move", "fill", "image", "truncate"]))
    if kind == "write":
        data = draw(st.binary(min_size=1, max_size=24))
        if draw(st.booleans()):
            data = (data * PAGE_SIZE)[: draw(st.integers(1, PAGE_SIZE))]
        return ("write", page, draw(st.integers(0, PAGE_SIZE - len(data))), data)
    if kind == "move":
        length = draw(st.integers(1, PAGE_SIZE))
        place = st.integers(0, PAGE_SIZE - length)
        return ("move", page, draw(place), draw(place), length)
    if kind == "fill":
        length = draw(st.integers(1, PAGE_SIZE))
        offset = draw(st.integers(0, PAGE_SIZE - length))
        return ("fill", page, offset, length, draw(st.integers(0, 255)))
    if kind == "image":
        data = draw(st.binary(min_size=1, max_size=8))
        return ("image", page, (data * PAGE_SIZE)[:PAGE_SIZE])
    return ("truncate", draw(st.integers(0, PAGES)))


CHANGES = st.lists(a_change(), min_size=1, max_size=6)


class Volumes(RuleBasedStateMachine):
    """A volume and its model, driven by the same steps."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="aurolog-model-"))
        self.path = self.directory / "0"
        self.model = Model(PAGE_SIZE)
        self.copies = 0
        self.views: list[tuple[aurolog.View, State]] = []
        self.pins: list[tuple[memoryview, bytes]] = []

    @initialize(durability=st.sampled_from(["os", "sync"]))
    def make(self, durability: str) -> None:
        self.durability = durability
        self.db = aurolog.open(
            self.path, page_size=PAGE_SIZE, durability=durability, cache_bytes=16 * PAGE_SIZE
        )

    def teardown(self) -> None:
        for memory, _ in self.pins:
            memory.release()
        if hasattr(self, "db"):
            self.db.close()
        shutil.rmtree(self.directory)

    # --- writing

    @rule(changes=CHANGES, how=st.sampled_from(["calls", "tuples", "packed"]))
    def commit(self, changes: list[Change], how: str) -> None:
        draft = self.model.begin()
        draft.apply(changes)
        with self.db.transaction() as tx:
            self._give(tx, changes, how)
            assert len(tx) == draft.length
        self.model.commit(draft, tx.lsn)
        if tx.lsn is not None:
            assert self.db.visible_lsn == tx.lsn
        else:
            assert draft.pages == self.model.newest.pages
            assert draft.length == self.model.newest.length

    @rule(changes=st.lists(CHANGES, min_size=1, max_size=3))
    def commit_and_read_within(self, changes: list[list[Change]]) -> None:
        draft = self.model.begin()
        with self.db.transaction() as tx:
            for part in changes:
                draft.apply(part)
                self._give(tx, part, "calls")
                self._check(tx, draft)
        self.model.commit(draft, tx.lsn)

    @rule(changes=CHANGES, read=st.booleans())
    def roll_back(self, changes: list[Change], read: bool) -> None:
        draft = self.model.begin()
        draft.apply(changes)
        with pytest.raises(ZeroDivisionError), self.db.transaction() as tx:
            self._give(tx, changes, "calls")
            if read:
                self._check(tx, draft)
            raise ZeroDivisionError
        assert tx.lsn is None

    @rule(
        changes=CHANGES,
        bad=st.sampled_from([(-1, 0, b"x"), (0, PAGE_SIZE, b"x"), ("image", 0, b"")]),
    )
    def commit_around_a_refused_call(self, changes: list[Change], bad: Change) -> None:
        draft = self.model.begin()
        draft.apply(changes)
        with self.db.transaction() as tx:
            tx.apply(changes)
            with pytest.raises(aurolog.InputError):
                tx.apply([("fill", 0, 0, PAGE_SIZE, 9), ("truncate", 0), bad])
            self._check(tx, draft)
        self.model.commit(draft, tx.lsn)

    @rule()
    def sync(self) -> None:
        assert self.db.sync() == self.db.durable_lsn == self.db.visible_lsn

    # --- reading

    @rule(choice=st.integers(0, 1 << 30), step=st.integers(-1, 1), keep=st.booleans())
    def look_back(self, choice: int, step: int, keep: bool) -> None:
        lsn = max(0, self.model.states[choice % len(self.model.states)].lsn + step)
        try:
            view = self.db.at(lsn)
        except aurolog.LsnError:
            assert step, f"the commit {lsn} is refused"
            assert lsn > self.db.visible_lsn or self._is_cut(lsn)
            return
        state = self.model.at(lsn)
        assert view.lsn <= lsn
        assert_same(view, state, also=range(PAGES))
        if keep and len(self.views) < 6:
            self.views.append((view, state))
        else:
            view.close()

    def _is_cut(self, lsn: int) -> bool:
        """A range that recovery skipped: wide, and between two commits of the model or
        above the last.
        """
        above = [state.lsn for state in self.model.states if state.lsn >= lsn]
        return self.copies > 0 and (not above or above[0] - lsn > 1 << 20)

    @rule(page=st.integers(0, PAGES))
    def pin(self, page: int) -> None:
        if len(self.pins) < 5:
            self.pins.append((self.db.view_page(page), self.model.newest.page(page)))

    @precondition(lambda self: self.pins)
    @rule()
    def unpin(self) -> None:
        memory, wanted = self.pins.pop(0)
        assert bytes(memory) == wanted
        memory.release()

    @rule(page=st.integers(0, PAGES))
    def list_versions(self, page: int) -> None:
        found = [version.lsn for version in self.db.versions(page)]
        assert found == sorted(set(found))
        lsns = {state.lsn for state in self.model.states}
        assert set(found) <= lsns
        images = [(state.lsn, state.page(page)) for state in self.model.states]
        changed = {b[0] for a, b in itertools.pairwise(images) if a[1] != b[1]}
        assert changed - self.model.truncating <= set(found)

    @rule()
    def verify(self) -> None:
        report = self.db.verify()
        assert report.ok, report.problems

    # --- reopening

    def _let_go(self) -> None:
        for view, state in self.views:
            assert_same(view, state)
        self.views.clear()

    @rule(read_only_first=st.booleans())
    def reopen(self, read_only_first: bool) -> None:
        self._let_go()
        self.db.close()
        if read_only_first:
            with aurolog.open(self.path, read_only=True) as db:
                assert_same(db, self.model.newest, also=range(PAGES))
        self._open()
        assert self.db.recovery.clean

    @rule()
    def crash(self) -> None:
        self._let_go()
        self.copies += 1
        killed = copy(self.path, self.directory / str(self.copies))
        self.db.close()
        shutil.rmtree(self.path)
        self.path = killed
        self._open()

    def _open(self) -> None:
        self.db = aurolog.open(self.path, durability=self.durability, cache_bytes=16 * PAGE_SIZE)
        assert self.db.recovery.cut_bytes == 0
        assert self.db.page_size == PAGE_SIZE

    # --- always

    @invariant()
    def the_newest_state_is_right(self) -> None:
        if hasattr(self, "db"):
            assert_same(self.db, self.model.newest, also=range(PAGES))
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
        for page in range(PAGES + 1):
            assert tx[page] == draft.page(page)


Volumes.TestCase.settings = settings(max_examples=25, stateful_step_count=30)
test_the_volume_is_a_dict_of_page_versions = Volumes.TestCase
