"""The work that is about time: going back, going forward again, reading what was.

Rewinding has no peer among embedded stores; old versions are read by ZODB, too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from time import perf_counter, perf_counter_ns, sleep
from typing import TYPE_CHECKING, Any

from bench.compare.workloads import (
    PAGE_BYTES,
    QUIET_SECONDS,
    SETTLE_SECONDS_MAX,
    Figures,
    Job,
    Workload,
    changes,
    row,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

REWIND_PAGES = 1_000
TURNS = 5
"""Times back and forth; the median counts."""
REWINDS = 10_000
VERSIONS = 100
VERSION_PAGES = 1_000
READS = 5_000
DEPTH = 1_024
DISTANCE_BYTES = 4 * PAGE_BYTES
"""So much lies in the log between two changes that have a block of their own each."""
SWEEP = 64
"""Pages read to have the smallest cache forget all others."""


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _commits(job: Job) -> int:
    return job.amount(int(job.way.split(maxsplit=1)[0].replace(",", "")), 20)


def rewind(job: Job) -> Figures:
    """Over so many commits, and back: the rewind, the first read of a changed page, and the next
    durable commit."""
    rng = random.Random(job.seed)
    engine = job.open(durable=False)
    volume: Any = engine.db  # type: ignore[attr-defined]
    engine.put(0, 0, b"the first of all")
    base = volume.visible_lsn
    for change in changes(rng, _commits(job), REWIND_PAGES):
        engine.put(*change)
    newest = engine.db.sync()  # type: ignore[attr-defined]
    settle(job.directory)
    taken: dict[str, list[float]] = {"back": [], "forth": [], "rewind": []}
    for _ in range(TURNS):
        for name, target in (("back", base), ("forth", newest)):
            page = rng.randrange(REWIND_PAGES)
            start = perf_counter_ns()
            volume.backtrack(target)
            done = perf_counter_ns()
            volume[page]
            with volume.transaction(durability="sync") as tx:
                tx.write(page, 0, rng.randbytes(100))
            taken[name].append((perf_counter_ns() - start) / 1e6)
            taken["rewind"].append((done - start) / 1e6)
    start = perf_counter_ns()
    told = volume.backtrack(base, dry_run=True)
    dry = (perf_counter_ns() - start) / 1e6
    if told.commits < _commits(job):
        raise AssertionError(f"a dry run tells of {told.commits} commits")
    engine.close()
    return {
        "turn_ms": max(_median(taken["back"]), _median(taken["forth"])),
        "rewind_ms": _median(taken["rewind"]),
        "worst_ms": max(taken["back"] + taken["forth"]),
        "dry_run_ms": dry,
    }


def rewound(job: Job) -> Figures:
    """Cached reads, then 10,000 rewinds to one point with a commit before each, then the same."""
    rng = random.Random(job.seed)
    engine = job.open(durable=False)
    volume: Any = engine.db  # type: ignore[attr-defined]
    engine.commit("", changes(rng, REWIND_PAGES * 4, REWIND_PAGES))
    base = volume.visible_lsn
    pages = [rng.randrange(REWIND_PAGES) for _ in range(20_000)]

    def read_ns() -> float:
        taken = []
        for _ in range(9):
            start = perf_counter_ns()
            for page in pages:
                volume[page]
            taken.append((perf_counter_ns() - start) / len(pages))
        return min(taken[1:])  # the first brings them into the cache

    before = read_ns()
    start = perf_counter()
    for change in changes(rng, job.amount(REWINDS, 10), REWIND_PAGES):
        engine.put(*change)
        volume.backtrack(base)
    elapsed = perf_counter() - start
    after = read_ns()
    figures = {
        "after_by_before": after / before,
        "read_ns": after,
        "rewinds_per_s": job.amount(REWINDS, 10) / elapsed,
    }
    engine.close()
    return figures


def versions(job: Job) -> Figures:
    """1,000 pages of 4 KiB, each changed whole 100 times; random pages as of random moments."""
    rng = random.Random(job.seed)
    pages, count = job.amount(VERSION_PAGES, 8), job.amount(VERSIONS, 4)
    engine = job.open(durable=False)
    moments, was = [], {}
    for _ in range(count):
        todo = [(page, 0, rng.randbytes(PAGE_BYTES)) for page in range(pages)]
        engine.commit("", engine.prepare("", todo))
        moments.append(engine.moment())
        was[moments[-1]] = todo[0][2]
    engine.sync()
    engine.close()
    engine = job.open(durable=False)
    settle(job.directory)
    reads = job.amount(READS, 20)
    when = [rng.choice(moments) for _ in range(reads)]
    what = [rng.randrange(pages) for _ in range(reads)]
    start = perf_counter_ns()
    found = engine.read_at(job.way, when, what)
    elapsed = perf_counter_ns() - start
    for moment, page, data in zip(when, what, found, strict=True):
        if page == 0 and data != was[moment]:
            raise AssertionError(f"page 0 is not what it was at {moment}")
    engine.close()
    return {"reads_per_s": reads * 1e9 / elapsed}


def depth(job: Job) -> Figures:
    """A page as of 1,024 of its own changes ago and of one, its image before them; cold in the
    cache of pages, warm in that of the disk."""
    rng = random.Random(job.seed)
    count = job.amount(DEPTH, 64)
    volume: Any = job.open(durable=False).db  # type: ignore[attr-defined]
    with volume.transaction() as tx:
        tx[0] = rng.randbytes(PAGE_BYTES)
    lsns = []
    for number in range(count):
        with volume.transaction() as tx:
            tx.write(0, number * 100 % (PAGE_BYTES - 100), rng.randbytes(100))
        lsns.append(tx.lsn)
        if job.way.startswith("a block"):
            with volume.transaction() as tx:
                far = [("image", 1 + n, rng.randbytes(PAGE_BYTES)) for n in range(4)]
                tx.apply(far)
    others = range(SWEEP, 2 * SWEEP)
    with volume.transaction() as tx:
        tx.apply([("image", page, rng.randbytes(PAGE_BYTES)) for page in others])
    for _ in range(2):  # so that what was before is sealed
        with volume.transaction() as tx:
            tx.apply([("image", 1_000 + n, rng.randbytes(PAGE_BYTES)) for n in range(6_000)])
    end = perf_counter() + SETTLE_SECONDS_MAX
    while volume.stats().sealed_segments < 2 and perf_counter() < end:
        sleep(QUIET_SECONDS)
    volume.close()
    volume = job.open(cache_bytes=0).db  # type: ignore[attr-defined]
    settle(job.directory)

    def read_ns(lsn: int) -> float:
        taken = []
        with volume.at(lsn) as view:
            for _ in range(30):
                volume.read_many(others)
                start = perf_counter_ns()
                view[0]
                taken.append(perf_counter_ns() - start)
        return _median(taken)

    shallow, deep = read_ns(lsns[0]), read_ns(lsns[-1])
    volume.close()
    return {
        "ns_per_record": (deep - shallow) / (count - 1),
        "cold_us": shallow / 1e3,
        "deep_us": deep / 1e3,
    }


WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        row(
            name="rewind",
            title="aurolog: rewind and back, by the number of commits between",
            what="Back to the first commit and forth to the newest, five times, each with the first"
            " read of a changed page and the next durable commit: the slower way's median.",
            figure="turn_ms",
            unit="ms",
            more_is_better=False,
            reference="aurolog",
            each={"run": rewind},
            ways={"aurolog": ("1,000 commits", "30,000 commits", "1,000,000 commits")},
            rounds_divisor=3,
        ),
        row(
            name="rewound",
            title="aurolog: cached reads after 10,000 rewinds to one point",
            what="Random cached pages by db[page], after the rewinds by before them; a commit"
            " comes before each rewind.",
            figure="after_by_before",
            unit="×",
            more_is_better=False,
            reference="aurolog",
            each={"run": rewound},
            ways={"aurolog": ("db[page]",)},
            rounds_divisor=3,
        ),
        row(
            name="versions",
            title="Random old versions of 4 KiB pages, after a restart",
            what="1,000 pages changed whole 100 times, opened again: 5,000 random pages as of"
            " random moments. Files are in the page cache.",
            figure="reads_per_s",
            unit="reads/s",
            reference="zodb",
            each={"run": versions},
            rounds_divisor=3,
        ),
        row(
            name="depth",
            title="aurolog: a page as of many of its own changes ago",
            what="A page with an image and 1,024 changes of 100 B behind it, each a commit; the"
            " time of each further change to be applied, beyond a cold read of one.",
            figure="ns_per_record",
            unit="ns",
            more_is_better=False,
            reference="aurolog",
            each={"run": depth},
            ways={"aurolog": ("adjacent in the log", "a block of the log each")},
            rounds_divisor=3,
        ),
    )
}
