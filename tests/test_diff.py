"""Differences between two moments, and the commit that a time means, beside a plain model.

The model is a tree of commits. Each knows the commit that it was built on, so the way from one
moment to another leads up to where their paths part and down again, whatever the tree looks like.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from seeded_bugs import ROOT, run
from support import (
    Change,
    Draft,
    State,
    copy,
    flip,
    frames,
    overwrite,
    perform,
    random_change,
    segments,
)

import aurolog
from aurolog._core import ffi, lib

MAKE = shutil.which("make")
PAGE_SIZE = 512
PAGES_MAX = (1 << 47) // PAGE_SIZE


@dataclass(frozen=True)
class Node:
    """A commit: what it made, what it touched, and the commit that it was built on."""

    state: State
    touched: frozenset[int]
    parent: Node | None
    depth: int


class Tree:
    """Every commit of a volume, by its LSN; under a rewind's LSN the commit that it went to."""

    def __init__(self) -> None:
        self.newest = Node(State(0, {}, 0, PAGE_SIZE), frozenset(), None, 0)
        self.nodes = {0: self.newest}

    def commit(self, db: aurolog.Volume, changes: list[Change]) -> None:
        """One transaction on the volume and on the newest commit."""
        draft = Draft(self.newest.state)
        draft.apply(changes)
        with db.transaction() as tx:
            for change in changes:
                perform(tx, change)
        if tx.lsn is None:
            return
        state = State(tx.lsn, draft.pages, draft.length, PAGE_SIZE)
        self.newest = Node(state, frozenset(draft.touched), self.newest, self.newest.depth + 1)
        self.nodes[tx.lsn] = self.newest

    def rewind(self, db: aurolog.Volume, lsn: int) -> None:
        """What comes next is built on that commit."""
        rewind = db.backtrack(lsn)
        self.newest = self.nodes[lsn]
        if rewind.lsn is not None:
            self.nodes[rewind.lsn] = self.newest


def touched_between(a: Node, b: Node) -> set[int]:
    """What the commits on the way from one to the other touched."""
    touched: set[int] = set()
    while a is not b:
        if a.depth < b.depth:
            a, b = b, a
        touched |= a.touched
        assert a.parent is not None
        a = a.parent
    return touched


def differing(a: State, b: State) -> set[int]:
    """Pages with other bytes in one than in the other."""
    return {page for page in {*a.pages, *b.pages} if a.page(page) != b.page(page)}


def check(db: aurolog.Volume, tree: Tree, a: int, b: int) -> None:
    """The difference both ways: nothing that differs is missing, nothing untouched is told."""
    for first, second in ((a, b), (b, a)):
        found = list(db.diff(first, second))
        assert found == sorted(set(found))
        assert differing(tree.nodes[a].state, tree.nodes[b].state) <= set(found)
        assert set(found) == touched_between(tree.nodes[a], tree.nodes[b])


def far(change: Change) -> Change:
    """The change with the upper half of its 40 pages at the end of page space."""
    kind, page, *rest = change
    return (kind, page if page < 20 else PAGES_MAX - 40 + page, *rest)


def grow(db: aurolog.Volume, tree: Tree, rng: random.Random, steps: int) -> None:
    """Commits, and now and then a rewind to any commit, also one that was left behind."""
    for _ in range(steps):
        if rng.random() < 0.1:
            tree.rewind(db, rng.choice(list(tree.nodes)))
        changes = [random_change(rng, PAGE_SIZE, 40) for _ in range(rng.randint(1, 6))]
        tree.commit(db, [far(change) for change in changes])


def check_some(db: aurolog.Volume, tree: Tree, rng: random.Random, pairs: int) -> None:
    """Any two moments, two that follow each other, and some moment and now."""
    lsns = sorted(tree.nodes)
    for _ in range(pairs):
        check(db, tree, *rng.choices(lsns, k=2))
    for near in rng.sample(range(1, len(lsns)), min(20, len(lsns) - 1)):
        check(db, tree, lsns[near - 1], lsns[near])
    old = rng.choice(lsns)
    wanted = touched_between(tree.nodes[old], tree.newest)
    assert set(db.diff(old)) == wanted
    if not db.read_only:
        assert db.backtrack(old, dry_run=True).pages == len(wanted)


# --- what is told ---------------------------------------------------------------------------------


def test_pages_that_commits_in_between_touched_are_told(path: Path, rng: random.Random) -> None:
    tree = Tree()
    for session in range(6):
        with aurolog.open(path, page_size=PAGE_SIZE, durability="os") as db:
            check_some(db, tree, rng, 20)  # all sealed
            grow(db, tree, rng, 60)
            if session % 2:  # a segment of its own, or more
                image = rng.randbytes(PAGE_SIZE)
                tree.commit(db, [("image", 100 + n, image) for n in range(3000)])
            grow(db, tree, rng, 10)
            check_some(db, tree, rng, 60)  # the last of them are not
    with aurolog.open(path, read_only=True) as db:
        check_some(db, tree, rng, 60)


def test_what_recovery_cut_is_on_no_way(path: Path, rng: random.Random, tmp_path: Path) -> None:
    tree = Tree()
    for crash in range(6):
        with aurolog.open(path, page_size=PAGE_SIZE, durability="os") as db:
            check_some(db, tree, rng, 20)
            grow(db, tree, rng, rng.randint(1, 40))
            db.sync()
            durable = tree.newest.state.lsn
            grow(db, tree, rng, rng.randint(1, 10))
            left = copy(path, tmp_path / f"crash {crash}")
        last = segments(left)[-1]
        torn = copy(left, tmp_path / f"torn {crash}")
        last_frame = frames(last)[-1]
        overwrite(torn / "log" / last.name, last_frame.offset, bytes(64))
        try:
            db, path = aurolog.open(torn), torn
        except aurolog.CorruptionError:  # it was synced in the background before it was copied
            db, path = aurolog.open(left), left
        with db:
            kept = db.recovery.last_lsn
            assert kept >= durable
            for lsn in [lsn for lsn in tree.nodes if lsn > kept]:
                del tree.nodes[lsn]
            tree.newest = tree.nodes[kept]
            check_some(db, tree, rng, 30)


def test_few_pages_far_apart_are_found_without_counting(path: Path) -> None:
    with aurolog.open(path, page_size=PAGE_SIZE) as db:
        with db.transaction() as tx:
            tx.write(3, 0, b"near")
            tx.write(PAGES_MAX - 1, 0, b"far")
        both = db.visible_lsn
        with db.transaction() as tx:
            tx.truncate(0)
        none = db.visible_lsn
        for a, b in ((both, none), (none, both), (0, both), (0, none)):
            assert list(db.diff(a, b)) == [3, PAGES_MAX - 1]
        assert list(db.diff(none)) == []
        with db.transaction() as tx:
            tx.truncate(0)  # nothing is there any more
        assert list(db.diff(none)) == []
    with aurolog.open(path) as db:
        assert list(db.diff(both)) == [3, PAGES_MAX - 1]


def test_a_page_that_was_changed_back_may_be_told(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(1, 0, b"a")
    before = db.visible_lsn
    for data in (b"b", b"a"):
        with db.transaction() as tx:
            tx.write(1, 0, data)
    assert db[1] == db.at(before)[1]
    assert list(db.diff(before)) == [1]
    assert list(db.diff(before, before)) == []


def test_the_difference_stays_as_it_was_asked_for(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.apply([(page, 0, b"x") for page in range(0, 5000, 2)])
    pages = db.diff(0)
    assert next(pages) == 0
    with db.transaction() as tx:
        tx.apply([(page, 0, b"y") for page in range(1, 5000, 2)])
        tx.truncate(10)
    assert list(pages) == list(range(2, 5000, 2))


def test_a_moment_that_is_not_there_is_refused(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"x")
    with pytest.raises(aurolog.LsnError):
        db.diff(0, db.visible_lsn + 1)
    with pytest.raises(aurolog.LsnError):
        db.diff(db.visible_lsn + 1)
    with pytest.raises(aurolog.InputError):
        db.diff(-1)


# --- what it costs --------------------------------------------------------------------------------


def test_time_depends_on_what_changed(path: Path) -> None:
    lsns = []
    for session in range(6):
        with aurolog.open(path, page_size=PAGE_SIZE, durability="os") as db:
            with db.transaction() as tx:
                tx.apply([("image", 2000 * session + n, os.urandom(512)) for n in range(2000)])
            lsns.append(tx.lsn or 0)
    with aurolog.open(path) as db:
        everything = _blocks_of(db, 0, lsns[-1])
        assert len(list(db.diff(0))) == 6 * 2000
        second = _blocks_of(db, lsns[0], lsns[1])
        assert second < everything / 3
        with db.transaction() as tx:
            tx.write(7, 0, b"x")
        assert _blocks_of(db, lsns[-1], tx.lsn or 0) <= 12, "only the end of what is sealed is read"
        assert list(db.diff(lsns[-1])) == [7]
        for n in range(2000):
            with db.transaction() as tx:
                tx.write(n, 0, b"y")
            lsns.append(tx.lsn or 0)
    with aurolog.open(path) as db:
        assert list(db.diff(lsns[-11], lsns[-1])) == list(range(1990, 2000))
        _blocks_of(db, lsns[-501], lsns[-491])  # what a segment is searched by is kept
        assert _blocks_of(db, lsns[-501], lsns[-491]) <= 6, "ten commits are read, not the index"
        assert _blocks_of(db, lsns[-501], lsns[-1]) <= 30


def _blocks_of(db: aurolog.Volume, a: int, b: int) -> int:
    before = db.stats().disk_reads
    assert list(db.diff(a, b))
    return db.stats().disk_reads - before


# --- what a batch changed -------------------------------------------------------------------------


def batches(
    db: aurolog.Volume, first: int = 1, capacity: int = 1 << 16
) -> Iterator[tuple[int, int, list[int]]]:
    """LSN, time and changed pages of every batch, with room for so many pages at first."""
    error, cell = ffi.new("aul_error *"), ffi.new("aul_cursor **")
    info, count = ffi.new("aul_batch_info *"), ffi.new("size_t *")
    assert lib.aul_cursor_open(db._store.handle, first, 1 << 63, cell, error) == lib.AUL_OK
    try:
        assert lib.aul_cursor_pages(cell[0], ffi.NULL, 0, count, error) == lib.AUL_END
        while lib.aul_cursor_batch(cell[0], info, error) == lib.AUL_OK:
            pages = ffi.new("uint64_t[]", capacity)
            assert lib.aul_cursor_pages(cell[0], pages, capacity, count, error) == lib.AUL_OK
            if count[0] > capacity:
                assert ffi.unpack(pages, capacity) == sorted(ffi.unpack(pages, capacity))
                pages = ffi.new("uint64_t[]", count[0])
                assert lib.aul_cursor_pages(cell[0], pages, count[0], count, error) == lib.AUL_OK
            record = ffi.new("aul_record_info *")
            assert lib.aul_cursor_record(cell[0], record, error) == lib.AUL_END
            yield info.lsn, info.time_ns, ffi.unpack(pages, count[0])
    finally:
        lib.aul_cursor_close(cell[0])


def check_batches(db: aurolog.Volume, tree: Tree) -> None:
    """Each commit changed what the model says, each control batch nothing."""
    wanted = {n.state.lsn: sorted(n.touched) for n in tree.nodes.values() if n.state.lsn}
    for capacity in (1 << 16, 3):
        found = {lsn: pages for lsn, _, pages in batches(db, capacity=capacity)}
        assert found == {**{lsn: [] for lsn in found}, **wanted}


def test_a_batch_tells_the_pages_that_it_changed(
    path: Path, rng: random.Random, tmp_path: Path
) -> None:
    tree = Tree()
    for session in range(5):
        with aurolog.open(path, page_size=PAGE_SIZE, durability="os") as db:
            grow(db, tree, rng, 50)
            image = rng.randbytes(PAGE_SIZE)
            tree.commit(db, [("image", 100 + n, image) for n in range(3000)])  # several segments
            grow(db, tree, rng, 50)
            left = copy(path, tmp_path / f"{session}")
            check_batches(db, tree)
        if session % 2:
            path = left  # an unclean end
    with aurolog.open(path, read_only=True) as db:
        check_batches(db, tree)


def test_records_of_a_batch_are_read_before_its_pages(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.apply([(page % 3000, 0, bytes(300)) for page in range(5000)])
    error, cell = ffi.new("aul_error *"), ffi.new("aul_cursor **")
    info, count = ffi.new("aul_batch_info *"), ffi.new("size_t *")
    record, pages = ffi.new("aul_record_info *"), ffi.new("uint64_t[]", 3000)
    assert lib.aul_cursor_open(db._store.handle, 1, 1 << 63, cell, error) == lib.AUL_OK
    assert lib.aul_cursor_batch(cell[0], info, error) == lib.AUL_OK
    for _ in range(4000):
        assert lib.aul_cursor_record(cell[0], record, error) == lib.AUL_OK
    assert lib.aul_cursor_pages(cell[0], pages, 3000, count, error) == lib.AUL_OK
    assert ffi.unpack(pages, count[0]) == list(range(3000))
    lib.aul_cursor_close(cell[0])


# --- which commit a time means --------------------------------------------------------------------


def test_a_time_means_the_last_commit_at_or_before_it(
    path: Path, rng: random.Random, tmp_path: Path
) -> None:
    clock = itertools.accumulate(rng.choices((0, 0, 1, 5), k=9999), initial=1_000)
    for session in range(5):
        with aurolog.open(path, durability="os", clock=clock.__next__) as db:
            check_times(db)
            for _ in range(400):
                with db.transaction() as tx:
                    tx.apply([(0, 0, rng.randbytes(3)), (1, 0, b"x")])
            with db.transaction() as tx:  # segments in which no batch ends
                tx.apply([("image", n, bytes(4096)) for n in range(40000 * (session == 2))])
            check_times(db)
            left = copy(path, tmp_path / f"{session}")
        if session % 2:
            path = left  # an unclean end: a branch point by the system's clock follows
        with aurolog.open(path) as db:
            check_times(db)


def check_times(db: aurolog.Volume) -> None:
    commits = [(lsn, time) for lsn, time, _ in batches(db)]
    first = commits[0] if commits else (0, 0)
    for time in {0, 1, 999, 1 << 63} | {t + more for _, t in commits[::7] for more in (0, 1)}:
        known = [commit for commit in commits if commit[1] <= time]
        assert db._store.lsn_at(time) == (known[-1] if known else (0, 0), first)


# --- any two paths --------------------------------------------------------------------------------


@pytest.mark.skipif(
    MAKE is None or not (ROOT / "Makefile").is_file(), reason="needs make and the source tree"
)
def test_any_two_paths_are_told_apart(seed: int) -> None:
    made = run(["make", "build/paths/paths"])
    assert made.returncode == 0, made.stdout + made.stderr
    done = run([str(ROOT / "build" / "paths" / "paths"), "--time", "4", "--seed", str(seed)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing left out" in done.stdout


# --- failing --------------------------------------------------------------------------------------


@pytest.fixture
def sealed(path: Path) -> Path:
    """A closed volume of one segment with several index blocks."""
    with aurolog.open(path, page_size=PAGE_SIZE) as db, db.transaction() as tx:
        tx.apply([(page, 0, b"x") for page in range(2000)])
    return path


def test_damage_to_an_index_block_is_told_with_its_place(sealed: Path) -> None:
    (segment,) = segments(sealed)
    whole = segment.read_bytes()
    end = frames(segment)[-1]
    start = (end.offset + 64 + end.payload_bytes + 7) // 8 * 8
    footer = (start + 4095) // 4096 * 4096
    flip(segment, footer + 5 * 4096 + 100)
    with aurolog.open(sealed) as db:
        found = []
        with pytest.raises(aurolog.CorruptionError, match="index block") as caught:
            for page in db.diff(0, 2000):
                found.append(page)  # noqa: PERF402 - what came before the damage counts
        assert caught.value.file == segment.name
        assert caught.value.offset == footer + 5 * 4096
        assert found == list(range(5 * 170)), "what comes before the damage is told"
        segment.write_bytes(whole)
        assert list(db.diff(0, 2000)) == list(range(2000))


def test_damage_to_the_log_is_told_with_its_place(path: Path) -> None:
    lsns = []
    with aurolog.open(path, page_size=PAGE_SIZE, durability="os") as db:
        for page in range(600):
            with db.transaction() as tx:
                tx.write(page, 0, b"x")
            lsns.append(tx.lsn or 0)
    (segment,) = segments(path)
    damaged = frames(segment)[300]
    flip(segment, damaged.offset + 70)
    with aurolog.open(path) as db:
        with pytest.raises(aurolog.CorruptionError, match="no valid frame") as caught:
            db.diff(lsns[298], lsns[302])
        assert (caught.value.file, caught.value.offset) == (segment.name, damaged.offset)
        assert list(db.diff(lsns[300], lsns[302])) == [301, 302]
        assert list(db.diff(0)) == list(range(600)), "the index is whole"


def test_a_closed_volume_tells_no_difference(path: Path) -> None:
    db = aurolog.open(path)
    with db.transaction() as tx:
        tx.apply([(page, 0, b"x") for page in range(5000)])
    pages, unasked = db.diff(0), db.diff(0)
    assert next(pages) == 0
    db.close()
    with pytest.raises(aurolog.ClosedError):
        list(pages)
    with pytest.raises(aurolog.ClosedError):
        next(unasked)
    with pytest.raises(aurolog.ClosedError):
        db.diff(0)
    del pages, unasked
    gc.collect()


def test_a_difference_outlives_its_views_and_goes_before_or_after_its_volume(path: Path) -> None:
    for order in ("diff", "volume"):
        db = aurolog.open(path)
        with db.transaction() as tx:
            tx.apply([(page, 0, b"x") for page in range(5000)])
        pages = db.diff(0)
        gc.collect()
        assert next(pages) == 0
        if order == "diff":
            del pages
            gc.collect()
            db.close()
        else:
            db.close()
            del db
            gc.collect()
            del pages
            gc.collect()
