"""The functions that tests run in processes of their own, to be killed, denied, starved or forked.

Run as `python child.py FUNCTION ARGUMENT…`. Each says what it does line by line on standard output
with one unbuffered write per line, so that what it said before it died is never lost; some wait for
lines on standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from support import Replay, assert_same, counter, perform, program

import aurolog


def say(*words: object) -> None:
    """One line, at once."""
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


def name_of(call: Callable[[], Any]) -> str:
    """The class of the error that a call raises, or `none`."""
    try:
        call()
    except BaseException as error:
        return type(error).__name__
    return "none"


def write_program(path: str, seed: str, durability: str) -> None:
    """Runs a seeded program until it is killed: `i n` before transaction n, `a n lsn` after its
    commit.
    """
    db = aurolog.open(path, durability=durability)
    number = counter(db)
    while True:
        number += 1
        say("i", number)
        with db.transaction() as tx:
            for change in program(seed, number, db.page_size):
                perform(tx, change)
        say("a", number, tx.lsn)


def do_given(path: str, durability: str, now: str) -> None:
    """Does what each line gives, until it is killed: `commit` changes, packed and in hexadecimal,
    `rewind` to an LSN, `name` it as what follows, or `delete` that name. Says the LSN of each; 0
    where nothing was logged. The clock stands still.
    """
    db = aurolog.open(path, durability=durability, clock=lambda: int(now))
    say("open")
    for line in sys.stdin:
        what, given = line.rstrip("\n").split(" ", 1)
        if what == "commit":
            with db.transaction() as tx:
                tx.apply(bytes.fromhex(given))
            say(tx.lsn or 0)
        elif what == "rewind":
            say(db.backtrack(int(given)).lsn or 0)
        elif what == "name":
            db.restore_point(given)
            say(db.visible_lsn)
        else:
            db.delete_restore_point(given)
            say(db.visible_lsn)
    signal.pause()


def write_threads(path: str, threads: str) -> None:
    """Threads commit without end, each a rising number into every page of its own eight: `a
    thread number lsn`.
    """
    db = aurolog.open(path)

    def commit(mine: int) -> None:
        number = int.from_bytes(db[mine * 8][:8], "little")
        while True:
            number += 1
            with db.transaction() as tx:
                for page in range(mine * 8, mine * 8 + 8):
                    tx.write(page, 0, number.to_bytes(8, "little"))
            say("a", mine, number, tx.lsn)

    workers = [threading.Thread(target=commit, args=(i,), daemon=True) for i in range(int(threads))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def hold(path: str) -> None:
    """Opens for writing, says `open`, and closes when standard input ends."""
    with aurolog.open(path):
        say("open")
        sys.stdin.read()


def open_and_close(path: str) -> None:
    """Opens for writing when told to, and closes: for killing in between."""
    say("ready")
    sys.stdin.readline()
    db = aurolog.open(path)
    say("open", db.visible_lsn)
    db.close()
    say("closed")


def create_one(path: str) -> None:
    """Makes a volume with one commit when told to: for killing at every call."""
    say("ready")
    sys.stdin.readline()
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(3, 0, b"made")
        say("made", tx.lsn)


def try_open(path: str) -> None:
    """Says how opening for writing went."""
    try:
        aurolog.open(path).close()
    except aurolog.VolumeLockedError as error:
        say("VolumeLockedError", error.pid, error.host, error.since.isoformat())
    except aurolog.AurologError as error:
        say(type(error).__name__)
    else:
        say("none")


def open_by_name() -> None:
    """Opens, for writing, each path that it is told, and closes it when it is told to."""
    for line in sys.stdin:
        db = None
        try:
            db = aurolog.open(line.rstrip("\n"))
            say("open")
        except aurolog.AurologError as error:
            say(type(error).__name__)
        sys.stdin.readline()
        if db is not None:
            db.close()
        say("closed")


def fork_and_linger(path: str) -> None:
    """Opens for writing and forks a child that does nothing until it is killed: `lingers PID`."""
    db = aurolog.open(path)
    with db.transaction() as tx:
        tx.write(0, 0, b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        say("lingers", os.getpid())
        signal.pause()
        os._exit(1)
    sys.stdin.readline()


def without_rights(path: str, scratch: str) -> None:
    """Gives up root's rights, then says how opening for writing, opening to read, and making a
    volume go.
    """
    aurolog.open(Path(scratch) / "warm").close()  # whatever is imported late is imported now
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    say(name_of(lambda: aurolog.open(path).close()))

    def read() -> None:
        with aurolog.open(path, read_only=True) as db:
            assert db[0][:5] == b"hello", "a read-only open needs no right to write"

    say(name_of(read))
    say(name_of(lambda: aurolog.open(Path(path).parent / "new").close()))


def denied(path: str, scratch: str) -> None:
    """Gives up root's rights and says how reading an unreadable volume goes."""
    aurolog.open(Path(scratch) / "warm").close()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    say(name_of(lambda: aurolog.open(path, read_only=True).close()))
    say(name_of(lambda: aurolog.open(path).close()))


def fork_and_go_on(path: str) -> None:
    """Forks with a volume, a view and a transaction open; the child ends as Python ends, the
    parent goes on.
    """
    warnings.simplefilter("ignore", DeprecationWarning)
    db = aurolog.open(path)
    with db.transaction() as tx:
        tx.write(1, 0, b"before")
    view = db.at(tx.lsn)
    memory = db.view_page(1)
    open_tx = db.transaction()
    open_tx.write(1, 0, b"parent")
    assert open_tx[1][:6] == b"parent"
    cursor = db.log()
    next(cursor)
    pages = db.diff(0)
    pid = os.fork()
    if pid == 0:
        calls: list[Callable[[], Any]] = [
            lambda: db[1],
            lambda: len(db),
            lambda: db.at(1),
            lambda: db.read_many([1]),
            lambda: db.transaction(),
            lambda: db.sync(),
            lambda: db.verify(),
            lambda: db.versions(1),
            lambda: list(db.log()),
            lambda: db.diff(0),
            lambda: next(pages),
            lambda: db.stats(),
            lambda: db.visible_lsn,
            lambda: db.durable_lsn,
            lambda: view[1],
            lambda: open_tx[1],
            lambda: open_tx.commit(),
        ]
        say("child", *{name_of(call) for call in calls})
        assert "of the parent process" in repr(db)
        calls.clear()
        del open_tx, view, cursor, pages  # theirs to give up, too, and the parent's to give back
        say("memory", bytes(memory[:6]).decode())
        with contextlib.suppress(aurolog.ClosedError):
            db.close()
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    say("status", status)
    open_tx.commit()
    with db.transaction() as tx:
        tx.write(2, 0, b"after")
    say("parent", db[1][:6].decode(), db[2][:5].decode(), *pages)
    say("open")
    sys.stdin.readline()
    memory.release()
    view.close()
    db.close()
    say("closed")


def interrupted(path: str, rounds: str, durability: str) -> None:
    """Commits in a loop while SIGINT arrives; after each one checks the outcome against the
    volume.
    """
    armed = False

    def strike(_number: int, _frame: FrameType | None) -> None:
        if armed:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, strike)
    db = aurolog.open(path, durability=durability)
    outcomes = {"committed": 0, "rolled back": 0, "unknown": 0}
    number, held, struck = 0, 0, 0
    say("ready")
    while struck < int(rounds):
        number += 1
        tx = db.transaction()
        try:
            armed = True
            with tx:
                tx.write(0, 0, number.to_bytes(8, "little"))
                tx.write(1, 8, number.to_bytes(8, "little"))
            armed = False
        except (KeyboardInterrupt, aurolog.CommitOutcomeUnknown):
            armed = False
            struck += 1
            if tx.outcome == "open":  # struck before the block began
                tx.rollback()
            outcomes[tx.outcome] += 1
            say("struck", struck)
            db.sync()  # whatever was logged is seen now
        found = counter(db)
        assert db[1][8:16] == db[0][:8], "a transaction is there in part"
        allowed = {
            "committed": {number},
            "rolled back": {held},
            "unknown": {number, held},
        }[tx.outcome]
        assert found in allowed, f"{tx.outcome}, found {found}, not in {allowed}"
        assert (tx.lsn is not None) == (tx.outcome != "rolled back") or tx.outcome == "unknown"
        held = found
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    db.close()
    say("outcomes", *outcomes.values())


def fill_up(path: str, bytes_max: str, commits: str) -> None:
    """Commits until the disk (or, when given, the limit of a file's size) is full: `a n`, then
    what the error left.
    """
    if int(bytes_max):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(bytes_max), resource.RLIM_INFINITY))
    try:
        db = aurolog.open(path)
    except OSError as error:
        say("opening", type(error).__name__, error.errno)
        return
    number = counter(db)
    error_class, outcome = "none", ""
    while number < int(commits):
        tx = db.transaction()
        try:
            with tx:
                tx.write(0, 0, (number + 1).to_bytes(8, "little"))
                tx.apply([("image", 1 + number % 50, os.urandom(db.page_size)) for _ in range(4)])
        except aurolog.AurologError as error:
            error_class, outcome = type(error).__name__, tx.outcome
            break
        number += 1
        say("a", number, tx.lsn)
    assert counter(db) == number, "what was refused is seen, or what was acknowledged is not"
    assert counter(db.at(db.visible_lsn)) == number
    say("full", error_class, outcome.replace(" ", "-"), number)
    sys.stdin.readline()  # the test makes room, or not
    say("again", name_of(lambda: _small_commit(db)))
    say("close", name_of(db.close))


def few_files(path: str, free: str) -> None:
    """A session's first commit with that many file descriptors left; then one with enough."""
    db = aurolog.open(path)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    for _ in range(int(free)):
        os.close(taken.pop())
    first = name_of(lambda: _small_commit(db))
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)
    say(first, name_of(lambda: _small_commit(db)), name_of(db.close))


def full_at_the_end(path: str) -> None:
    """Closes a volume whose files may not grow any more, and says what that raises."""
    db = aurolog.open(path)
    _small_commit(db)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, resource.RLIM_INFINITY))
    try:
        db.close()
    except aurolog.DiskFullError as error:
        say(error)


def _small_commit(db: aurolog.Volume) -> None:
    with db.transaction() as tx:
        tx.write(60, 0, b"room")


def failing_syncs(path: str) -> None:
    """Commits five times, waits until the test has made every sync fail, and says what each
    call then does.
    """
    db = aurolog.open(path)
    for number in range(1, 6):
        with db.transaction() as tx:
            tx.write(0, 0, number.to_bytes(8, "little"))
        say("a", number, tx.lsn)
    acked = tx.lsn
    say("ready")
    sys.stdin.readline()

    lost = db.transaction()
    lost.write(0, 0, (6).to_bytes(8, "little"))
    lost.write(1, 0, b"lost")
    say("commit", name_of(lost.commit), lost.outcome, lost.lsn)
    say("visible", db.visible_lsn == acked, db.durable_lsn == acked, counter(db))
    say("view", counter(db.at(acked)))

    def write_again() -> None:
        with db.transaction() as tx:
            tx.write(0, 0, b"again")

    say("again", name_of(write_again))
    say("sync", name_of(db.sync))
    say("read", counter(db), db[1][:4] == bytes(4))
    sys.stdin.readline()  # syncs work again: nothing may be retried
    say("again", name_of(write_again))
    say("sync", name_of(db.sync))
    say("close", name_of(db.close))


def failing_threads(path: str) -> None:
    """Eight threads count, each in a page of its own, until the disk fails; says what each was told
    and how far it came.
    """
    db = aurolog.open(path)
    told, acked = [""] * 8, [0] * 8

    def commit(mine: int) -> None:
        while not told[mine]:
            tx = db.transaction()
            try:
                with tx:
                    tx.write(mine, 0, (acked[mine] + 1).to_bytes(8, "little"))
                acked[mine] += 1
            except aurolog.AurologError as error:
                told[mine] = f"{type(error).__name__}:{tx.outcome.replace(' ', '-')}"

    threads = [threading.Thread(target=commit, args=(mine,)) for mine in range(8)]
    for thread in threads:
        thread.start()
    while not all(acked):
        pass
    say("ready")
    for thread in threads:
        thread.join()
    say("told", *told)
    say("acked", *acked)
    say("close", name_of(db.close))


def failing_under_a_transaction(path: str) -> None:
    """A transaction has the writer's place when the sync of an earlier commit fails."""
    db = aurolog.open(path, durability="os")
    with db.transaction() as tx:
        tx.write(0, 0, b"first")
    db.sync()
    say("ready")
    sys.stdin.readline()
    tx = db.transaction()
    tx.write(1, 0, b"logged")
    tx.commit()
    tx = db.transaction()
    tx.write(2, 0, b"refused")
    say("page", tx[1][:6].decode())
    say("sync", name_of(db.sync))
    say("commit", name_of(tx.commit), tx.outcome, tx.lsn)
    say("close", name_of(db.close))


def failing_async(path: str) -> None:
    """Awaits a commit, waits until the test has made every sync fail, and says how more go."""

    async def main() -> None:
        async with db.transaction() as tx:
            tx.write(0, 0, b"kept")
        say("ready")
        sys.stdin.readline()
        txs = []

        async def commit(page: int) -> None:
            async with db.transaction() as tx:
                txs.append(tx)
                tx.write(page, 0, b"lost")

        results = await asyncio.gather(*map(commit, range(1, 9)), return_exceptions=True)
        say("lost", type(results[0]).__name__, txs[0].outcome)
        say("others", all(isinstance(result, aurolog.AurologError) for result in results))
        (again,) = await asyncio.gather(commit(0), return_exceptions=True)
        say("again", type(again).__name__)

    with contextlib.suppress(aurolog.AurologError), aurolog.open(path) as db:
        asyncio.run(main())


def failing_after_os(path: str) -> None:
    """Commits with durability `os`, looks at it, and then, with failing syncs, asks for `sync`."""
    db = aurolog.open(path)
    with db.transaction() as tx:
        tx.write(0, 0, b"durable")
    durable = db.at(tx.lsn or 0)
    say("ready")
    sys.stdin.readline()
    try:
        with db.transaction(durability="os") as tx:
            tx.write(0, 0, b"os only")
            tx.write(9, 0, b"os only")
        view = db.at(tx.lsn or 0)
        pages = db.diff(durable.lsn)
        memory = db.view_page(0)
        seen = db[0][:7] == view[0][:7] == b"os only" and len(db) == 10
    except aurolog.AurologError:
        say("late")  # the background sync came, and failed, in between
        return
    say("seen", seen)
    say("sync", name_of(db.sync))
    say("fallen", db.visible_lsn == db.durable_lsn == durable.lsn, db[0][:7].decode(), len(db))
    say(
        "views",
        name_of(lambda: view[0]),
        name_of(lambda: db.at(tx.lsn or 0)),
        durable[0][:7].decode(),
        name_of(lambda: next(pages)),
        *db.diff(0),
    )
    say("many", bytes(db.read_many([0]))[:7].decode(), db[9] == bytes(4096))
    say("memory", bytes(memory[:7]) == b"os only", tx.outcome)
    memory.release()
    say("close", name_of(db.close))


def failing_reads(path: str) -> None:
    """Opens with a small cache; says how reading 64 pages and verifying goes, while reads of a
    segment fail and afterwards.
    """
    db = aurolog.open(path, cache_bytes=16 * 4096)
    say("ready")

    def read_all() -> None:
        for page in range(64):
            assert db[page] == bytes([page + 1]) * 4096

    for _ in range(2):
        sys.stdin.readline()
        say("reads", name_of(read_all))
        report = db.verify()
        say("verified", report.segments, *sorted({x.file for x in report.problems}))
    say("close", name_of(db.close))


def roll_segments(path: str, commits: str) -> None:
    """When told to, four threads commit 4,000 bytes at a time; says when they are through; then
    checks all of it."""
    db = aurolog.open(path)
    say("ready")
    sys.stdin.readline()
    lsns: list[list[int | None]] = [[] for _ in range(4)]

    def commit(mine: int) -> None:
        for number in range(int(commits)):
            with db.transaction(durability="sync" if mine % 2 else "os") as tx:
                tx.write(4 * (number % 200) + mine, 8, number.to_bytes(8, "little") * 500)
            lsns[mine].append(tx.lsn)

    threads = [threading.Thread(target=commit, args=(mine,)) for mine in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("through", db.stats().segments)
    for mine in range(4):
        assert len(lsns[mine]) == int(commits), "a commit was refused"
        for number in range(0, int(commits), 7):
            page = db.at(lsns[mine][number] or 0)[4 * (number % 200) + mine]
            assert page[8:4008] == number.to_bytes(8, "little") * 500, f"commit {number} is lost"
    assert db.verify().ok
    db.close()
    say("checked")


def audited(path: str) -> None:
    """When told to, does something of every kind: creates, commits from threads with both
    durabilities, rolls segments, reads, and closes. Says `mark open` before it opens, and
    `counted MARK …`, with the table's counters, for a mark at which nothing was under way.
    """

    def commit(mine: int) -> None:
        for number in range(60):
            with db.transaction(durability="sync" if mine % 2 else "os") as tx:
                tx.write(10 * mine + number % 10, 0, number.to_bytes(8, "little") * 100)

    def counters() -> tuple[int, ...]:
        stats = db.stats()
        return (
            stats.disk_writes,
            stats.disk_write_bytes,
            stats.disk_syncs,
            stats.dir_syncs,
            stats.disk_read_bytes,
        )

    say("ready")
    sys.stdin.readline()
    aurolog.open(path).close()
    say("mark open")
    db = aurolog.open(path, cache_bytes=16 * 4096)
    threads = [threading.Thread(target=commit, args=(mine,)) for mine in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(16):
        with db.transaction() as tx:
            tx.apply([("image", 100 + n, os.urandom(4096)) for n in range(300)])
    assert db.verify().ok
    assert db.at(5).lsn <= 5
    db.sync()
    for mark in range(2000):
        before = counters()
        say("mark", mark)
        if before == counters():
            say("counted", mark, *before)
            break
    db.close()
    say("closed")


def follow(path: str, seed: str) -> None:
    """Follows the volume from its beginning, whatever its writers do to it, and says `c LSN KIND
    NUMBER` for each commit, NUMBER being how many of the seeded program's transactions it then
    holds. Every eighth state is compared whole. Ends after the commit with the note `end`.
    """
    db = aurolog.open(path, read_only=True)
    replay = Replay(seed, db.page_size)
    held: list[tuple[aurolog.View, int]] = []
    say("open", db.visible_lsn)
    for commit in db.follow(0):
        assert commit.lsn <= db.durable_lsn == db.visible_lsn
        view = db.at(commit.lsn)
        number = counter(view)
        assert commit.page_space == len(view)
        say("c", commit.lsn, commit.kind, number)
        if commit.note == "end":
            break
        assert (commit.kind == "pages") == (0 in commit.pages)
        if number % 8 == 7:
            assert_same(view, replay.after(number))
            held.append((view, number))
    for view, number in held:
        assert_same(view, replay.after(number))
    assert db.verify().ok
    say("same", len(held))


def follow_later(path: str) -> None:
    """Follows 1,000 commits in an event loop that looks at one and then at none until it is told
    to; says how much the follower then held, and the LSNs that it gives.
    """

    async def main() -> None:
        with aurolog.open(path, read_only=True) as db:
            async with db.follow(0) as follower:
                first = await anext(follower)
                say("first", first.lsn)
                await asyncio.to_thread(sys.stdin.readline)
                lsns = [first.lsn]
                async for commit in follower:
                    lsns.append(commit.lsn)
                    if len(lsns) == 1000:
                        break
                say("lsns", *lsns)

    asyncio.run(main())


def write_small(path: str, durability: str, first: str) -> None:
    """Commits one page at a time, numbers from `first` on, until it is killed: the LSN of each."""
    db = aurolog.open(path, durability=durability)
    number = int(first)
    while True:
        with db.transaction() as tx:
            tx.write(number % 16, 0, number.to_bytes(8, "little"))
        say(tx.lsn)
        number += 1


def few_files_to_follow(path: str) -> None:
    """Follows with one file descriptor left, which is not enough to be told of changes: says each
    commit's LSN, five of them.
    """
    db = aurolog.open(path, read_only=True)
    db.refresh()
    follower = db.follow()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit[1]))
    taken = []
    with contextlib.suppress(OSError):
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    os.close(taken.pop())
    say("ready")
    for _ in range(5):
        say(next(follower).lsn)
    db.close()


def fork_while_following(path: str) -> None:
    """Forks with followers open, in a thread and in an event loop; says what the child gets, and
    whether the parent goes on.
    """
    warnings.simplefilter("ignore", DeprecationWarning)
    db = aurolog.open(path, read_only=True)
    db.refresh()
    follower, awaited = db.follow(), db.follow()

    async def main() -> None:
        task = asyncio.ensure_future(anext(awaited))
        await asyncio.sleep(0)
        pid = os.fork()
        if pid == 0:
            say(
                "child",
                name_of(lambda: next(follower)),
                name_of(lambda: awaited.__anext__().send(None)),
                name_of(db.refresh),
            )
            follower.close()
            awaited.close()
            os._exit(0)
        _, status = os.waitpid(pid, 0)  # noqa: ASYNC222 - nothing else goes on
        say("status", status)
        sys.stdin.readline()
        say("parent", (await task).lsn, next(follower).lsn)

    asyncio.run(main())
    db.close()


def failing_follower(path: str) -> None:
    """Follows a writer's volume in a thread; when every sync fails, says what that is told."""
    db = aurolog.open(path)
    _small_commit(db)
    follower = db.follow()
    told: list[str] = []
    thread = threading.Thread(target=lambda: told.append(name_of(lambda: next(follower))))
    thread.start()
    say("ready")
    sys.stdin.readline()
    say(name_of(lambda: _small_commit(db)))
    thread.join()
    say(*told)
    with contextlib.suppress(aurolog.AurologError):
        db.close()


def follow_until_interrupted(path: str) -> None:
    """Waits for a commit that does not come, says when it is interrupted, and waits on."""
    db = aurolog.open(path, read_only=True)
    follower = db.follow()
    try:
        say("ready")
        next(follower)
    except KeyboardInterrupt:
        say("interrupted")
    say(next(follower).lsn)
    db.close()


def inherited_files(path: str) -> None:
    """Says which open files of this process lie in the volume: a program started by a writer
    inherits none.
    """
    found = []
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{entry}")
            if target.startswith(path):
                found.append(Path(target).name)
    say("files", *found)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
