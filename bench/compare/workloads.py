"""The work, the same for every contestant.

A workload is a sequence of phases. A phase runs in a process of its own and returns figures; only
what it times itself counts: not the interpreter's start, imports, nor the making of random data.
`once` phases run one time per engine and their directory is kept for all rounds; `each` phases
run every round in a fresh directory (or in the kept one).

Every writing workload but the bulk load first puts one change on each page, so that nobody works
on an empty store, and at the end reads its last change back.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import selectors
import signal
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from time import perf_counter, perf_counter_ns, sleep, time_ns
from typing import TYPE_CHECKING, Any

from bench.compare import floor, machine
from bench.compare.engines import FLOOR, Change, Engine, adapter, groups

if TYPE_CHECKING:
    from pathlib import Path

PAGE_BYTES = 4096
CHANGE_BYTES = 100
PAGES = 262_144
"""Pages of the store: 1 GiB."""
BATCH_CHANGES = 1_000
BULK_PAGES = 1_024
"""Pages per transaction of a bulk load."""
PRELOAD_CHANGES = 16_384
WARM_UP_COMMITS = 100
THREADS = 16
TASKS = 64
THREAD_SECONDS = 2.0
POOL_BYTES = 64 << 20
"""Random page data: more than the processor's caches hold."""
CACHE_BYTES = 512 << 20
SEGMENT_BYTES = 16 << 20
IDLE_RATE = 100
FOLLOW_SECONDS = 5
QUIET_SECONDS = 0.1
SETTLE_SECONDS_MAX = 5.0

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Job:
    """One phase of one contestant's work."""

    workload: str
    phase: str
    engine: str
    way: str
    directory: Path
    size: float
    """Times the full amount of work."""
    seed: int

    def amount(self, full: int, least: int = 1) -> int:
        """This much work, by the size asked for."""
        return max(least, round(full * self.size))

    def open(self, *, durable: bool = True, cache_bytes: int = CACHE_BYTES) -> Engine:
        """The contestant's engine, in its directory."""
        return adapter(self.engine)(self.directory, durable=durable, cache_bytes=cache_bytes)


Phase = Callable[[Job], Figures]


@dataclass(frozen=True, slots=True)
class Workload:
    """A work, and what its main figure is."""

    name: str
    title: str
    what: str
    figure: str
    unit: str
    more_is_better: bool
    reference: str
    """The engine that tables show ratios to: a floor, or the best known peer."""
    each: Mapping[str, Phase]
    once: Mapping[str, Phase]
    ways: Mapping[str, tuple[str, ...]]
    """Ways of contestants that are not an adapter's own, by engine."""
    rounds_divisor: int = 1
    """Runs this many times fewer rounds than asked for (and three at least)."""


# -- data -----------------------------------------------------------------------------------------


def changes(rng: random.Random, count: int, pages: int) -> list[Change]:
    """Random bytes for random places of random pages."""
    data = rng.randbytes(CHANGE_BYTES * count)
    places = array("Q", rng.randbytes(8 * count))
    room = PAGE_BYTES - CHANGE_BYTES + 1
    return [
        (place % pages, (place >> 32) % room, data[at : at + CHANGE_BYTES])
        for place, at in zip(places, range(0, len(data), CHANGE_BYTES), strict=True)
    ]


def images(rng: random.Random, count: int) -> list[Change]:
    """Pages 0 to `count` with random data, from a pool that no cache holds."""
    pool_pages = min(count, POOL_BYTES // PAGE_BYTES)
    data = rng.randbytes(pool_pages * PAGE_BYTES)
    pool = [data[at : at + PAGE_BYTES] for at in range(0, len(data), PAGE_BYTES)]
    return [(page, 0, pool[page % pool_pages]) for page in range(count)]


def marker(seed: int) -> Change:
    """The change that a killed store must still have."""
    return 7, 8, random.Random(f"marker {seed}").randbytes(CHANGE_BYTES)


def preload(engine: Engine, way: str, rng: random.Random, pages: int) -> None:
    """One change on each page, in order, then everything on the disk."""
    todo = [(page, offset, data) for page, (_, offset, data) in enumerate(changes(rng, pages, 1))]
    for group in groups(todo, PRELOAD_CHANGES):
        engine.commit(way, engine.prepare(way, group))
    engine.sync()


def warm_up(engine: Engine, rng: random.Random, pages: int) -> None:
    """Small commits behind the large ones of the preload, so that what they set off is over."""
    for change in changes(rng, WARM_UP_COMMITS, pages):
        engine.put(*change)


# -- measuring ------------------------------------------------------------------------------------


def settle(directory: Path) -> None:
    """What came before is over: background work, dirty pages, garbage to be walked.

    An engine's own threads may go on for a while after a preload (compaction, preparing files);
    they are over when this process has written nothing for `QUIET_SECONDS`.
    """
    end = perf_counter() + SETTLE_SECONDS_MAX
    before = None
    while perf_counter() < end:
        now = machine.counters(directory).get("process_write_bytes")
        if now == before:
            break
        before = now
        sleep(QUIET_SECONDS)
    os.sync()
    gc.collect()
    gc.freeze()


def percentile(values: list[int], share: float) -> int:
    """The smallest value that `share` of the sorted values do not exceed."""
    return values[min(len(values) - 1, int(share * len(values)))]


def latencies(taken_ns: list[int]) -> Figures:
    """p50 and p99 in microseconds."""
    ordered = sorted(taken_ns)
    return {f"p{p}_us": percentile(ordered, p / 100) / 1e3 for p in (50, 99)}


class Meter:
    """Counters of the engine, the process and the device, from its making to `per`."""

    def __init__(self, directory: Path, engine: Engine | None = None) -> None:
        self._directory, self._engine = directory, engine
        self._before = self._read()

    def _read(self) -> Mapping[str, int]:
        own = self._engine.counters() if self._engine else {}
        return {**own, **machine.counters(self._directory)}

    def per(self, unit: str, count: int) -> Figures:
        """Each counter's growth per `unit`, of which there were `count`."""
        now = self._read()
        return {f"{k}_per_{unit}": (now[k] - v) / count for k, v in self._before.items()}


def check(engine: Engine, expected: Change) -> None:
    """The change is there; else the benchmark is void."""
    page, offset, data = expected
    if engine.get(page, offset, len(data)) != data:
        raise AssertionError(f"page {page} has lost the change at offset {offset}")


# -- one change per commit ------------------------------------------------------------------------


def one(job: Job) -> Figures:
    """One 100 B change per durable commit, one thread."""
    count = job.amount(5_000, 20)
    rng = random.Random(job.seed)
    if job.engine == FLOOR:
        return _floor_commits(job, rng, CHANGE_BYTES, count, changes_each=1)
    pages = job.amount(PAGES, 64)
    todo = changes(rng, count, pages)
    engine = job.open()
    preload(engine, adapter(job.engine).ways["many"][0], rng, pages)
    warm_up(engine, rng, pages)
    settle(job.directory)
    meter = Meter(job.directory, engine)
    put, taken = engine.put, []
    start = perf_counter_ns()
    for change in todo:
        at = perf_counter_ns()
        put(*change)
        taken.append(perf_counter_ns() - at)
    elapsed = perf_counter_ns() - start
    figures = {"commits_per_s": count * 1e9 / elapsed, **latencies(taken)}
    figures |= meter.per("commit", count)
    check(engine, todo[-1])
    engine.close()
    return figures


def _floor_commits(
    job: Job, rng: random.Random, commit_bytes: int, count: int, changes_each: int
) -> Figures:
    path, data = job.directory / "floor", rng.randbytes(max(1 << 20, 4 * commit_bytes))
    floor.prepare(path, count * commit_bytes)
    settle(job.directory)
    meter = Meter(job.directory)
    taken = floor.commits(path, data, commit_bytes, count).tolist()
    figure = WORKLOADS[job.workload].figure
    figures = {figure: count * changes_each * 1e9 / sum(taken), **latencies(taken)}
    return figures | meter.per("commit", count)


def threads(job: Job) -> Figures:
    """One 100 B change per durable commit, from 16 threads at once."""
    rng = random.Random(job.seed)
    if job.engine == FLOOR:
        count = job.amount(5_000, 20)
        return _floor_commits(job, rng, THREADS * CHANGE_BYTES, count, changes_each=THREADS)
    pages = job.amount(PAGES, 64)
    # More than can be used up: a repeated value could be a write that an engine skips.
    todo = [changes(rng, job.amount(8_000, 50), pages) for _ in range(THREADS)]
    engine = job.open()
    preload(engine, adapter(job.engine).ways["many"][0], rng, pages)
    warm_up(engine, rng, pages)
    settle(job.directory)
    meter = Meter(job.directory, engine)
    taken, elapsed = _together(engine, todo, THREAD_SECONDS * min(1.0, 10 * job.size))
    figures = {"commits_per_s": len(taken) * 1e9 / elapsed, **latencies(taken)}
    figures |= meter.per("commit", len(taken))
    engine.close()
    return figures


def _together(engine: Engine, todo: list[list[Change]], seconds: float) -> tuple[list[int], int]:
    """Latencies of all threads, and nanoseconds from the first start to the last end."""
    ready = threading.Barrier(len(todo))

    def work(mine: list[Change]) -> tuple[int, int, list[int]]:
        put, taken = engine.put, []
        ready.wait()
        start = at = perf_counter_ns()
        end = start + int(seconds * 1e9)
        for change in mine:
            put(*change)
            now = perf_counter_ns()
            taken.append(now - at)
            at = now
            if now >= end:
                break
        return start, at, taken

    with ThreadPoolExecutor(len(todo)) as pool:
        done = list(pool.map(work, todo))
    elapsed = max(end for _, end, _ in done) - min(start for start, _, _ in done)
    return [t for _, _, taken in done for t in taken], elapsed


# -- event loops ----------------------------------------------------------------------------------


class TimedSelector(selectors.DefaultSelector):
    """Notes how long the loop was away each time: what else is ready has to wait as long."""

    def __init__(self) -> None:
        super().__init__()
        self.away_ns = array("Q")
        self._since = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._since:
            self.away_ns.append(perf_counter_ns() - self._since)
        found = super().select(timeout)
        self._since = perf_counter_ns()
        return found


def tasks(job: Job) -> Figures:
    """One 100 B change per durable commit, from 64 tasks of one event loop; or from 16 threads, of
    engines that have nothing to be awaited."""
    if job.engine not in (FLOOR, "aurolog"):
        return threads(job)
    selector = TimedSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        figures: Figures = runner.run(_tasks(job, selector))
    return figures


async def _tasks(job: Job, selector: TimedSelector) -> Figures:
    rng = random.Random(job.seed)
    pages, each = job.amount(PAGES, 64), job.amount(6_000, 25)
    # More than can be used up, as above.
    todo = [changes(rng, each, pages) for _ in range(TASKS)]
    engine: Engine | None = None
    if job.engine == FLOOR:
        group = floor.GroupCommit(job.directory / "floor", TASKS * each * CHANGE_BYTES)
        close = group.close

        async def commit(change: Change) -> None:
            await group.commit(change[2])
    else:
        engine = job.open()
        close = engine.close
        preload(engine, adapter(job.engine).ways["many"][0], rng, pages)
        warm_up(engine, rng, pages)
        transaction: Callable[[], Any] = engine.db.transaction  # type: ignore[attr-defined]

        async def commit(change: Change) -> None:
            async with transaction() as tx:
                tx.write(*change)

    settle(job.directory)
    meter = Meter(job.directory, engine)
    taken: list[int] = []

    async def work(mine: list[Change], end: int) -> None:
        at = perf_counter_ns()
        for change in mine:
            await commit(change)
            now = perf_counter_ns()
            taken.append(now - at)
            at = now
            if now >= end:
                break

    seconds = THREAD_SECONDS * min(1.0, 10 * job.size)
    await asyncio.sleep(0)
    del selector.away_ns[:]  # what came before was not in the way of anybody
    start = perf_counter_ns()
    await asyncio.gather(*[work(mine, start + int(seconds * 1e9)) for mine in todo])
    elapsed = perf_counter_ns() - start
    figures = {"commits_per_s": len(taken) * 1e9 / elapsed, **latencies(taken)}
    figures["stall_p99_us"] = percentile(sorted(selector.away_ns), 0.99) / 1e3
    figures |= meter.per("commit", len(taken))
    close()
    return figures


# -- many changes per commit ----------------------------------------------------------------------


def many(job: Job) -> Figures:
    """1,000 changes of 100 B per durable commit, at random pages of a 1 GiB store."""
    count = job.amount(300, 3)
    rng = random.Random(job.seed)
    if job.engine == FLOOR:
        size = BATCH_CHANGES * CHANGE_BYTES
        return _floor_commits(job, rng, size, count, changes_each=BATCH_CHANGES)
    pages = job.amount(PAGES, 64)
    todo = [changes(rng, BATCH_CHANGES, pages) for _ in range(count)]
    engine = job.open()
    preload(engine, job.way, rng, pages)
    warm_up(engine, rng, pages)
    start = perf_counter_ns()
    prepared = [engine.prepare(job.way, batch) for batch in todo]
    preparing = perf_counter_ns() - start
    settle(job.directory)
    meter = Meter(job.directory, engine)
    commit, taken = engine.commit, []
    start = perf_counter_ns()
    for batch in prepared:
        at = perf_counter_ns()
        commit(job.way, batch)
        taken.append(perf_counter_ns() - at)
    elapsed = perf_counter_ns() - start
    total = count * BATCH_CHANGES
    figures = {
        "changes_per_s": total * 1e9 / elapsed,
        "changes_per_s_with_preparing": total * 1e9 / (elapsed + preparing),
        **latencies(taken),
        **meter.per("commit", count),
    }
    check(engine, todo[-1][-1])
    engine.close()
    return figures


# -- bulk -----------------------------------------------------------------------------------------


def bulk(job: Job) -> Figures:
    """Random 4 KiB pages into an empty store, durable at the end."""
    count = job.amount(131_072, BULK_PAGES)
    total = count * PAGE_BYTES
    rng = random.Random(job.seed)
    if job.engine == FLOOR:
        data = rng.randbytes(POOL_BYTES)
        settle(job.directory)
        meter = Meter(job.directory)
        elapsed = floor.bulk(job.directory / "floor", data, total)
        return {"mb_per_s": total * 1e3 / elapsed, **meter.per("byte", total)}
    todo = images(rng, count)
    engine = job.open(durable=False)
    prepared = [engine.prepare(job.way, group) for group in groups(todo, BULK_PAGES)]
    settle(job.directory)
    meter = Meter(job.directory, engine)
    start = perf_counter_ns()
    for group in prepared:
        engine.commit(job.way, group)
    engine.sync()
    elapsed = perf_counter_ns() - start
    figures = {"mb_per_s": total * 1e3 / elapsed, **meter.per("byte", total)}
    check(engine, todo[-1])
    engine.close()
    return figures


# -- reads ----------------------------------------------------------------------------------------


def _read_pages(job: Job) -> int:
    return job.amount(65_536, 256)


def read_fill(job: Job) -> Figures:
    """256 MiB of random pages, once for all rounds."""
    todo = images(random.Random(job.seed), _read_pages(job))
    if job.engine == FLOOR:
        (job.directory / "pages").write_bytes(b"".join(data for _, _, data in todo))
        return {}
    way = adapter(job.engine).ways["bulk"][0]
    engine = job.open(durable=False)
    for group in groups(todo, BULK_PAGES):
        engine.commit(way, engine.prepare(way, group))
    engine.sync()
    engine.close()
    return {}


def read(job: Job) -> Figures:
    """Random pages of 256 MiB, all of them cached."""
    pages, count = _read_pages(job), job.amount(300_000, 512)
    rng = random.Random(job.seed + 1)
    wanted = [place % pages for place in array("Q", rng.randbytes(8 * count))]
    if job.engine == FLOOR:
        elapsed = _floor_reads(job, wanted)
    else:
        engine = job.open()
        engine.read(job.way, engine.select(job.way, range(pages)))  # warm
        selected = engine.select(job.way, wanted)
        settle(job.directory)
        start = perf_counter_ns()
        engine.read(job.way, selected)
        elapsed = perf_counter_ns() - start
        engine.close()
    return {"reads_per_s": count * 1e9 / elapsed}


def _floor_reads(job: Job, wanted: list[int]) -> int:
    path = job.directory / "pages"
    data = path.read_bytes()  # warm
    if job.way == "memcpy in C":
        return floor.copies(data, PAGE_BYTES, array("Q", wanted))
    if job.way == "pread in C":
        return floor.reads(path, PAGE_BYTES, array("Q", wanted))
    descriptor, pread = os.open(path, os.O_RDONLY), os.pread
    offsets = [page * PAGE_BYTES for page in wanted]
    start = perf_counter_ns()
    for offset in offsets:
        pread(descriptor, PAGE_BYTES, offset)
    elapsed = perf_counter_ns() - start
    os.close(descriptor)
    return elapsed


# -- opening after a kill -------------------------------------------------------------------------


def kill_fill(job: Job) -> Figures:
    """500,000 changes in durable commits of 1,000, and no farewell."""
    rng = random.Random(job.seed)
    pages, way = job.amount(PAGES, 64), adapter(job.engine).ways["kill"][0]
    engine = job.open()
    for _ in range(job.amount(500, 2)):
        engine.commit(way, engine.prepare(way, changes(rng, BATCH_CHANGES, pages)))
    return _die(engine, job)


def flat_fill(job: Job) -> Figures:
    """Durable commits of 1,000 changes until the log has the way's megabytes, and a bit more.

    The bit is what makes the tail, all that opening has to scan, as long for every length: half of
    the last segment, the others sealed.
    """
    rng = random.Random(job.seed)
    pages, way = job.amount(PAGES, 64), adapter(job.engine).ways["kill"][0]
    engine = job.open()
    ready = [engine.prepare(way, changes(rng, BATCH_CHANGES, pages)) for _ in range(50)]
    if job.way.endswith("commits of 1"):
        single = changes(rng, job.amount(_number(job.way), 20), pages)
        for change in single:
            engine.put(*change)
    else:
        commits = cycle(ready)
        most = job.amount(_number(job.way) * 1_000_000)
        while engine.counters()["log_bytes"] < most:
            engine.commit(way, next(commits))
        _half_a_tail(engine, lambda: engine.commit(way, next(commits)))
    return _die(engine, job)


def _half_a_tail(engine: Engine, commit: Callable[[], object]) -> None:
    """Commits until half of a new segment is full, and waits until the others are sealed."""
    stats: Callable[[], Any] = engine.db.stats  # type: ignore[attr-defined]
    segments = stats().segments
    while stats().segments == segments:
        commit()
    begun = stats().log_bytes
    while stats().log_bytes < begun + SEGMENT_BYTES // 2:
        commit()
    end = perf_counter() + SETTLE_SECONDS_MAX
    while stats().sealed_segments < stats().segments - 1 and perf_counter() < end:
        sleep(QUIET_SECONDS)


def _number(way: str) -> int:
    return int(way.split(maxsplit=1)[0].replace(",", ""))


def _die(engine: Engine, job: Job) -> Figures:
    engine.put(*marker(job.seed))
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("survived SIGKILL")


def kill_open(job: Job) -> Figures:
    """Open, and read the last change that was acknowledged."""
    adapter(job.engine).version()  # imports the engine
    page, offset, data = marker(job.seed)
    stored = sum(f.stat().st_size for f in job.directory.rglob("*") if f.is_file())
    settle(job.directory)
    start = perf_counter_ns()
    engine = job.open(cache_bytes=64 << 20)
    found = engine.get(page, offset, len(data))
    elapsed = perf_counter_ns() - start
    if found != data:
        raise AssertionError(f"{job.engine} has lost an acknowledged change")
    figures = {"open_ms": elapsed / 1e6, "stored_mb": stored / 1e6, **engine.opened()}
    engine.close()
    return figures


# -- following ------------------------------------------------------------------------------------


def follow(job: Job) -> Figures:
    """From a commit's return in the writer to its sight in a process that follows."""
    idle = job.way.startswith("idle")
    rate = IDLE_RATE if idle else _number(job.way)
    count = job.amount(FOLLOW_SECONDS * rate, 20)
    writers = 1 if idle else THREADS
    count -= count % writers
    todo = changes(random.Random(job.seed), count, job.amount(PAGES, 64))
    db: Any = job.open().db  # type: ignore[attr-defined]
    with db.transaction() as tx:
        tx.write(*todo[0])
    command = [sys.executable, "-m", "bench.compare.follow", str(job.directory), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        settle(job.directory)
        done: dict[int, int] = {}
        begin = perf_counter() + QUIET_SECONDS

        def work(mine: int) -> None:
            for number in range(mine, count, writers):
                sleep(max(0.0, begin + number / rate - perf_counter()))
                with db.transaction() as tx:
                    tx.write(*todo[number])
                done[tx.lsn] = time_ns()

        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(work, range(writers)))
        elapsed = perf_counter() - begin
        seen = json.loads(reader.stdout.read())
    db.close()
    figures = latencies([moment - done[lsn] for lsn, moment in seen])
    return {**figures, "p99_ms": figures["p99_us"] / 1e3, "commits_per_s": count / elapsed}


# -- the list -------------------------------------------------------------------------------------

row = partial(Workload, once={}, ways={}, more_is_better=True)

WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        row(
            name="one",
            title="One 100 B change per durable commit, one thread",
            what="5,000 commits of one random change each; the floor writes the same 100 bytes"
            " behind the last ones, into blocks written before, and calls fdatasync.",
            figure="commits_per_s",
            unit="commits/s",
            reference=FLOOR,
            each={"run": one},
            ways={FLOOR: ("write + fdatasync",)},
        ),
        row(
            name="threads",
            title="One 100 B change per durable commit, 16 threads",
            what="16 Python threads for two seconds. The floor is one C thread whose every write"
            " and fdatasync carries 16 changes: an upper bound that no 16 callers can reach.",
            figure="commits_per_s",
            unit="commits/s",
            reference="plyvel",
            each={"run": threads},
            ways={FLOOR: ("16 changes per fdatasync",)},
        ),
        row(
            name="tasks",
            title="One 100 B change per durable commit, 64 tasks of an event loop",
            what="asyncio, for two seconds. The floor is a group commit written for the purpose, in"
            " Python: a thread writes the 100 bytes of all tasks that have asked meanwhile with one"
            " write into blocks written before, calls fdatasync and wakes the loop once; no"
            " checksums, pages or order. plyvel, which cannot be awaited, has its 16 threads. A"
            " stall is how long the loop is away from its selector.",
            figure="commits_per_s",
            unit="commits/s",
            reference=FLOOR,
            each={"run": tasks},
            ways={FLOOR: ("group commit in Python",)},
        ),
        row(
            name="many",
            title="1,000 changes of 100 B per durable commit, random pages of 1 GiB",
            what="300 commits. What each way takes (a packed buffer, a list of pairs) is made"
            " before the timing; a second figure has the making in it.",
            figure="changes_per_s",
            unit="changes/s",
            reference="rocksdict",
            each={"run": many},
            ways={FLOOR: ("write 100 kB + fdatasync",)},
        ),
        row(
            name="bulk",
            title="Bulk load of 4 KiB pages, durable at the end",
            what="512 MiB of random pages in order, 1,024 a transaction, synced once at the end."
            " The floor writes as much by pieces of 1 MiB into a new file and calls fdatasync.",
            figure="mb_per_s",
            unit="MB/s",
            reference=FLOOR,
            each={"run": bulk},
            ways={FLOOR: ("write 1 MiB pieces + fdatasync",)},
        ),
        row(
            name="read",
            title="Cached random 4 KiB page reads from Python",
            what="300,000 reads of random pages of 256 MiB that were all read before. Keys are"
            " encoded beforehand. buffers=True and view_page give no copy, the others do.",
            figure="reads_per_s",
            unit="reads/s",
            reference="lmdb",
            once={"fill": read_fill},
            each={"run": read},
            ways={FLOOR: ("os.pread", "pread in C", "memcpy in C")},
        ),
        row(
            name="kill",
            title="Open after kill -9: 500,000 changes of 100 B, unclosed",
            what="A process makes 500 durable commits of 1,000 changes and kills itself; another"
            " opens the store and reads the last acknowledged change. Files are in the page cache.",
            figure="open_ms",
            unit="ms",
            more_is_better=False,
            reference="sqlite",
            each={"fill": kill_fill, "open": kill_open},
        ),
        row(
            name="flat",
            title="aurolog: open after kill -9, by the length of the log",
            what="The same, with commits of 1,000 until the log is as long as said, and on to the"
            " middle of the next segment, so that the tail is as long for all; or with as many"
            " commits of one change as said.",
            figure="open_ms",
            unit="ms",
            more_is_better=False,
            reference="aurolog",
            each={"fill": flat_fill, "open": kill_open},
            ways={"aurolog": ("50 MB", "200 MB", "800 MB", "2,000 MB", "20,000 commits of 1")},
            rounds_divisor=3,
        ),
        row(
            name="follow",
            title="aurolog: a follower's lag in another process, p99",
            what="From the return of a durable commit in the writer to the moment at which a"
            " process that follows has it in hand with its pages: 100 commits a second from one"
            " thread, and as many as said from 16. Below 0 where the follower was first.",
            figure="p99_ms",
            unit="ms",
            more_is_better=False,
            reference="aurolog",
            each={"run": follow},
            ways={"aurolog": ("idle writer", "5,000 commits/s")},
            rounds_divisor=3,
        ),
    )
}
