"""Reading: pages, many pages, pinned pages, views at every LSN, versions and the log."""

from __future__ import annotations

import array
import gc
import os
import random
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import Model, assert_same, random_change, run

import aurolog

RAMP = bytes(i & 0xFF for i in range(4096))


def _written(db: aurolog.Volume, rng: random.Random, commits: int, pages: int = 30) -> Model:
    """A volume with a random past, and the model of it."""
    model = Model(db.page_size)
    for _ in range(commits):
        run(
            db,
            model,
            [random_change(rng, db.page_size, pages) for _ in range(rng.randint(1, 5))],
        )
    return model


# --- pages ----------------------------------------------------------------------------------------


def test_a_page_never_written_is_zeros(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(5, 0, b"x")
    for page in (0, 4, 6, 1000, (1 << 47) // 4096 - 1):
        assert db[page] == bytes(4096)
        assert bytes(db.view_page(page)) == bytes(4096)
        buffer = bytearray(b"\xff" * 4096)
        db.read_into(page, buffer)
        assert buffer == bytes(4096)
    assert isinstance(db[5], bytes)


def test_the_end_of_page_space_rises_by_writes_and_falls_by_truncates(db: aurolog.Volume) -> None:
    wanted = []
    for change, length in [
        (("write", 9, 0, b"x"), 10),
        (("write", 3, 0, b"x"), 10),
        (("truncate", 5), 5),
        (("truncate", 50), 5),
        (("fill", 6, 0, 1, 1), 7),
        (("move", 7, 0, 1, 1), 8),
        (("truncate", 0), 0),
        (("write", 0, 0, b"x"), 1),
    ]:
        with db.transaction() as tx:
            tx.apply([change])
        assert len(db) == length, change
        wanted.append((tx.lsn, length))
    for lsn, length in wanted:
        assert len(db.at(lsn)) == length
    assert [batch.pages for batch in db.log() if batch.kind == "pages"] == [n for _, n in wanted]


def test_truncated_pages_read_as_zeros_and_as_before_in_the_past(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        for page in range(10):
            tx[page] = RAMP
    full = tx.lsn
    with db.transaction() as tx:
        tx.truncate(4)
    cut = tx.lsn
    with db.transaction() as tx:
        tx.write(8, 1, b"new")
    for page in range(10):
        assert db.at(full)[page] == RAMP
        assert db.at(cut)[page] == (RAMP if page < 4 else bytes(4096))
        wanted = RAMP if page < 4 else b"\0new" + bytes(4092) if page == 8 else bytes(4096)
        assert db[page] == wanted
    assert (len(db.at(full)), len(db.at(cut)), len(db)) == (10, 4, 9)


def test_read_into_fills_any_writable_buffer(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx[2] = RAMP
    target = bytearray(3 * 4096)
    db.read_into(2, memoryview(target)[4096:8192])
    assert target == bytes(4096) + RAMP + bytes(4096)
    words = array.array("Q", bytes(4096))
    db.at(tx.lsn).read_into(2, words)
    assert words.tobytes() == RAMP


# --- many pages -----------------------------------------------------------------------------------


def test_read_many_gives_the_pages_in_the_order_asked_for(
    db: aurolog.Volume, rng: random.Random
) -> None:
    model = _written(db, rng, 30)
    numbers = [rng.randrange(40) for _ in range(100)]
    wanted = b"".join(map(model.newest.page, numbers))
    view = db.at(db.visible_lsn)
    for reader in (db, view):
        for pages in (
            numbers,
            tuple(numbers),
            array.array("Q", numbers),
            memoryview(array.array("Q", numbers)),
        ):
            found = reader.read_many(pages)
            assert isinstance(found, memoryview)
            assert found.nbytes == len(wanted)
            assert bytes(found) == wanted
    assert bytes(db.read_many(range(5))) == b"".join(map(model.newest.page, range(5)))
    assert bytes(db.read_many([])) == b""
    assert bytes(db.read_many(array.array("Q"))) == b""


def test_page_numbers_of_another_width_are_read_right_or_refused(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx[1] = RAMP
        tx[2] = RAMP[::-1]
    for code in "BHIq":
        try:
            found = bytes(db.read_many(array.array(code, [1, 2])))
        except aurolog.InputError:
            continue
        assert found == RAMP + RAMP[::-1], code


def test_read_many_fills_the_buffer_it_is_given(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx[1] = RAMP
        tx[3] = RAMP[::-1]
    out = bytearray(b"\xff" * 3 * 4096)
    found = db.read_many([3, 2, 1], out=out)
    assert bytes(out) == RAMP[::-1] + bytes(4096) + RAMP
    assert bytes(found) == bytes(out)
    found[0] = 77
    assert out[0] == 77, "the result is the buffer, not a copy"


def test_read_many_of_more_pages_than_the_cache_holds(path: Path) -> None:
    with aurolog.open(path, cache_bytes=16 * 4096, durability="os") as db:
        with db.transaction() as tx:
            tx.apply([("image", page, bytes([page]) * 4096) for page in range(200)])
        for _ in range(3):
            assert bytes(db.read_many(range(200))) == b"".join(
                bytes([i]) * 4096 for i in range(200)
            )
        assert db.stats().cached_pages <= 16


# --- pinned pages ---------------------------------------------------------------------------------


def test_a_pinned_page_is_read_only_and_counted_until_it_is_released(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx[1] = RAMP
    assert db.stats().pinned_pages == 0
    memory = db.view_page(1)
    assert memory.readonly
    assert memory.nbytes == 4096
    assert bytes(memory) == RAMP
    assert db.stats().pinned_pages == 1
    with pytest.raises(TypeError):
        memory[0] = 1
    part = memory[10:20]
    memory.release()
    del memory
    gc.collect()
    assert db.stats().pinned_pages == 1, "a part of the page is still in use"
    assert bytes(part) == RAMP[10:20]
    part.release()
    del part
    gc.collect()
    assert db.stats().pinned_pages == 0


def test_a_pinned_page_stays_as_it_was_when_the_page_changes(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx[1] = RAMP
    memory = db.view_page(1)
    with db.transaction() as tx:
        tx.fill(1, 0, 4096, 0xFF)
        tx.truncate(1)
    assert bytes(memory) == RAMP
    assert db[1] == bytes(4096)
    assert bytes(db.view_page(1)) == bytes(4096)


def test_a_pinned_page_survives_the_turnover_of_the_cache(path: Path) -> None:
    with aurolog.open(path, cache_bytes=16 * 4096, durability="os") as db:
        with db.transaction() as tx:
            tx.apply([("image", page, bytes([page]) * 4096) for page in range(200)])
        kept = {page: db.view_page(page) for page in range(0, 50, 10)}
        for page in range(200):
            assert db[page] == bytes([page]) * 4096
        for page, memory in kept.items():
            assert bytes(memory) == bytes([page]) * 4096
        assert db.stats().cached_pages <= 16


def test_a_pinned_page_survives_the_closing_of_view_and_volume(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx[1] = RAMP
        with db.at(tx.lsn) as view:
            from_view = view.view_page(1)
        assert bytes(from_view) == RAMP
        from_volume = db.view_page(1)
    del view
    gc.collect()
    with aurolog.open(path) as again:
        assert again[1] == RAMP
        del db
        gc.collect()
        assert bytes(from_volume) == RAMP
        assert bytes(from_view) == RAMP


def test_when_every_cached_page_is_pinned_pinning_and_reading_say_so(path: Path) -> None:
    with aurolog.open(path, cache_bytes=16 * 4096, durability="os") as db:
        with db.transaction() as tx:
            tx.apply([("image", page, bytes([page]) * 4096) for page in range(40)])
        pinned = []
        with pytest.raises(aurolog.CacheFullError):
            for page in range(40):
                pinned.append(db.view_page(page))  # noqa: PERF401, it is to keep what it got
        assert 8 <= len(pinned) <= 16
        assert db.stats().pinned_pages == len(pinned)
        for page, memory in enumerate(pinned):
            assert bytes(memory) == bytes([page]) * 4096
            assert bytes(db.view_page(page)) == bytes([page]) * 4096, "pinned again needs no room"
        with db.transaction() as tx:
            tx.write(100, 0, b"writing needs no cached page")
        pinned.pop().release()
        gc.collect()
        assert bytes(db.view_page(39)) == bytes([39]) * 4096
        pinned.clear()
        gc.collect()
        assert db.stats().pinned_pages == 0
        assert bytes(db.read_many(range(40))) == b"".join(bytes([i]) * 4096 for i in range(40))


# --- views ----------------------------------------------------------------------------------------


def test_every_commit_stays_readable_while_the_writer_goes_on(
    db: aurolog.Volume, rng: random.Random
) -> None:
    model = _written(db, rng, 40)
    views = [db.at(state.lsn) for state in model.states]
    for _ in range(40):
        run(db, model, [random_change(rng, 4096, 30) for _ in range(3)])
    for view, state in zip(views, model.states, strict=False):
        assert view.lsn == state.lsn
        assert_same(view, state)
    for state in model.states:
        assert_same(db.at(state.lsn), state)


def test_a_view_between_commits_is_the_commit_before(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"one")
    one = tx.lsn
    with db.transaction() as tx:
        tx.apply([(page, 0, b"two") for page in range(10)])
    two = tx.lsn
    assert one is not None
    assert two == one + 10
    for lsn in range(one, two):
        view = db.at(lsn)
        assert view.lsn == one
        assert view[0][:3] == b"one"
        assert len(view) == 1
    assert db.at(two).lsn == two


def test_the_view_at_zero_is_empty(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(0, 0, b"x")
    view = db.at(0)
    assert (view.lsn, view.time, len(view), view[0]) == (0, None, 0, bytes(4096))
    assert view.page_size == 4096


def test_views_are_the_same_after_reopening_with_a_small_cache(
    path: Path, rng: random.Random
) -> None:
    with aurolog.open(path, durability="os") as db:
        model = _written(db, rng, 60)
        times = {state.lsn: db.at(state.lsn).time for state in model.states}
    for how in ({}, {"read_only": True}):
        with aurolog.open(path, cache_bytes=16 * 4096, **how) as db:
            assert_same(db, model.newest)
            for state in model.states:
                view = db.at(state.lsn)
                assert_same(view, state)
                assert view.time == times[state.lsn]


def test_the_past_survives_many_reopenings(path: Path, rng: random.Random) -> None:
    model = Model(4096)
    for _ in range(8):
        with aurolog.open(path, durability="os", cache_bytes=16 * 4096) as db:
            for _ in range(6):
                run(db, model, [random_change(rng, 4096, 30) for _ in range(4)])
    with aurolog.open(path) as db:
        for state in model.states:
            assert_same(db.at(state.lsn), state)
        report = db.verify()
        assert report.ok, report.problems


def test_a_long_chain_of_small_changes_is_read_right_at_every_point(path: Path) -> None:
    with aurolog.open(path, durability="os", cache_bytes=16 * 4096) as db:
        lsns: list[int] = []
        for number in range(1500):
            with db.transaction() as tx:
                tx.write(0, 2 * number, number.to_bytes(2, "little"))
            assert tx.lsn is not None
            lsns.append(tx.lsn)
        whole = b"".join(number.to_bytes(2, "little") for number in range(1500))
        assert db[0][:3000] == whole
        for number in (0, 1, 700, 701, 1498, 1499):
            have = db.at(lsns[number])[0]
            assert have == whole[: 2 * number + 2] + bytes(4096 - 2 * number - 2)


@pytest.mark.threads
def test_views_may_be_read_by_threads_while_a_writer_goes_on(path: Path) -> None:
    rng = random.Random(5)
    with aurolog.open(path, durability="os", cache_bytes=24 * 4096) as db:
        model = _written(db, rng, 40)
        stop = threading.Event()
        failures: list[BaseException] = []

        def read(number: int) -> None:
            chance = random.Random(number)
            try:
                while not stop.is_set():
                    state = chance.choice(model.states[:41])
                    with db.at(state.lsn) as view:
                        page = chance.randrange(30)
                        assert view[page] == state.page(page)
                        assert len(view) == state.length
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(150):
                run(db, model, [random_change(rng, 4096, 30) for _ in range(3)])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not failures, failures[0]
        assert_same(db, model.newest)


def test_os_commits_above_the_durable_lsn_have_views_too(path: Path) -> None:
    with aurolog.open(path, durability="os") as db:
        model = Model(4096)
        for number in range(50):
            run(db, model, [("write", number, 0, b"x")])
        for state in model.states:
            assert_same(db.at(state.lsn), state)


def test_one_small_cache_serves_many_pages(path: Path, rng: random.Random) -> None:
    with aurolog.open(path, cache_bytes=16 * 4096, durability="os") as db:
        images = [os.urandom(4096) for _ in range(300)]
        with db.transaction() as tx:
            tx.apply(aurolog.pack_changes([("image", i, data) for i, data in enumerate(images)]))
        for page in rng.choices(range(300), k=1500):
            assert db[page] == images[page]
        stats = db.stats()
        assert stats.cache_capacity_pages == 16
        assert stats.cached_pages <= 16
        assert stats.cache_misses > 0
        hits = stats.cache_hits
        for _ in range(10):
            db[7]
        assert db.stats().cache_hits >= hits + 9


# --- versions and the log -------------------------------------------------------------------------


def test_versions_lists_every_commit_that_wrote_the_page(path: Path, rng: random.Random) -> None:
    model = Model(4096)
    wrote: dict[int, list[int]] = {}
    with aurolog.open(path, durability="os") as db:
        for _ in range(60):
            changes = [
                change
                for change in (random_change(rng, 4096, 12) for _ in range(3))
                if change[0] not in ("truncate", "image")
            ]
            lsn = run(db, model, changes)
            for page in {change[1] for change in changes}:
                assert lsn is not None
                wrote.setdefault(page, []).append(lsn)
        found = {page: [version.lsn for version in db.versions(page)] for page in range(13)}
        assert found == {page: wrote.get(page, []) for page in range(13)}
        for version in db.versions(3):
            assert version.time == db.at(version.lsn).time
            assert (
                version.time.tzinfo is UTC
                or version.time.utcoffset() == datetime.now(UTC).utcoffset()
            )
    with aurolog.open(path, cache_bytes=16 * 4096) as db:
        assert {p: [version.lsn for version in db.versions(p)] for p in range(13)} == found


def test_versions_of_a_truncate_are_those_that_emptied_something(db: aurolog.Volume) -> None:
    def commit(*changes: tuple[object, ...]) -> int:
        with db.transaction() as tx:
            tx.apply(changes)
        assert tx.lsn is not None
        return tx.lsn

    written = [commit(("write", 3, 0, b"x")), commit(("write", 3, 8, b"y"))]
    written.append(commit(("truncate", 2)))
    commit(("truncate", 1))
    commit(("truncate", 100))
    written.append(commit(("truncate", 2), ("write", 3, 0, b"z")))
    assert [version.lsn for version in db.versions(3)] == written
    assert db.versions(999) == []
    assert db.versions(4) == []


def test_the_log_tells_every_record_as_it_was_given(path: Path) -> None:
    changes: list[tuple[Any, ...]] = [
        ("write", 1, 7, b"data"),
        ("image", 2, RAMP),
        ("move", 2, 30, 40, 50),
        ("fill", 1, 100, 20, 0x7F),
        ("truncate", 9),
    ]
    with aurolog.open(path) as db:
        with db.transaction(note="five") as tx:
            tx.apply(changes)
        last = tx.lsn
        assert last is not None
        with db.transaction() as tx:
            tx.write(0, 0, b"six")
    for reopened in range(2):
        with aurolog.open(path) as db:
            five, six = [batch for batch in db.log() if batch.kind == "pages"][:2]
        assert (five.first_lsn, five.lsn, five.note, five.pages) == (last - 4, last, "five", 3)
        assert (six.first_lsn, six.lsn, six.note, six.pages) == (last + 1, last + 1, "", 3)
        found = [(r.lsn - five.first_lsn, r.kind, r.page, r.offset, r.length) for r in five.records]
        assert found[:4] == [
            (0, "write", 1, 7, 4),
            (1, "image", 2, 0, 4096),
            (2, "move", 2, 40, 50),
            (3, "fill", 1, 100, 20),
        ]
        assert (five.records[4].kind, five.records[4].page) == ("truncate", 9)
        assert five.records[0].data == b"data"
        assert five.records[1].data == RAMP
        assert five.records[2].source == 30
        assert five.records[3].byte == 0x7F
        assert five.bytes > 4096
        assert reopened >= 0


def test_the_log_of_a_range_holds_the_batches_that_touch_it(db: aurolog.Volume) -> None:
    ends = []
    for count in (3, 1, 4, 1, 5):
        with db.transaction() as tx:
            tx.apply([(page, 0, b"x") for page in range(count)])
        ends.append(tx.lsn)
    assert ends == [3, 4, 8, 9, 14]
    for first in range(1, 15):
        for last in range(first, 15):
            starts = [1, 4, 5, 9, 10]
            wanted = [e for s, e in zip(starts, ends, strict=True) if s <= last and e >= first]
            assert [batch.lsn for batch in db.log(first, last)] == wanted
    assert [batch.lsn for batch in db.log()] == ends
    assert [batch.lsn for batch in db.log(9)] == ends[3:]
    assert list(db.log(15)) == []


def test_the_log_has_no_gap_and_names_clean_closes(path: Path) -> None:
    for _ in range(3):
        with aurolog.open(path) as db, db.transaction() as tx:
            tx.apply([(page, 0, b"x") for page in range(4)])
    with aurolog.open(path) as db:
        batches = list(db.log())
    expected = 1
    for batch in batches:
        assert batch.first_lsn == expected
        assert len(batch.records) == batch.lsn - batch.first_lsn + 1
        assert [record.lsn for record in batch.records] == [*range(batch.first_lsn, batch.lsn + 1)]
        expected = batch.lsn + 1
    kinds = [record.kind for batch in batches for record in batch.records]
    assert kinds.count("clean-close") >= 2
    assert kinds.count("write") == 12
    assert [b.epoch for b in batches] == sorted(b.epoch for b in batches)


def test_reading_the_log_does_not_disturb_the_writer(db: aurolog.Volume) -> None:
    for number in range(5):
        with db.transaction() as tx:
            tx.write(number, 0, b"x")
    log = db.log()
    first = next(log)
    with db.transaction() as tx:
        tx.write(9, 0, b"y")
    assert first.lsn == 1
    assert [batch.lsn for batch in log][:4] == [2, 3, 4, 5]
