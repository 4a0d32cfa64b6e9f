"""The history as a tree for a terminal: what is drawn, and how it is folded.

The path of now is the stem, oldest first; what was left behind hangs at the LSN where it was left.
A line is an LSN, a time and what was there, so the LSN of whatever is seen can be gone back to.
What was left behind at one place is drawn as a stem of its own when something happened in it.

A history that is too long is folded: long stems in the middle, many rewinds to one LSN except the
newest, what is nested deeply. Values in, lines out: nothing here knows a volume or a terminal.
"""

import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from aurolog.cli.terminal import plural, printable
from aurolog.values import RestorePoint, Run

LINES_MAX = 100
"""A longer tree is folded more, until it is no longer or there is nothing left to fold."""

DEPTH_MAX = 6
"""How deeply stems hang at stems; what is deeper is drawn at the deepest one."""


class Limits(NamedTuple):
    """What is drawn before it is folded: entries of a stem, of those that hang at one LSN, and
    how deep."""

    entries: int
    hanging: int
    depth: int


EVERYTHING = Limits(sys.maxsize, sys.maxsize, DEPTH_MAX)
FOLDED = (
    Limits(sys.maxsize, sys.maxsize, DEPTH_MAX),
    Limits(sys.maxsize, 3, 3),
    Limits(24, 3, 2),
    Limits(12, 2, 1),
    Limits(8, 1, 0),
)


class Kind(Enum):
    """How a line is shown."""

    NOW = "now"
    CURRENT = "current"
    LEFT = "left behind"
    FOLDED = "folded"


@dataclass(frozen=True, slots=True)
class Count:
    """What is in a part of the tree."""

    runs: int = 0
    commits: int = 0
    points: int = 0

    def __add__(self, other: "Count") -> "Count":
        return Count(
            self.runs + other.runs, self.commits + other.commits, self.points + other.points
        )


NOTHING = Count()


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its part of the graph, an LSN to go back to, when that was, and what; `count` is
    what it stands for."""

    graph: str
    lsn: int | None
    time: datetime | None
    text: str
    kind: Kind
    count: Count = NOTHING


@dataclass(frozen=True, slots=True)
class Piece:
    """A run as far as a stem goes through it: the LSNs above `after`, up to `last`."""

    run: int
    after: int
    last: int


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stem begins: a run (by its number) from its branch point on, with `after` below it;
    or what of it lies above `after`."""

    run: int
    after: int


@dataclass(frozen=True, slots=True)
class Place:
    """An LSN on a stem, and what is there: the run that begins, restore points, what hangs."""

    lsn: int
    begins: int | None
    points: tuple[RestorePoint, ...]
    hanging: tuple[Start, ...]


class History:
    """Runs and restore points, and how they belong together."""

    def __init__(self, runs: Sequence[Run], points: Iterable[RestorePoint]) -> None:
        self.runs = sorted(runs, key=lambda run: run.lsn)
        self._first = [run.lsn for run in self.runs]
        self._children: list[list[int]] = [[] for _ in self.runs]
        self._points: list[list[RestorePoint]] = [[] for _ in self.runs]
        for number, run in enumerate(self.runs):
            if run.parent_lsn is not None and number:
                self._children[self.run_of(run.parent_lsn)].append(number)
        for point in sorted(points, key=lambda point: point.lsn):
            self._points[self.run_of(point.lsn)].append(point)
        # A run comes after the one that it goes on from.
        self._newest = list(range(len(self.runs)))
        self._count = [
            Count(1, _written(run), len(self._points[number]))
            for number, run in enumerate(self.runs)
        ]
        for number in range(len(self.runs) - 1, 0, -1):
            parent = self._parent(number)
            self._newest[parent] = max(self._newest[parent], self._newest[number])
            self._count[parent] += self._count[number]

    def run_of(self, lsn: int) -> int:
        """The number of the run that an LSN is in."""
        return max(bisect_right(self._first, lsn) - 1, 0)

    def _parent(self, number: int) -> int:
        return self.run_of(self.runs[number].parent_lsn or 0)

    def end(self, number: int) -> int:
        """The last LSN of a run that can be read: above it there is nothing, or recovery cut it."""
        run, following = self.runs[number], self.runs[number + 1 : number + 2]
        for cut in following:
            if cut.kind == "cut" and self._parent(number + 1) == number:
                return min(run.last_lsn, cut.parent_lsn or 0)
        return run.last_lsn

    def stem(self, start: Start) -> list[Piece]:
        """The path of the newest commit of what begins there, from the beginning on."""
        number = max((self._newest[child] for child in self._beyond(start)), default=start.run)
        pieces = [Piece(number, self.runs[number].lsn - 1, self.end(number))]
        while pieces[-1].run != start.run:
            last = self.runs[pieces[-1].run].parent_lsn or 0
            number = self.run_of(last)
            pieces.append(Piece(number, self.runs[number].lsn - 1, last))
        pieces[-1] = Piece(start.run, start.after, pieces[-1].last)
        return pieces[::-1]

    def _beyond(self, start: Start) -> list[int]:
        """The runs that go on from above there in the same run."""
        return [
            child
            for child in self._children[start.run]
            if (self.runs[child].parent_lsn or 0) > start.after
        ]

    def places(self, pieces: Sequence[Piece]) -> list[Place]:
        """What is on a stem, by LSN."""
        found: dict[int, tuple[list[int], list[RestorePoint], list[Start]]] = {}

        def at(lsn: int) -> tuple[list[int], list[RestorePoint], list[Start]]:
            return found.setdefault(lsn, ([], [], []))

        on_stem = {piece.run for piece in pieces}
        for piece in pieces:
            first = self.runs[piece.run].lsn
            if piece.after < first:
                at(first)[0].append(piece.run)
            for point in self._points[piece.run]:
                if piece.after < point.lsn <= piece.last:
                    at(point.lsn)[1].append(point)
            rest = Start(piece.run, piece.last)
            if self.end(piece.run) > piece.last or self._beyond(rest):
                at(piece.last)[2].append(rest)
            for child in self._children[piece.run]:
                lsn = self.runs[child].parent_lsn or 0
                if child not in on_stem and piece.after < lsn <= piece.last:
                    at(lsn)[2].append(Start(child, self.runs[child].lsn - 1))
        return [
            Place(lsn, begins[0] if begins else None, tuple(points), tuple(hanging))
            for lsn, (begins, points, hanging) in sorted(found.items())
        ]

    def count(self, start: Start) -> Count:
        """What is in all that begins there; the commits of a run only where it is whole."""
        if start.after < self.runs[start.run].lsn:
            return self._count[start.run]
        points = Count(points=len(self.points(start)))
        return sum((self._count[child] for child in self._beyond(start)), points)

    def points(self, start: Start) -> list[RestorePoint]:
        """The restore points in the run itself, from there on."""
        return [point for point in self._points[start.run] if point.lsn > start.after]

    def all_of(self, start: Start) -> Iterator[Start]:
        """Everything that begins there, each part by itself."""
        yield start
        todo = deque(self._beyond(start))
        while todo:
            number = todo.popleft()
            yield Start(number, self.runs[number].lsn - 1)
            todo += self._children[number]


class CurrentRanges:
    """The LSNs on the path of now: `lsn in ranges`."""

    def __init__(self, runs: Sequence[Run]) -> None:
        pieces = History(runs, ()).stem(Start(0, -1))
        self._firsts = [piece.after + 1 for piece in pieces]
        # Nothing was left behind above the newest commit.
        self._lasts = [*(piece.last for piece in pieces[:-1]), sys.maxsize * 2 + 1]

    def __contains__(self, lsn: int) -> bool:
        return lsn <= self._lasts[bisect_right(self._firsts, lsn) - 1]


def draw(runs: Sequence[Run], points: Iterable[RestorePoint], *, fold: bool = True) -> list[Line]:
    """The whole tree; folded, where it is long, unless told otherwise."""
    history = History(runs, points)
    if not fold:
        return list(_Drawing(history, EVERYTHING).lines())
    lines: list[Line] = []
    for limits in FOLDED:
        lines = list(_Drawing(history, limits).lines())
        if len(lines) <= LINES_MAX:
            break
    return lines


@dataclass(frozen=True, slots=True)
class _Drawing:
    history: History
    limits: Limits

    def lines(self) -> Iterator[Line]:
        start = Start(0, -1)
        pieces = self.history.stem(start)
        yield from self._stem(pieces, "", depth=0)
        newest = self.history.runs[-1]
        yield Line("▶", newest.last_lsn, newest.last_time, "now", Kind.NOW)

    def _stem(self, pieces: Sequence[Piece], prefix: str, depth: int) -> Iterator[Line]:
        places = self.history.places(pieces)
        entries = self.limits.entries if depth == 0 else self.limits.entries // 3
        if len(places) <= entries:
            for place in places:
                yield from self._place(place, prefix, depth)
            return
        head = entries // 4
        tail = len(places) - (entries - head - 1)
        for place in places[:head]:
            yield from self._place(place, prefix, depth)
        count = NOTHING
        for place in places[head:tail]:
            if place.begins is not None:
                count += Count(1, _written(self.history.runs[place.begins]))
            count = sum(map(self.history.count, place.hanging), count)
            count += Count(points=len(place.points))
        yield Line(f"{prefix}┊", None, None, f"… and {_counted(count)}", Kind.FOLDED, count)
        for place in places[tail:]:
            yield from self._place(place, prefix, depth)

    def _place(self, place: Place, prefix: str, depth: int) -> Iterator[Line]:
        kind = Kind.LEFT if depth else Kind.CURRENT
        if place.begins is not None:
            run = self.history.runs[place.begins]
            count = Count(1, _written(run))
            yield Line(f"{prefix}●", run.lsn, run.time, _began(run), kind, count)
        for point in place.points:
            yield _named(point, f"{prefix}◆", kind)
        rest = [start for start in place.hanging if start.after == place.lsn]
        rewinds = [start for start in place.hanging if start.after != place.lsn]
        for start in rest:
            yield from self._hanging(start, prefix, depth)
        shown = self.limits.hanging
        if len(rewinds) > shown + 1:  # a fold of one would be no shorter
            count = sum(map(self.history.count, rewinds[:-shown]), NOTHING)
            text = _many(len(rewinds) - shown, place.lsn, count)
            yield Line(f"{prefix}├─╴", None, None, text, Kind.FOLDED, count)
            rewinds = rewinds[-shown:]
        for start in rewinds:
            yield from self._hanging(start, prefix, depth)

    def _hanging(self, start: Start, prefix: str, depth: int) -> Iterator[Line]:
        """What was left behind: a line, or a stem of its own."""
        pieces = self.history.stem(start)
        begins = start.after < self.history.runs[start.run].lsn
        tip, graph = pieces[-1], f"{prefix}├─╴"
        if len(pieces) == 1 and not any(
            place.points or place.hanging for place in self.history.places(pieces)
        ):
            yield self._leaf(start, graph)
        elif depth < self.limits.depth:
            inner = f"{prefix}│ "
            lines = self._stem(pieces, inner, depth + 1)
            if begins:
                first = next(lines)
                text = f"left behind, {first.text}"
                yield replace(first, graph=f"{prefix}├─●", text=text)
            else:
                text = f"left behind, after LSN {start.after}"
                yield Line(f"{prefix}├─╮", None, None, text, Kind.LEFT)
            yield from lines
            yield Line(f"{inner}○", tip.last, self._time(tip), "its end", Kind.LEFT)
        elif self.limits.depth < DEPTH_MAX:
            count = self.history.count(start)
            text = f"left behind: {_counted(count)}"
            yield Line(graph, tip.last, self._time(tip), text, Kind.FOLDED, count)
        else:
            for part in self.history.all_of(start):
                yield self._leaf(part, graph)
                for point in self.history.points(part):
                    yield _named(point, f"{prefix}├─◆", Kind.LEFT)

    def _leaf(self, start: Start, graph: str) -> Line:
        run = self.history.runs[start.run]
        if start.after >= run.lsn:
            text, count = f"left behind, after LSN {start.after}", NOTHING
        else:
            text, count = f"left behind, {_began(run)}", Count(1, _written(run))
        tip = Piece(start.run, start.after, self.history.end(start.run))
        return Line(graph, tip.last, self._time(tip), text, Kind.LEFT, count)

    def _time(self, tip: Piece) -> datetime | None:
        run = self.history.runs[tip.run]
        return run.last_time if tip.last == run.last_lsn else None


def _named(point: RestorePoint, graph: str, kind: Kind) -> Line:
    name = printable(point.name)
    return Line(graph, point.lsn, point.time, name, kind, Count(points=1))


def _written(run: Run) -> int:
    """How many commits a run has, without its branch point."""
    return run.commits - (run.kind != "first")


def _began(run: Run) -> str:
    """What began a run, and how much is in it."""
    written = plural(_written(run), "commit")
    match run.kind:
        case "first":
            return f"the first run: {written}"
        case "cut":
            why = f" ({printable(run.reason)})" if run.reason else ""
            return f"cut after LSN {run.parent_lsn}{why}: {written}"
    note = f' "{printable(run.reason)}"' if run.reason else ""
    return f"rewind to LSN {run.parent_lsn}: {written}{note}"


def _counted(count: Count) -> str:
    parts = [plural(count.runs, "run")] if count.runs else []
    if count.commits:
        parts.append(plural(count.commits, "commit"))
    if count.points or not parts:
        parts.append(plural(count.points, "restore point"))
    return ", ".join(parts)


def _many(rewinds: int, lsn: int, count: Count) -> str:
    """What stands for so many rewinds to one LSN."""
    extra = [plural(count.runs, "run")] if count.runs > rewinds else []
    extra += [plural(count.points, "restore point")] if count.points else []
    within = f" ({', '.join(extra)})" if extra else ""
    return f"… {plural(rewinds, 'more rewind')} to LSN {lsn}, left behind{within}"
