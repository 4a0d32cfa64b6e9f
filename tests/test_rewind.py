"""Rewinding: to any moment, forth and back, and what it does to everything that is open."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import Child, Model, assert_same, copy, random_change, run, segments

import aurolog

PAGES = 12


def rewind(db: aurolog.Volume, model: Model, when: int, **how: Any) -> aurolog.Rewind:
    """On both; the model's newest state is then the one of back then."""
    before, target = model.newest, model.at(when)
    done = db.backtrack(when, **how)
    assert (done.from_lsn, done.to_lsn) == (before.lsn, target.lsn)
    if target is before:
        assert done.lsn is None
        return done
    assert done.lsn is not None
    draft = model.begin()
    draft.pages, draft.length = dict(target.pages), target.length
    model.commit(draft, done.lsn)
    return done


def commits(db: aurolog.Volume, model: Model, rng: random.Random, count: int) -> None:
    """Random transactions."""
    for _ in range(count):
        changes = [random_change(rng, db.page_size, PAGES) for _ in range(rng.randint(1, 4))]
        run(db, model, changes)


# --- what is read ---------------------------------------------------------------------------------


def test_the_volume_goes_on_from_there(db: aurolog.Volume, rng: random.Random) -> None:
    model = Model(db.page_size)
    commits(db, model, rng, 20)
    middle = model.states[10]
    done = rewind(db, model, middle.lsn)
    assert_same(db, middle, range(PAGES))
    assert done.to_time is not None
    assert db.at(middle.lsn).time == done.to_time
    commits(db, model, rng, 5)
    assert_same(db, model.newest, range(PAGES))
    for state in model.states:
        assert_same(db.at(state.lsn), state, range(PAGES))


def test_it_is_undone_by_another(db: aurolog.Volume, rng: random.Random) -> None:
    model = Model(db.page_size)
    commits(db, model, rng, 8)
    newest, middle = model.newest, model.states[3]
    for _ in range(5):
        left = rewind(db, model, middle.lsn)
        assert_same(db, middle, range(PAGES))
        assert rewind(db, model, newest.lsn).to_lsn == newest.lsn
        assert_same(db, newest, range(PAGES))
    assert left.from_lsn > newest.lsn


def test_to_the_empty_volume_and_back(db: aurolog.Volume, rng: random.Random) -> None:
    model = Model(db.page_size)
    commits(db, model, rng, 3)
    done = rewind(db, model, 0)
    assert len(db) == 0
    assert done.to_time is None
    assert db[0] == bytes(db.page_size)
    rewind(db, model, done.from_lsn)
    assert_same(db, model.newest, range(PAGES))


def test_the_newest_commit_needs_no_branch_point(db: aurolog.Volume, rng: random.Random) -> None:
    model = Model(db.page_size)
    commits(db, model, rng, 3)
    before = db.stats().commits
    done = db.backtrack(model.newest.lsn)
    assert done.lsn is None
    assert (done.commits, done.regained) == (0, 0)
    assert db.stats().commits == before
    assert len(db.history) == 1


@pytest.mark.parametrize("turn", range(4))
def test_random_rewinds_beside_a_model(path: Path, rng: random.Random, turn: int) -> None:
    """Commits, rewinds, sessions, crashes; a small cache, and views that stay open."""
    model = Model(4096)
    db = aurolog.open(path, durability="os", cache_bytes=16 * 4096)
    views: list[tuple[aurolog.View, int]] = []
    other = path
    try:
        for step in range(120):
            match rng.choices(
                ("commit", "bulk", "rewind", "view", "reopen", "crash"), (60, 4, 25, 10, 3, 2)
            )[0]:
                case "commit":
                    commits(db, model, rng, rng.randint(1, 3))
                case "bulk":
                    run(db, model, [("image", p, rng.randbytes(4096)) for p in range(300)])
                case "rewind":
                    cut = [run.lsn for run in db.history if run.kind == "cut"]
                    lsn = rng.choice(model.states[-30:]).lsn
                    if not any(
                        run.parent_lsn < lsn < run.lsn
                        for run in db.history
                        if run.kind == "cut" and run.parent_lsn is not None
                    ):
                        rewind(db, model, lsn)
                    assert cut == sorted(cut)
                case "view":
                    state = rng.choice(model.states)
                    views.append((db.at(state.lsn), model.states.index(state)))
                case "reopen":
                    views.clear()
                    lsn = db.visible_lsn
                    db.close()
                    db = aurolog.open(other, durability="os", cache_bytes=16 * 4096)
                    closed = model.begin()
                    model.commit(closed, db.visible_lsn if db.visible_lsn > lsn else None)
                case "crash":
                    views.clear()
                    db.sync()
                    left = other.with_name(f"left-{turn}-{step}")
                    copy(other, left)
                    db.close()
                    other = left
                    db = aurolog.open(other, durability="os", cache_bytes=16 * 4096)
                    if not db.recovery.clean:
                        model.commit(model.begin(), db.visible_lsn)
            assert_same(db, model.newest, range(PAGES))
            for view, index in views[-4:]:
                assert_same(view, model.states[index], range(PAGES))
        for state in rng.sample(model.states, min(len(model.states), 40)):
            assert_same(db.at(state.lsn), state, range(PAGES))
        assert db.verify().ok
        history = db.history
        assert [r.lsn for r in history] == sorted(r.lsn for r in history)
        assert history[-1].current
    finally:
        db.close()


def test_a_cached_page_of_the_run_left_behind_is_not_served(db: aurolog.Volume) -> None:
    """Read everywhere before and after: plain, in many, pinned, through views, in transactions."""
    lsns = []
    for turn in range(4):
        with db.transaction() as tx:
            tx.write(3, 0, b"%d" % turn)
        lsns.append(tx.lsn or 0)
        assert db[3][:1] == b"%d" % turn
    views = [db.at(lsn) for lsn in lsns]
    for turn in (1, 3, 0, 2, 3, 1):
        pinned = db.view_page(3)
        was = bytes(pinned)
        db.backtrack(lsns[turn])
        assert db[3][:1] == b"%d" % turn
        assert bytes(db.read_many([3]))[:1] == b"%d" % turn
        assert bytes(db.view_page(3))[:1] == b"%d" % turn
        assert bytes(pinned) == was
        assert [view[3][:1] for view in views] == [b"0", b"1", b"2", b"3"]
        with db.transaction() as tx:
            assert tx[3][:1] == b"%d" % turn
            tx.write(4, 0, b"x")
        assert db.versions(3)[-1].lsn == lsns[turn]


def test_cached_reads_cost_the_same_after_many_rewinds(db: aurolog.Volume) -> None:
    """A page that did not change is asked for once after a rewind, and then found again."""
    with db.transaction() as tx:
        tx.write(0, 0, b"a")
        tx.write(1, 0, b"b")
    base = tx.lsn or 0
    for _ in range(200):
        with db.transaction() as tx:
            tx.write(1, 0, b"c")
        db.backtrack(base)
        assert db[0][:1] == b"a"
        assert db[1][:1] == b"b"
    misses, hits = db.stats().cache_misses, db.stats().cache_hits
    for _ in range(50):
        assert db[0][:1] == b"a"
    assert db.stats().cache_misses == misses
    assert db.stats().cache_hits == hits + 50


@pytest.mark.slow
def test_ten_thousand_rewinds_to_one_point(path: Path) -> None:
    with aurolog.open(path, durability="os") as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"base")
        base = tx.lsn or 0
        for number in range(10_000):
            with db.transaction() as tx:
                tx.write(0, 0, b"%d" % number)
            db.backtrack(base)
        assert db[0][:4] == b"base"
        assert len(db.history) == 10_001
        last = db.history[-2]
        assert db.at(last.last_lsn)[0][:4] == b"9999"
    with aurolog.open(path) as db:
        assert db[0][:4] == b"base"
        assert len(db.history) == 10_001
        assert db.verify().ok


# --- what is open ---------------------------------------------------------------------------------


def test_an_open_transaction_is_in_conflict(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"base")
    base = tx.lsn or 0
    with db.transaction() as tx:
        tx.write(0, 0, b"more")
    collecting = db.transaction()
    collecting.write(1, 0, b"late")
    db.backtrack(base)
    with pytest.raises(aurolog.ConflictError, match="begin again"):
        collecting.commit()
    assert collecting.outcome == "rolled back"
    assert db[1][:4] == bytes(4)
    with db.transaction() as tx:
        tx.write(1, 0, b"next")
    assert db[1][:4] == b"next"


@pytest.mark.parametrize("call", ["read", "put", "apply", "len", "commit"])
def test_one_that_has_the_writers_place_loses_it(db: aurolog.Volume, call: str) -> None:
    calls = {
        "read": lambda tx: tx[0],
        "put": lambda tx: tx.__setitem__(0, bytes(db.page_size)),
        "apply": lambda tx: tx.apply([("image", n, bytes(db.page_size)) for n in range(40)]),
        "len": len,
        "commit": lambda tx: tx.commit(),
    }
    with db.transaction() as tx:
        tx.write(0, 0, b"base")
    base = tx.lsn or 0
    with db.transaction() as tx:
        tx.write(0, 0, b"more")
    waiting = db.transaction()
    waiting.write(2, 0, b"never")
    assert waiting[0][:4] == b"more"
    db.backtrack(base)

    def commit() -> None:
        with db.transaction() as tx:
            assert tx[0][:4] == b"base"
            tx.write(1, 0, b"mine")

    with ThreadPoolExecutor(1) as pool:
        pool.submit(commit).result()
    with pytest.raises(aurolog.ConflictError):
        calls[call](waiting)
    assert waiting.outcome == "rolled back"
    assert db[1][:4] == b"mine"
    assert db[2][:5] == bytes(5)


def test_one_that_conflicts_can_be_rolled_back_or_dropped(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"base")
    tx = db.transaction()
    assert tx[0][:4] == b"base"
    db.backtrack(0)
    tx.rollback()
    tx = db.transaction()
    assert tx[0][:4] == bytes(4)
    db.backtrack(1)
    del tx
    with db.transaction() as tx:
        assert tx[0][:4] == b"base"


@pytest.mark.parametrize("when", [2, 9, "nobody"])
def test_one_goes_on_where_nothing_was_rewound(db: aurolog.Volume, when: aurolog.When) -> None:
    """To where the volume is, and what is refused."""
    for data in (b"one", b"two"):
        with db.transaction() as tx:
            tx.write(0, 0, data)
    collecting = db.transaction()
    collecting.write(1, 0, b"late")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(backtrack_in_vain, db, when).result()
    assert collecting.commit() == 3
    with db.transaction() as tx:
        tx.write(2, 0, b"mine")
        assert tx[1][:4] == b"late"
        backtrack_in_vain(db, when if when != 2 else 3)
        assert tx[2][:4] == b"mine"
        tx.write(2, 4, b"too")
    assert db[2][:7] == b"minetoo"


def backtrack_in_vain(db: aurolog.Volume, when: aurolog.When) -> None:
    """To where the volume is, or nowhere."""
    if when == db.visible_lsn:
        assert db.backtrack(when).lsn is None
    else:
        with pytest.raises(aurolog.MomentError):
            db.backtrack(when)


@pytest.mark.threads
def test_transactions_beside_rewinds_in_vain(db: aurolog.Volume) -> None:
    """None of them is in conflict, wherever its calls meet."""
    with db.transaction() as tx:
        tx.write(0, 0, bytes(8))
    stop = threading.Event()

    def rewind_in_vain() -> None:
        while not stop.is_set():
            with pytest.raises(aurolog.LsnError):
                db.backtrack(2**40)

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(rewind_in_vain) for _ in range(2)]
        for number in range(1, 300):
            with db.transaction() as tx:
                for _ in range(5):
                    assert int.from_bytes(tx[0][:8], "little") == number - 1
                tx.write(0, 0, number.to_bytes(8, "little"))
        stop.set()
        for future in done:
            future.result()


def test_rewinding_inside_of_ones_own_transaction(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"base")
    with pytest.raises(aurolog.ConflictError), db.transaction() as tx:
        tx.write(0, 0, b"lost")
        assert tx[0][:4] == b"lost"
        db.backtrack(0)
    assert db[0][:4] == bytes(4)


def test_beside_threads_that_commit(path: Path) -> None:  # noqa: C901 - one program
    """Whoever was told of a commit finds it, on the path or left behind; nobody reads pages of two
    runs at once."""
    stop = threading.Event()
    told: list[tuple[int, int]] = []
    problems: list[object] = []

    def commit(mine: int) -> None:
        for number in itertools.count(1):
            if stop.is_set():
                return
            try:
                with db.transaction() as tx:
                    for page in range(3):
                        tx.write(3 * mine + page, 0, number.to_bytes(8, "little"))
                told.append((tx.lsn or 0, mine << 32 | number))
            except aurolog.ConflictError:
                continue

    def look() -> None:
        while not stop.is_set():
            whole = bytes(db.read_many(range(6)))
            for mine in range(2):
                seen = {whole[n * 4096 :][:8] for n in range(3 * mine, 3 * mine + 3)}
                if len(seen) != 1:
                    problems.append(seen)

    with aurolog.open(path, durability="os") as db:
        threads = [threading.Thread(target=commit, args=(mine,)) for mine in range(2)]
        threads.append(threading.Thread(target=look))
        for thread in threads:
            thread.start()
        rng = random.Random(1)
        for _ in range(60):
            db.backtrack(rng.randint(0, db.visible_lsn))
        stop.set()
        for thread in threads:
            thread.join()
        assert not problems
        for lsn, what in told[:: max(len(told) // 50, 1)]:
            mine, number = what >> 32, what & 0xFFFFFFFF
            with db.at(lsn) as view:
                assert view.lsn == lsn
                assert view[3 * mine][:8] == number.to_bytes(8, "little")
        assert db.verify().ok


def test_a_view_of_what_is_left_behind_reads_on(db: aurolog.Volume, rng: random.Random) -> None:
    model = Model(db.page_size)
    commits(db, model, rng, 10)
    view, state = db.at(model.newest.lsn), model.newest
    rewind(db, model, model.states[2].lsn)
    commits(db, model, rng, 10)
    assert_same(view, state, range(PAGES))


# --- what is told ---------------------------------------------------------------------------------


def test_what_a_rewind_tells(db: aurolog.Volume) -> None:
    lsns = []
    for number in range(10):
        with db.transaction() as tx:
            tx.write(number % 4, 0, b"%d" % number)
        lsns.append(tx.lsn or 0)
    dry = db.backtrack(lsns[6], dry_run=True)
    assert (dry.lsn, dry.from_lsn, dry.to_lsn) == (None, lsns[9], lsns[6])
    assert (dry.commits, dry.regained, dry.pages) == (3, 0, 3)
    assert db[1][:1] == b"9", "a dry run changes nothing"
    done = db.backtrack(lsns[6])
    assert (done.commits, done.regained, done.pages) == (3, 0, None)
    back = db.backtrack(lsns[8], dry_run=True)
    assert (back.commits, back.regained, back.pages) == (1, 2, 2)
    assert db.backtrack(lsns[8]).regained == 2


def test_a_branch_point_that_the_next_one_goes_on_from_counts(db: aurolog.Volume) -> None:
    """Neighbouring holes of a path swallow it: it changes no page, but is a commit."""

    def commit() -> None:
        with db.transaction() as tx:
            tx.fill(0, 0, 8, 1)

    for _ in range(4):
        commit()
    first = db.backtrack(3)
    assert first.lsn is not None
    commit()
    second = db.backtrack(first.lsn)
    assert second.lsn is not None
    third = db.backtrack(first.lsn, dry_run=True)
    assert (third.commits, third.regained) == (1, 0)
    again = db.backtrack(first.lsn)
    assert (again.lsn, again.from_lsn, again.to_lsn) == (second.lsn + 1, second.lsn, first.lsn)
    assert (again.commits, again.regained) == (1, 0)
    back = db.backtrack(3)
    assert (back.commits, back.regained) == (2, 0)
    again = db.backtrack(second.lsn)
    assert (again.commits, again.regained) == (1, 2)


def test_history_tells_the_runs(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"one")
        first = tx.lsn or 0
        with db.transaction() as tx:
            tx.write(0, 0, b"two")
        second = tx.lsn or 0
        done = db.backtrack(first, note="the second one was wrong, and this note is long")
        runs = db.history
        assert [(r.lsn, r.kind, r.parent_lsn, r.last_lsn) for r in runs] == [
            (0, "first", None, second),
            (done.lsn, "rewind", first, done.lsn),
        ]
        assert [r.commits for r in runs] == [2, 1]
        assert [r.current for r in runs] == [True, True]
        assert runs[1].reason == "the second one was wrong, an"
        assert runs[1].time is not None
        assert runs[1].epoch == db.epoch
        db.backtrack(second)
        assert [r.current for r in db.history] == [True, False, True]
        notes = [(batch.kind, batch.note) for batch in db.log()]
    assert ("control", "the second one was wrong, and this note is long") in notes


def test_thousands_of_runs_and_names_are_listed_whole(path: Path) -> None:
    """In a process that has not asked for memory before, where what is given back is gone."""
    made = {}
    with aurolog.open(path, durability="os") as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"x")
        for number in range(3000):
            made[f"point {number}"] = db.backtrack(number % 2).lsn
            db.restore_point(f"point {number}")
    program = (
        "import aurolog, json, sys\n"
        "with aurolog.open(sys.argv[1], read_only=True) as db:\n"
        "    runs = [(run.lsn, run.parent_lsn) for run in db.history]\n"
        "    points = {point.name: point.lsn for point in db.restore_points.values()}\n"
        "print(json.dumps([runs, points]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=True)
    runs, points = json.loads(ran.stdout)
    assert runs == [[0, None], *([lsn, i % 2] for i, lsn in enumerate(made.values()))]
    assert points == made


def test_a_note_is_cut_between_characters(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"one")
    db.backtrack(0, note="ä" * 20)
    assert db.history[-1].reason == "ä" * 14
    db.backtrack(1, note="abc" + "€" * 20)
    assert db.history[-1].reason == "abc" + "€" * 8


# --- moments --------------------------------------------------------------------------------------


def timed(path: Path, times: list[int]) -> aurolog.Volume:
    """A volume with a commit at each of these times, page 0 counting them; the clock then stays."""
    now = [times[0]]
    db = aurolog.open(path, durability="os", clock=lambda: now[-1])
    for number, time in enumerate(times):
        now.append(time)
        with db.transaction() as tx:
            tx.write(0, 0, b"%d" % number)
    return db


SECOND = 10**9


def test_each_way_to_say_when(path: Path) -> None:
    with timed(path, [SECOND, 2 * SECOND, 3 * SECOND, 10 * SECOND]) as db:
        moment = datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)
        for when in (
            2,
            "2",
            moment,
            moment + timedelta(milliseconds=999),
            "1970-01-01T00:00:02Z",
            "1970-01-01T02:00:02.5+02:00",
            timedelta(seconds=8),
        ):
            view = db.at(when)
            assert (view.lsn, view.time) == (2, moment), when
            assert view[0][:1] == b"1"
        db.restore_point("two", at=moment)
        assert db.at("two").lsn == 2
        assert db.backtrack("two").to_lsn == 2
        assert db[0][:1] == b"1"


def test_a_version_is_reached_by_its_own_time(path: Path) -> None:
    """Commits have nanoseconds, datetimes microseconds."""
    with timed(path, [SECOND + 1, SECOND + 400, SECOND + 1700, SECOND + 2001]) as db:
        reached = [db.at(version.time).lsn for version in db.versions(0)]
        assert reached == [2, 2, 3, 4]


def test_a_time_means_what_a_reader_saw(path: Path) -> None:
    """In whatever run: a rewind does not change what was there at noon."""
    now = [0]
    with aurolog.open(path, clock=lambda: now[0]) as db:
        for number in range(1, 6):
            now[0] = number * SECOND
            with db.transaction() as tx:
                tx.write(0, 0, b"%d" % number)
        now[0] = 6 * SECOND
        db.backtrack(2)
        now[0] = 7 * SECOND
        with db.transaction() as tx:
            tx.write(0, 0, b"7")
        seen = {n: db.at(datetime.fromtimestamp(n, UTC))[0][:1] for n in range(1, 8)}
        assert seen == {1: b"1", 2: b"2", 3: b"3", 4: b"4", 5: b"5", 6: b"2", 7: b"7"}


@pytest.mark.parametrize(
    ("when", "says"),
    [
        (datetime(2001, 1, 1), "time zone"),  # noqa: DTZ001 - that is the point
        ("2001-01-01T00:00:00", "time zone"),
        ("2001-01-01", "no whole time|time zone"),
        (datetime(2999, 1, 1, tzinfo=UTC), "future"),
        (timedelta(seconds=-1), "future"),
        (datetime(1969, 1, 1, tzinfo=UTC), "before the first commit"),
        (timedelta(days=40000), "before the first commit"),
        ("nobody", "no restore point 'nobody'"),
        ("1.5", "no LSN"),
        ("", "empty"),
        (99, "above the visible LSN"),
    ],
)
def test_what_is_no_moment_is_refused(path: Path, when: Any, says: str) -> None:
    with timed(path, [SECOND, 2 * SECOND]) as db:
        for call in (db.at, db.backtrack, lambda w: db.restore_point("x", at=w)):
            with pytest.raises(aurolog.MomentError, match=says):
                call(when)
        assert db.backtrack(2).lsn is None, "nothing was changed"
        assert not db.restore_points


def test_a_cut_before_the_first_commit_has_a_time(path: Path, tmp_path: Path) -> None:
    """A session that has begun and has no commit: its first one did not get its record."""
    with aurolog.open(path, durability="os") as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"torn")
        copy(path, tmp_path / "killed")
    for segment in segments(tmp_path / "killed"):
        os.truncate(segment, 4096 + 64)
    lock = tmp_path / "killed" / "LOCK"
    lock.unlink()
    with aurolog.open(tmp_path / "killed") as db:
        cut = db.history[-1]
        assert cut.kind == "cut"
        assert cut.time == cut.last_time == db.at(cut.lsn).time


def test_what_recovery_cut_is_no_moment(path: Path) -> None:
    with Child("write_program", path, 1, "os") as child:
        while child.line().split()[:2] != ["a", "5"]:
            pass
    with aurolog.open(path) as db:
        cut = db.history[-1]
        assert cut.kind == "cut"
        assert cut.parent_lsn is not None
        with pytest.raises(aurolog.LsnError, match="recovery cut"):
            db.backtrack(cut.parent_lsn + 1)
        db.backtrack(cut.parent_lsn)
        db.backtrack(0)
        assert db.verify().ok


def test_before_anything_was_committed(path: Path) -> None:
    with aurolog.open(path) as db:
        assert db.at(0).lsn == 0
        with pytest.raises(aurolog.MomentError, match="before the first commit"):
            db.at(timedelta(0))
        assert db.backtrack(0).lsn is None


# --- names ----------------------------------------------------------------------------------------


def test_names_outlive_rewinds_both_ways(path: Path) -> None:
    with aurolog.open(path) as db:
        for number in range(4):
            with db.transaction() as tx:
                tx.write(0, 0, b"%d" % number)
            db.restore_point(f"after {number}")
        db.delete_restore_point("after 1")
        left = db.backtrack("after 0").from_lsn
        assert list(db.restore_points) == ["after 0", "after 2", "after 3"], "no rewind removes one"
        db.backtrack("after 3")
        assert db[0][:1] == b"3"
        assert "after 1" not in db.restore_points, "or undoes a deletion"
        db.restore_point("after 1", at=left)
        assert db.restore_points["after 1"].lsn == left
    for _ in range(2):
        with aurolog.open(path) as db:
            assert [*db.restore_points] == ["after 0", "after 2", "after 3", "after 1"]
            assert db.at("after 2")[0][:1] == b"2"
            with db.transaction() as tx:
                tx.write(1, 0, b"more")


def test_names_and_runs_survive_a_kill(path: Path, tmp_path: Path) -> None:
    with aurolog.open(path) as db:
        for number in range(30):
            with db.transaction() as tx:
                tx.write(0, 0, b"%d" % number)
            if number % 3 == 0:
                db.restore_point(f"at {number}")
            if number % 6 == 0 and number:
                db.delete_restore_point(f"at {number - 3}")
            if number % 5 == 4:
                db.backtrack(db.at(db.visible_lsn - 2).lsn)
            if number % 10 == 9:
                with db.transaction() as tx:
                    tx.apply([("image", p, bytes([number + 1]) * 4096) for p in range(300)])
        points, runs, page = db.restore_points, db.history, db[0]
        left = tmp_path / "left"
        copy(path, left)
        with aurolog.open(left, read_only=True) as reader:
            assert reader.restore_points == points
            assert reader.history == runs
            assert reader[0] == page
        with aurolog.open(left) as again:
            assert again.restore_points == points
            assert again.history[:-1] == runs
            assert again.history[-1].kind == "cut"
            assert again[0] == page
            assert again.verify().ok


@pytest.mark.parametrize("name", ["", " x", "x\n", "17", "1e5", "2001-01-01", "12:30", "n" * 256])
def test_what_is_no_name_is_refused(db: aurolog.Volume, name: str) -> None:
    with pytest.raises(aurolog.RestorePointError):
        db.restore_point(name)


def test_a_name_is_taken_once(db: aurolog.Volume) -> None:
    point = db.restore_point("one")
    assert (point.lsn, point.time) == (0, None)
    with pytest.raises(aurolog.RestorePointError, match="already"):
        db.restore_point("one")
    db.delete_restore_point("one")
    with pytest.raises(aurolog.RestorePointError, match="no restore point one"):
        db.delete_restore_point("one")
    db.restore_point("one")
    assert [*db.restore_points] == ["one"]


def test_what_is_refused_of_a_name_writes_nothing(path: Path) -> None:
    """No epoch is raised for it: the volume stays closed."""
    aurolog.open(path).close()
    before = (path / "MANIFEST").read_bytes()
    with aurolog.open(path) as db, pytest.raises(aurolog.RestorePointError, match="no restore"):
        db.delete_restore_point("one")
    assert (path / "MANIFEST").read_bytes() == before
    with aurolog.open(path) as db:
        assert db.recovery.clean
        assert list(db.log()) == []


def test_the_longest_name(path: Path) -> None:
    longest = "€" * 85
    with aurolog.open(path) as db:
        db.restore_point(longest)
    with aurolog.open(path) as db:
        assert [*db.restore_points] == [longest]


def test_a_reader_shows_no_name_that_is_not_durable(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"one")
        with aurolog.open(path, read_only=True) as reader:
            db.restore_point("later")
            db.backtrack(0)
            assert reader.restore_points == {}
            assert len(reader.history) == 1
            assert reader[0][:3] == b"one"
            with pytest.raises(aurolog.ReadOnlyError):
                reader.backtrack(0)
            with pytest.raises(aurolog.ReadOnlyError):
                reader.restore_point("mine")
            assert reader.backtrack(0, dry_run=True).commits == 1
        with aurolog.open(path, read_only=True) as reader:
            assert [*reader.restore_points] == ["later"]
            assert len(reader.history) == 2
            assert len(reader) == 0


def test_sealed_segments_are_not_asked_for_names(path: Path) -> None:
    """Many segments: what they hold of branch points and names is in the manifest."""
    with aurolog.open(path, durability="os") as db:
        for number in range(6):
            db.restore_point(f"p{number}")
            with db.transaction() as tx:
                tx.apply([("image", p, bytes([number + 1]) * 4096) for p in range(2000)])
            if number % 2:
                db.backtrack(f"p{number}")
        points, runs = db.restore_points, db.history
    assert len(segments(path)) > 3
    with aurolog.open(path) as db:
        assert db.restore_points == points
        assert [r.lsn for r in db.history] == [r.lsn for r in runs]


def test_a_pinned_page_is_pinned_for_another_run_too(path: Path) -> None:
    """Its bytes are the same, and the cache has no room for more."""
    with aurolog.open(path, cache_bytes=16 * 4096) as db:
        with db.transaction() as tx:
            tx.apply([(page, 0, b"%02d" % page) for page in range(16)])
        base = tx.lsn or 0
        with db.transaction() as tx:
            tx.write(100, 0, b"later")
        pins = [db.view_page(page) for page in range(16)]
        with db.at(base) as view:
            db.backtrack(base)
            again = [(db.view_page(page), view.view_page(page)) for page in range(16)]
            assert all(
                bytes(pin) == bytes(a) == bytes(b) for pin, (a, b) in zip(pins, again, strict=True)
            )
            with pytest.raises(aurolog.CacheFullError):
                db.view_page(100)


@pytest.mark.parametrize("lsn", [-1, 1 << 64, "9" * 23, 2**64 - 1])
def test_an_lsn_that_none_can_be_is_refused_everywhere(db: aurolog.Volume, lsn: Any) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"one")
    calls: list[Any] = [
        db.at,
        db.backtrack,
        lambda when: db.backtrack(when, dry_run=True),
        lambda when: db.restore_point("name", at=when),
        db.diff,
        db.follow,
    ]
    for call in calls:
        with pytest.raises(aurolog.InputError, match="LSN"):
            call(lsn)
    assert not db.restore_points


def test_the_log_takes_moments(db: aurolog.Volume) -> None:
    for number in range(4):
        with db.transaction() as tx:
            tx.write(0, 0, b"%d" % number)
        if number == 1:
            db.restore_point("one")
    lsns = [batch.lsn for batch in db.log("one", timedelta(0))]
    assert lsns == [2, 3, 4, 5]
