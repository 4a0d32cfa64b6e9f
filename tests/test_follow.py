"""Followers: read-only volumes that move on behind a writer, and iteration over its commits."""

from __future__ import annotations

import asyncio
import threading
from array import array
from pathlib import Path

import pytest
from support import wait_until

import aurolog


def commit(db: aurolog.Volume, page: int, data: bytes, **how: str) -> int:
    """One small commit; its LSN."""
    with db.transaction(**how) as tx:  # type: ignore[arg-type]
        tx.write(page, 0, data)
    assert tx.lsn is not None
    return tx.lsn


# --- refresh --------------------------------------------------------------------------------------


def test_a_refresh_shows_what_became_durable_since(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        assert reader.refresh() == 0
        for number in range(1, 20):
            lsn = commit(db, number % 3, bytes([number]))
            assert reader.visible_lsn < lsn
            assert reader.refresh() == reader.visible_lsn == reader.durable_lsn == lsn
            assert reader[number % 3][0] == number
            assert len(reader) == len(db)
            assert reader.at(lsn).lsn == lsn
        assert reader.refresh() == lsn, "nothing new"


def test_what_is_not_durable_is_not_shown(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        first = commit(db, 0, b"durable")
        shown = []
        for number in range(200):
            lsn = commit(db, 1, number.to_bytes(2, "little"), durability="os")
            durable = reader.refresh()
            assert durable <= db.durable_lsn <= lsn
            assert int.from_bytes(reader[1][:2], "little") == max(durable - first - 1, 0)
            shown.append(durable)
        assert shown == sorted(shown)
        assert shown[0] == first, "an unsynced commit was shown"
        assert db.sync() == reader.refresh() == lsn
        assert int.from_bytes(reader[1][:2], "little") == number


def test_a_writer_is_always_up_to_date(db: aurolog.Volume) -> None:
    lsn = commit(db, 0, b"x")
    db.sync()
    assert db.refresh() == lsn


# --- follow ---------------------------------------------------------------------------------------


def test_a_follower_gives_every_commit_once_in_order(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        lsns = [commit(db, n, bytes([n]), note=f"number {n}") for n in range(10)]
        with db.transaction() as tx:
            tx.apply([(7, 0, b"a"), (3, 0, b"b"), (7, 9, b"c")])
        for volume in (db, reader):
            found = list(volume.follow(0, timeout=0))
            assert [c.lsn for c in found] == [*lsns, tx.lsn]
            assert [c.note for c in found] == [*(f"number {n}" for n in range(10)), ""]
            assert {c.kind for c in found} == {"pages"}
            assert [list(c.pages) for c in found] == [*([n] for n in range(10)), [3, 7]]
            assert [c.page_space for c in found] == [*range(1, 11), 10]
            assert [c.time for c in found] == sorted(c.time for c in found)
            assert isinstance(found[0].pages, array)
            assert list(volume.follow(lsns[7], timeout=0)) == found[8:]


def test_a_follower_waits_for_commits_to_come(path: Path) -> None:
    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        for volume in (db, reader):
            seen: list[int] = []
            volume.refresh()
            follower = volume.follow()

            def follow(follower: aurolog.Follower = follower, seen: list[int] = seen) -> None:
                seen.extend(c.lsn for c in follower)

            thread = threading.Thread(target=follow)
            thread.start()
            lsns = [commit(db, 0, bytes([n])) for n in range(5)]
            wait_until(lambda seen=seen: len(seen) == 5, "all were seen")  # type: ignore[misc]
            follower.close()
            thread.join()
            assert seen == lsns
            assert volume.visible_lsn == lsns[-1], "it refreshes as it goes"


def test_a_loop_follows_without_standing_still(path: Path) -> None:
    async def main(db: aurolog.Volume, volume: aurolog.Volume) -> None:
        seen: list[int] = []
        ticks = 0

        async def follow() -> None:
            async for c in volume.follow():
                seen.append(c.lsn)
                if len(seen) == 20:
                    break

        task = asyncio.create_task(follow())
        lsns = []
        while not task.done():
            await asyncio.sleep(0)
            ticks += 1
            if len(lsns) < 20:
                lsns.append(await asyncio.to_thread(commit, db, 0, b"x"))
        await task
        assert seen == lsns
        assert ticks > 20

    with aurolog.open(path) as db, aurolog.open(path, read_only=True) as reader:
        reader.refresh()
        asyncio.run(asyncio.wait_for(main(db, db), 30))
        reader.refresh()
        asyncio.run(asyncio.wait_for(main(db, reader), 30))


def test_a_timeout_ends_a_follower(db: aurolog.Volume) -> None:
    assert list(db.follow(timeout=0.01)) == []
    follower = db.follow(timeout=0)
    assert list(follower) == []
    commit(db, 0, b"x")
    db.sync()
    assert list(follower) == [], "over is over"
    for bad in (-1, "soon", float("nan")):
        with pytest.raises(aurolog.InputError):
            db.follow(timeout=bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("read_only", [False, True])
def test_closing_the_volume_wakes_who_waits(path: Path, read_only: bool) -> None:
    aurolog.open(path).close()
    volume = aurolog.open(path, read_only=read_only)
    follower = volume.follow()
    errors: list[str] = []

    def follow() -> None:
        try:
            next(follower)
        except aurolog.AurologError as error:
            errors.append(type(error).__name__)

    thread = threading.Thread(target=follow)
    thread.start()
    volume.close()
    thread.join(10)
    assert errors == ["ClosedError"]
