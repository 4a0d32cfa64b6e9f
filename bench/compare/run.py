"""Rounds: every contestant once a round, in an order that turns by one place each round.

The machine's speed drifts, so two figures mean something only when they were taken one right after
the other: ratios are made inside a round, never across. Turning the order lets nobody always come
after the same neighbour.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.compare.catalogue import ways
from bench.compare.engines import FLOOR, adapter
from bench.compare.workloads import Figures, Job, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

JOB_SECONDS_MAX = 600
ROUNDS_MIN = 3

Contestant = tuple[str, str]
"""An engine and a way."""
Samples = dict[Contestant, list[Figures]]
"""Each contestant's figures, by round."""


class JobError(Exception):
    """A contestant's process failed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked for."""

    engines: tuple[str, ...]
    rounds: int
    size: float
    seed: int
    directory: Path


def contestants(workload: Workload, engines: Sequence[str]) -> list[Contestant]:
    """Who takes part: each of these engines in each of its ways."""
    return [(engine, way) for engine in engines for way in ways(workload, engine)]


def rounds_of(workload: Workload, settings: Settings) -> int:
    """How many rounds this workload gets."""
    if workload.rounds_divisor == 1:
        return settings.rounds
    return min(settings.rounds, max(ROUNDS_MIN, settings.rounds // workload.rounds_divisor))


def run_workload(
    workload: Workload,
    settings: Settings,
    step: Callable[[str], None],
    failed: Callable[[str], None],
) -> Samples:
    """All rounds of one workload; `step` is told of each turn, `failed` of each that failed.

    A failed turn leaves an empty sample: the rounds of all contestants stay side by side.
    """
    team = contestants(workload, settings.engines)
    samples: Samples = {contestant: [] for contestant in team}
    with _directory(settings.directory) as root:
        kept = _fill_once(workload, settings, team, root, step)
        for number in range(rounds_of(workload, settings)):
            turn = number % max(1, len(team))
            for engine, way in team[turn:] + team[:turn]:
                step(f"round {number + 1}: {engine}, {way}")
                seed = settings.seed + number
                figures: Figures = {}
                try:
                    figures = _turn(workload, settings, (engine, way), kept.get(engine), root, seed)
                except JobError as error:
                    failed(str(error))
                samples[engine, way].append(figures)
    return samples


def _fill_once(
    workload: Workload,
    settings: Settings,
    team: Sequence[Contestant],
    root: Path,
    step: Callable[[str], None],
) -> Mapping[str, Path]:
    """Directories that are made once per engine, with their phases run."""
    kept: dict[str, Path] = {}
    for engine, way in team if workload.once else ():
        if engine in kept:
            continue
        step(f"filling: {engine}")
        kept[engine] = root / f"kept-{engine}"
        kept[engine].mkdir()
        for phase in workload.once:
            _job(Job(workload.name, phase, engine, way, kept[engine], settings.size, settings.seed))
    return kept


def _turn(
    workload: Workload,
    settings: Settings,
    contestant: Contestant,
    kept: Path | None,
    root: Path,
    seed: int,
) -> Figures:
    """One contestant's turn in one round; its figures are its last phase's."""
    engine, way = contestant
    figures: Figures = {}
    with _directory(root) as fresh:
        for phase in workload.each:
            job = Job(workload.name, phase, engine, way, kept or fresh, settings.size, seed)
            figures = _job(job, killed=phase == "fill")
    return figures


def _job(job: Job, *, killed: bool = False) -> Figures:
    """Run a job in a process of its own; `killed`: it must end itself by SIGKILL."""
    text = json.dumps({**asdict(job), "directory": str(job.directory)})
    done = subprocess.run(
        [sys.executable, "-m", "bench.compare.child", text],
        capture_output=True,
        text=True,
        timeout=JOB_SECONDS_MAX,
        check=False,
    )
    if killed and done.returncode == -signal.SIGKILL:
        return {}
    if killed or done.returncode != 0:
        name = f"{job.workload} ({job.phase}), {job.engine}, {job.way}"
        raise JobError(f"{name}: exit status {done.returncode}\n{done.stderr.strip()}")
    figures: Figures = json.loads(done.stdout)
    return figures


@contextmanager
def _directory(parent: Path) -> Iterator[Path]:
    """A fresh directory on the disk that is measured, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="aurolog-bench-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def known_engines(names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Versions of the engines that are installed, and why the others are not used."""
    versions, missing = {}, {}
    for name in names:
        if name == FLOOR:
            versions[name] = "floor.c"
            continue
        try:
            versions[name] = adapter(name).version()
        except ImportError as error:
            missing[name] = str(error)
    return versions, missing
