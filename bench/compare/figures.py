"""From samples to what may be said: medians, ratios inside a round, targets. Pure.

A ratio is made of two figures of the same round; the figure that counts is the median of these
ratios, and its spread (least, quartiles, greatest) is always shown beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeAlias

Sample: TypeAlias = Mapping[str, float]
Samples: TypeAlias = Mapping[tuple[str, str], Sequence[Sample]]
"""Figures by round, of each engine and way; an empty one where the contestant failed."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A few values: five points of them, and how many there were."""

    least: float
    lower: float
    median: float
    upper: float
    greatest: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """None when there are no values."""
        if not values:
            return None
        ordered = sorted(values)
        lower, upper = ordered[0], ordered[-1]
        if len(ordered) > 1:
            lower, _, upper = quantiles(ordered, n=4, method="inclusive")
        return cls(ordered[0], lower, median(ordered), upper, ordered[-1], len(ordered))


def spread(rounds: Sequence[Sample], figure: str) -> Spread | None:
    """One figure of one contestant over all rounds that have it."""
    return Spread.of([sample[figure] for sample in rounds if figure in sample])


def ratios(mine: Sequence[Sample], theirs: Sequence[Sample], figure: str) -> Spread | None:
    """My figure by theirs, round by round."""
    pairs = zip(mine, theirs, strict=False)
    return Spread.of([a[figure] / b[figure] for a, b in pairs if a.get(figure) and b.get(figure)])


@dataclass(frozen=True, slots=True)
class Target:
    """A bound that one contestant's figure must keep, alone or by another's."""

    workload: str
    must: str
    mine: tuple[str, str]
    figure: str
    bound: float
    at_least: bool = True
    theirs: tuple[str, str] | None = None
    form: str = "{:.2f}"
    """How one value is shown."""

    def measured(self, samples: Samples) -> Spread | None:
        """What was measured; None when one of the two did not run."""
        mine = samples.get(self.mine, ())
        if self.theirs is None:
            return spread(mine, self.figure)
        return ratios(mine, samples.get(self.theirs, ()), self.figure)

    def reached(self, measured: Spread) -> bool:
        """Whether the median keeps the bound."""
        return measured.median >= self.bound if self.at_least else measured.median <= self.bound


_WRITE = ("aurolog", "tx.write")
_TASKS = ("aurolog", "async with")
_FLOOR_ONE = ("floor", "write + fdatasync")
_FLOOR_BULK = ("floor", "write 1 MiB pieces + fdatasync")
_ROCKS_MANY = ("rocksdict", "WriteBatch")
_LMDB_READ = ("lmdb", "txn.get")
_FLAT_BOUND = 1.5

TARGETS: Sequence[Target] = (
    Target("one", "≥ 0.90 × the floor", _WRITE, "commits_per_s", 0.90, theirs=_FLOOR_ONE),
    Target("one", "≥ 1 × sqlite", _WRITE, "commits_per_s", 1.0, theirs=("sqlite", "execute")),
    Target("one", "p99 ≤ 1.3 × the floor's", _WRITE, "p99_us", 1.3, False, _FLOOR_ONE),
    Target("one", "≤ 1 sync per commit", _WRITE, "syncs_per_commit", 1.0, False, form="{:.4f}"),
    Target(
        "one",
        "≤ 100 + 4,096 bytes written per commit",
        _WRITE,
        "disk_write_bytes_per_commit",
        4196,
        False,
        form="{:,.0f}",
    ),
    Target("threads", "≥ 1.3 × plyvel", _WRITE, "commits_per_s", 1.3, theirs=("plyvel", "put")),
    Target(
        "tasks",
        "≥ 0.8 × a group commit in Python",
        _TASKS,
        "commits_per_s",
        0.8,
        theirs=("floor", "group commit in Python"),
    ),
    Target(
        "tasks",
        "≥ 1.3 × plyvel's 16 threads",
        _TASKS,
        "commits_per_s",
        1.3,
        theirs=("plyvel", "put, 16 threads"),
    ),
    Target("tasks", "stall p99 ≤ 1 ms", _TASKS, "stall_p99_us", 1000, False, form="{:,.0f}"),
    Target(
        "many",
        "packed tx.apply ≥ 3 × rocksdict",
        ("aurolog", "packed tx.apply"),
        "changes_per_s",
        3.0,
        theirs=_ROCKS_MANY,
    ),
    Target(
        "many",
        "iterable tx.apply ≥ 1.5 × rocksdict",
        ("aurolog", "iterable tx.apply"),
        "changes_per_s",
        1.5,
        theirs=_ROCKS_MANY,
    ),
    Target(
        "many",
        "one call per change ≥ 1 × rocksdict",
        ("aurolog", "tx.write each"),
        "changes_per_s",
        1.0,
        theirs=_ROCKS_MANY,
    ),
    *(
        Target(
            "bulk",
            f"{way} ≥ 0.9 × plain write + sync",
            ("aurolog", way),
            "mb_per_s",
            0.9,
            theirs=_FLOOR_BULK,
        )
        for way in ("tx[page] = image", "packed tx.apply")
    ),
    Target(
        "bulk",
        "≤ 1.02 log bytes per user byte",
        ("aurolog", "tx[page] = image"),
        "log_bytes_per_byte",
        1.02,
        False,
        form="{:.4f}",
    ),
    Target(
        "read",
        "db[page] ≥ 1.3 × lmdb",
        ("aurolog", "db[page]"),
        "reads_per_s",
        1.3,
        theirs=_LMDB_READ,
    ),
    Target(
        "read",
        "read_many ≥ 4 × lmdb",
        ("aurolog", "read_many"),
        "reads_per_s",
        4.0,
        theirs=_LMDB_READ,
    ),
    Target("kill", "≤ 35 ms", ("aurolog", "packed tx.apply"), "open_ms", 35, False, form="{:.1f}"),
    Target(
        "flat",
        f"2,000 MB ≤ {_FLAT_BOUND} × 50 MB",
        ("aurolog", "2,000 MB"),
        "open_ms",
        _FLAT_BOUND,
        False,
        ("aurolog", "50 MB"),
    ),
    *(
        Target(
            "rewind",
            f"{way} ≤ 10 ms",
            ("aurolog", way),
            "turn_ms",
            10.0,
            False,
        )
        for way in ("1,000 commits", "1,000,000 commits")
    ),
    Target(
        "rewind",
        f"1,000,000 commits ≤ {_FLAT_BOUND} × 1,000",
        ("aurolog", "1,000,000 commits"),
        "turn_ms",
        _FLAT_BOUND,
        False,
        ("aurolog", "1,000 commits"),
    ),
    Target(
        "rewound",
        "≤ 1.1 × before",
        ("aurolog", "db[page]"),
        "after_by_before",
        1.1,
        False,
        form="{:.3f}",
    ),
    Target(
        "versions",
        "≥ 1 × zodb",
        ("aurolog", "db.at(lsn)[page]"),
        "reads_per_s",
        1.0,
        theirs=("zodb", "loadBefore"),
    ),
    Target(
        "depth",
        "adjacent ≤ 100 ns per record",
        ("aurolog", "adjacent in the log"),
        "ns_per_record",
        100.0,
        False,
        form="{:.0f}",
    ),
    Target(
        "depth",
        "a block each ≤ 3,000 ns per record",
        ("aurolog", "a block of the log each"),
        "ns_per_record",
        3000.0,
        False,
        form="{:.0f}",
    ),
    Target(
        "follow",
        "half of the lags ≤ 1 ms behind an idle writer",
        ("aurolog", "idle writer"),
        "p50_us",
        1000,
        False,
        form="{:,.0f} µs",
    ),
    Target(
        "follow",
        "p99 ≤ 5 ms at 5,000 commits/s",
        ("aurolog", "5,000 commits/s"),
        "p99_ms",
        5,
        False,
        form="{:.2f} ms",
    ),
)
