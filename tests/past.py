"""A plain model of a volume's past: its commits and what each goes on from, its runs and its names.

It is as slow as it is simple: every question is answered by walking from commit to commit. What the
pages were is `support.Model`'s to know.
"""

from __future__ import annotations

import bisect
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import aurolog

REASON_BYTES = 28
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_of(nanoseconds: int) -> datetime:
    """A clock's answer as the API shows it."""
    return EPOCH + timedelta(microseconds=nanoseconds // 1000)


def nanoseconds_until(time: datetime) -> int:
    """The end of the datetime's microsecond: the latest moment that it may mean."""
    return (time - EPOCH) // timedelta(microseconds=1) * 1000 + 999


def reason_of(note: str) -> str:
    """What `history` shows of a rewind's note."""
    return note.encode()[:REASON_BYTES].decode(errors="ignore")


@dataclass(frozen=True)
class Commit:
    """One commit, control batches too."""

    lsn: int
    first_lsn: int
    nanoseconds: int
    epoch: int
    parent_lsn: int  # what it goes on from
    touched: frozenset[int]  # pages
    begins: str = ""  # a run: "rewind" or "cut"
    reason: str = ""


@dataclass
class Name:
    """A restore point, and when it was there."""

    point: aurolog.RestorePoint
    made_lsn: int
    deleted_lsn: int = 0

    def is_there(self, lsn: int) -> bool:
        """As of an LSN."""
        return self.made_lsn <= lsn and not 0 < self.deleted_lsn <= lsn


class Past:
    """Everything that was ever committed, in the order of the log."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.names: list[Name] = []

    @property
    def newest_lsn(self) -> int:
        """That of the last commit."""
        return self.commits[-1].lsn if self.commits else 0

    @property
    def newest_nanoseconds(self) -> int:
        """Its time."""
        return self.commits[-1].nanoseconds if self.commits else 0

    def add(self, commit: Commit) -> None:
        """The next one."""
        assert commit.first_lsn > self.newest_lsn
        assert commit.nanoseconds >= self.newest_nanoseconds
        self.commits.append(commit)

    # Names

    def point(self, name: str, lsn: int, made_ns: int) -> aurolog.RestorePoint:
        """What a restore point of the last commit at or below the LSN is."""
        named = self.last(lsn)
        return aurolog.RestorePoint(
            name=name,
            lsn=named.lsn if named else 0,
            time=time_of(named.nanoseconds) if named else None,
            made=time_of(made_ns),
        )

    def points(self, lsn: int) -> dict[str, aurolog.RestorePoint]:
        """Those that there are as of an LSN, by what they name."""
        there = [name.point for name in self.names if name.is_there(lsn)]
        return {point.name: point for point in sorted(there, key=lambda point: point.lsn)}

    def make(self, point: aurolog.RestorePoint, made_lsn: int) -> None:
        """It is made by the commit of that LSN."""
        self.names.append(Name(point, made_lsn))

    def delete(self, point: aurolog.RestorePoint, deleted_lsn: int) -> None:
        """It is deleted by the commit of that LSN."""
        (there,) = [n for n in self.names if n.point == point and not n.deleted_lsn]
        there.deleted_lsn = deleted_lsn

    # Moments

    def last(self, lsn: int) -> Commit | None:
        """The last commit at or below the LSN: of its run, or what that goes on from."""
        at = bisect.bisect_right(self.commits, lsn, key=lambda commit: commit.lsn)
        return self.commits[at - 1] if at else None

    def is_cut(self, lsn: int) -> bool:
        """Whether recovery cut it."""
        at = bisect.bisect_left(self.commits, lsn, key=lambda commit: commit.lsn)
        if at == len(self.commits):
            return False
        following = self.commits[at]
        return following.begins == "cut" and following.parent_lsn < lsn < following.first_lsn

    def last_by(self, nanoseconds: int) -> Commit | None:
        """The last commit at or before the time, in the order of the log."""
        return next((c for c in reversed(self.commits) if c.nanoseconds <= nanoseconds), None)

    # Paths

    def path(self, lsn: int) -> list[Commit]:
        """The commits that lead to the LSN, newest first."""
        found = []
        at = self.last(lsn)
        while at:
            found.append(at)
            at = self.last(at.parent_lsn)
        return found

    def apart(self, a: int, b: int) -> tuple[int, int]:
        """How many commits lie on one path and not on the other."""
        left, right = ({commit.lsn for commit in self.path(lsn)} for lsn in (a, b))
        return len(left - right), len(right - left)

    def touched(self, a: int, b: int) -> list[int]:
        """The pages that the commits touched which lie on one of two paths only, ascending."""
        left, right = ({c.lsn: c for c in self.path(lsn)} for lsn in (a, b))
        return sorted(
            set().union(
                *(c.touched for c in left.values() if c.lsn not in right),
                *(c.touched for c in right.values() if c.lsn not in left),
            )
        )

    # Runs

    def history(self, lsn: int) -> tuple[aurolog.Run, ...]:
        """The runs as of an LSN, which is a commit's."""
        commits = [commit for commit in self.commits if commit.lsn <= lsn]
        starts = [0, *(commit.lsn for commit in commits if commit.begins), 1 << 64]
        path = [commit.lsn for commit in self.path(lsn)]
        return tuple(
            self._run(
                [c for c in commits if start <= c.lsn < end],
                start,
                any(start <= on < end for on in path) or start == 0,
            )
            for start, end in itertools.pairwise(starts)
        )

    def _run(self, commits: list[Commit], start: int, current: bool) -> aurolog.Run:
        first = commits[0] if start else None
        last = commits[-1] if commits else None
        return aurolog.Run(
            lsn=start,
            kind=first.begins if first else "first",
            parent_lsn=first.parent_lsn if first else None,
            time=time_of(first.nanoseconds) if first else None,
            epoch=first.epoch if first else 0,
            reason=first.reason if first else "",
            last_lsn=last.lsn if last else 0,
            last_time=time_of(last.nanoseconds) if last else None,
            commits=len(commits),
            current=current,
        )
