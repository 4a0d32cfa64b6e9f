"""All workloads, and who takes part in which."""

from __future__ import annotations

from collections.abc import Mapping

from bench.compare import past, workloads
from bench.compare.engines import FLOOR, adapter
from bench.compare.workloads import Figures, Job, Workload

WORKLOADS: Mapping[str, Workload] = {**workloads.WORKLOADS, **past.WORKLOADS}


def ways(workload: Workload, engine: str) -> tuple[str, ...]:
    """How this engine does this work; empty when it does not take part."""
    if engine in workload.ways or engine == FLOOR:
        return workload.ways.get(engine, ())
    if workload.name in {"flat", "follow"}:
        return ()
    return tuple(adapter(engine).ways.get(workload.name, ()))


def run(job: Job) -> Figures:
    """Carry the job out, in this process."""
    workload = WORKLOADS[job.workload]
    phase = workload.once.get(job.phase) or workload.each[job.phase]
    return phase(job)
