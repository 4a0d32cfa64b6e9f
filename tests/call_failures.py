"""Makes each call of the disk table fail once, and for ever, and looks what becomes of the volume.

    make call-failures                      # every call site and every way to it, as TIME allows
    make call-failures TIME=0               # in every program, too
    python tests/call_failures.py --count   # no fault: how often a program made which call

The programs are in `call_scenarios.py`, the table with the faults in `csrc/faultdisk/`, its callers
in `call_sites.py`, the processes that run programs in `call_workers.py`. A first run of each
program finds the calls that it makes. A call is known by the chain of the engine's functions that
it comes through, its *stack*; the innermost of them has the call's *site*. Then each is made to
fail: first every site with every fault, then every stack, then every stack in every program at its
first, second and last call, then every call. Which of the many calls that would do stands for its
site or stack is drawn from the seed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import queue
import random
import re
import shlex
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from call_report import not_hit, summary, table, unexcused
from call_sites import NO_FAILURE, Places, Site, Stack, sites
from call_workers import Worker, build, count_calls, sanitizer_libraries, scratch
from repeating import python, repeat
from seeded_bugs import put_into

PROBLEMS_SHOWN = 20

SHORT, NOTHING, STALL = -1, -2, -3
#: interrupted or short, they are asked again: nobody may notice
REPEATED = {"read", "write", "sync", "sync_directory", "allocate", "truncate"}
#: what a failing call may have done all the same
DOUBTFUL = {"open", "read", "write", "sync", "allocate", "truncate", "rename", "unlink", "list"} | {
    "sync_directory",
    "make_directory",
}
SYNCS = {"sync", "sync_directory"}
#: the functions that write and sync the log of an open volume
LOG_WRITERS = {"sync_logged", "write_segment", "write_bulk"}
#: of a full disk: what needs space there
SPACE = {"write", "allocate", "truncate", "make_directory", "rename"}
MEMORY = {"allocate_memory"}
#: programs with threads of Python's, or that wait for a time
UNSTEADY = {"awaited", "reader_moves_on", "two_threads"}


@dataclass(frozen=True)
class Fault:
    """What happens to one call, and to those after it."""

    name: str
    error: int
    after: bool
    kinds: int
    harmless: bool


@dataclass(frozen=True)
class Case:
    """One run: where the fault is, and which."""

    program: str
    threads: bool
    stack: Stack
    occurrence: int
    fault: Fault


class Campaign:
    """Finds the calls, has them fail, and keeps what came of it."""

    def __init__(self, module: Path, base: Path, options: argparse.Namespace) -> None:
        self.options = options
        self.places = Places(module)
        preload = sanitizer_libraries() if options.sanitize else ""
        self.workers = [Worker(module, base, preload) for _ in range(options.jobs)]
        hello = self.workers[0].hello
        self.kinds: list[str] = hello["kinds"]
        self.programs: list[str] = hello["programs"]
        self.sites = sites()
        self.stacks: dict[int, Stack] = {}
        self.site_of: dict[int, list[Site]] = {}
        self.calls: dict[tuple[str, bool], dict[int, int]] = {}
        self.problems: list[str] = []
        self.told: Counter[str] = Counter()
        self.runs = self.missed = 0
        self.lock = threading.Lock()

    def request(self, program: str, threads: bool, **more: Any) -> dict[str, Any]:
        """What a worker is asked."""
        plain = {"program": program, "threads": threads, "prepare": False, "fault": None}
        return {
            **plain,
            "seed": self.options.seed,
            "seconds": self.options.hang,
            **more,
        }

    def learn(self, rows: list[list[Any]]) -> None:
        """Stacks that are new."""
        new = [row for row in rows if row[4] and row[0] not in self.stacks]
        self.places.resolve(frame for row in new for frame in row[4])
        for number, kind, _, _, frames in new:
            stack = Stack(number, self.kinds[kind], tuple(frames))
            self.stacks[number] = stack
            self.site_of[number] = self.find_sites(stack)
            for site in self.site_of[number]:
                site.stacks.add(number)

    def find_sites(self, stack: Stack) -> list[Site]:
        """The site of the call, and the one inside disk.c where a helper made it."""
        found = []
        for frame in stack.frames:
            _, file, line = self.places[frame]
            for site in self.sites:
                if (
                    site.file == file
                    and site.first <= line <= site.last
                    and stack.kind in site.kinds
                ):
                    found.append(site)
                    break
            if file != "disk.c":
                break
        return found

    def discover(self) -> None:
        """Runs every program without a fault."""
        for program in self.programs:
            answer = self.workers[0].ask(self.request(program, False, prepare=True))
            self.note(f"{program}, before any fault", answer["problems"])
            for threads in (False, True):
                answer = self.workers[0].ask(self.request(program, threads))
                self.note(f"{program}, threads {threads}, no fault", answer["problems"])
                rows = answer.get("stacks", [])
                self.learn(rows)
                self.calls[program, threads] = {row[0]: row[2] for row in rows}

    def note(self, what: str, problems: list[str]) -> None:
        """Something that must not be."""
        self.problems += [f"{what}: {problem}" for problem in problems]

    def faults(self, kind: str) -> Iterator[Fault]:
        """All that may happen to a call of this kind."""
        own = 1 << self.kinds.index(kind)
        everything = sum(
            1 << n for n, name in enumerate(self.kinds) if name not in NO_FAILURE | MEMORY
        )
        space = sum(1 << n for n, name in enumerate(self.kinds) if name in SPACE)
        if kind in NO_FAILURE:
            return
        if kind in MEMORY:
            yield Fault("no memory once", errno.ENOMEM, False, 0, False)
            yield Fault("no memory for ever", errno.ENOMEM, False, own, False)
            yield Fault(
                "no memory, then EIO everywhere for ever", errno.EIO, False, everything, False
            )
            return
        repeated = kind in REPEATED
        for mode, kinds in (("once", 0), ("for ever", own)):
            yield Fault(f"EIO {mode}", errno.EIO, False, kinds, False)
            yield Fault(f"ENOSPC {mode}", errno.ENOSPC, False, kinds, False)
            yield Fault(f"EINTR {mode}", errno.EINTR, False, kinds, repeated and mode == "once")
            if kind in DOUBTFUL:
                yield Fault(f"EIO done {mode}", errno.EIO, True, kinds, False)
            if kind in ("read", "write"):
                yield Fault(f"short {mode}", SHORT, False, kinds, True)
            if kind == "write":
                yield Fault(f"short, nothing {mode}", NOTHING, False, kinds, False)
        if kind == "sync":
            yield Fault("stalled once", STALL, False, 0, True)
        if kind == "unlink":  # what some systems say of a directory
            closing = 1 << self.kinds.index("close")
            yield Fault("EPERM once", errno.EPERM, False, 0, False)
            yield Fault("EPERM once, of closing for ever", errno.EPERM, False, closing, False)
            yield Fault("EPERM everywhere for ever", errno.EPERM, False, everything, False)
        yield Fault("EIO everywhere for ever", errno.EIO, False, everything, False)
        if kind in SPACE:
            yield Fault("ENOSPC everywhere for ever", errno.ENOSPC, False, space, False)

    @staticmethod
    def is_steady(program: str, threads: bool) -> bool:
        """Whether it makes the same calls every time, since no other thread has a say."""
        return not threads and program not in UNSTEADY

    def plan(self) -> list[list[Case]]:
        """All cases in four levels, none twice."""
        rng = random.Random(self.options.seed)
        often: list[tuple[str, bool, int, int]] = []
        every: list[tuple[str, bool, int, int]] = []
        for (program, threads), calls in self.calls.items():
            for number, count in calls.items():
                picked = {1, min(2, count), count}
                often += [(program, threads, number, n) for n in sorted(picked)]
                rest = set(range(1, count + 1)) - picked
                every += [(program, threads, number, n) for n in sorted(rest)]
        rng.shuffle(often)
        often.sort(key=lambda one: not self.is_steady(one[0], one[1]))
        levels: list[list[Case]] = [[], [], [], []]
        sites_done: set[tuple[Any, ...]] = set()
        stacks_done: set[tuple[int, str]] = set()
        for program, threads, number, occurrence in often:
            stack = self.stacks[number]
            places = [(site.file, site.first) for site in self.site_of[number]]
            for fault in self.faults(stack.kind):
                case = Case(program, threads, stack, occurrence, fault)
                keys = {(*place, stack.kind, fault.name) for place in places}
                if not keys <= sites_done:
                    sites_done |= keys
                    stacks_done.add((number, fault.name))
                    levels[0].append(case)
                elif (number, fault.name) not in stacks_done:
                    stacks_done.add((number, fault.name))
                    levels[1].append(case)
                else:
                    levels[2].append(case)
        levels[3] = [
            Case(program, threads, self.stacks[number], occurrence, fault)
            for program, threads, number, occurrence in every
            for fault in self.faults(self.stacks[number].kind)
        ]
        for level in levels:
            rng.shuffle(level)
        return levels

    def run(self, case: Case, worker: Worker) -> None:
        """One case, and what it says about the engine."""
        fault = case.fault
        answer = worker.ask(
            self.request(
                case.program,
                case.threads,
                fault={
                    "stack": case.stack.stack,
                    "occurrence": case.occurrence,
                    "kinds": fault.kinds,
                    "error": fault.error,
                    "after": int(fault.after),
                    "harmless": fault.harmless,
                    "memory": case.stack.kind in MEMORY,
                    "sync": self.is_failed_sync(case),
                    "final": self.is_final(case),
                },
            )
        )
        with self.lock:
            self.runs += 1
            self.told.update(answer.get("told", ()))
            self.learn(answer.get("stacks", []))
            if "failed" in answer and not answer["failed"]:
                self.missed += 1
                if self.is_steady(case.program, case.threads):
                    self.note(self.command(case), ["the call was not made"])
            else:
                for site in self.site_of[case.stack.stack]:
                    site.tried[fault.name] += 1
            for number, _, _, failed, _ in answer.get("stacks", []):
                for site in self.site_of[number] if failed else ():
                    site.failed += failed
            self.note(
                f"{self.command(case)}\n    {self.places.chain(case.stack)}", answer["problems"]
            )

    def functions(self, case: Case) -> set[str]:
        """That the call comes through."""
        return {self.places[frame][0] for frame in case.stack.frames}

    def is_failed_sync(self, case: Case) -> bool:
        """Whether nothing fails but syncs, so that nothing may be acknowledged meanwhile. On a full
        disk a manifest is written a second time, in a file of its own."""
        fault, kind = case.fault, case.stack.kind
        again = fault.error == errno.ENOSPC and "write_beside" in self.functions(case)
        own = 1 << self.kinds.index(kind)
        return kind in SYNCS and not fault.harmless and not again and fault.kinds in (0, own)

    def is_final(self, case: Case) -> bool:
        """Whether it is a sync or a write of the log that fails: then nothing is ever written. The
        durable word, told to readers after a sync, is no part of the log."""
        if case.fault.harmless or case.stack.kind not in SYNCS | {"write"}:
            return False
        functions = self.functions(case)
        return not functions.isdisjoint(LOG_WRITERS) and "aul_lock_tell_durable" not in functions

    def command(self, case: Case) -> str:
        """What repeats it, with the same build."""
        chosen = {
            "seed": self.options.seed,
            "program": case.program,
            "threads": int(case.threads),
            "stack": case.stack.stack,
            "occurrence": case.occurrence,
            "fault": case.fault.name,
            "sanitize": self.options.sanitize,
        }
        words = [python(), "tests/call_failures.py"]
        for name, value in chosen.items():
            if value == "":
                continue
            words += [f"--{name}", str(value)]
        return shlex.join(words)

    def go(self, cases: Iterable[Case], deadline: float | None) -> int:
        """All cases, as far as there is time; returns how many there were."""
        waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
        for case in cases:
            waiting.put(case)
        begun = self.runs

        def work(worker: Worker) -> None:
            with contextlib.suppress(queue.Empty):
                while deadline is None or time.monotonic() < deadline:
                    self.run(waiting.get_nowait(), worker)

        with ThreadPoolExecutor(len(self.workers)) as pool:
            list(pool.map(work, self.workers))  # raises what one of them raised
        return self.runs - begun


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--time", type=float, default=60, help="seconds; 0: everything")
    parser.add_argument("--levels", type=int, default=3, help="1 sites … 4 every call")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--hang", type=float, default=30, help="seconds until a run counts as hung")
    parser.add_argument("--sanitize", default="", help="address,undefined")
    parser.add_argument("--table", type=Path, help="a file for the table of all call sites")
    parser.add_argument("--document", type=Path, help="a file to put the summary into")
    parser.add_argument("--count", action="store_true", help="no fault: print the calls as JSON")
    parser.add_argument("--directory", type=Path, help="of --count: where the volume is made")
    parser.add_argument("--program")
    parser.add_argument("--threads", type=int, choices=(0, 1))
    parser.add_argument("--stack", type=int)
    parser.add_argument("--occurrence", type=int)
    parser.add_argument("--fault")
    return parser.parse_args()


def chosen(case: Case, options: argparse.Namespace) -> bool:
    """Whether the command line asks for this case."""
    return (
        options.program in (None, case.program)
        and options.threads in (None, int(case.threads))
        and options.stack in (None, case.stack.stack)
        and options.occurrence in (None, case.occurrence)
        and options.fault in (None, case.fault.name)
    )


def main() -> int:
    """The command."""
    options = parse()
    module = build(options.sanitize)
    if options.count:
        with scratch() as base:
            return count_calls(module, options.directory or base)
    begin = time.monotonic()
    with scratch() as base:
        campaign = Campaign(module, base, options)
        campaign.discover()
        levels = campaign.plan()
        complete = False  # every call of the table had each fault
        deadline = begin + options.time if options.time else None
        for number, level in enumerate(levels, 1):
            if number > (options.levels if options.stack is None else 4):
                break
            cases = [case for case in level if chosen(case, options)]
            done = campaign.go(cases, deadline)
            print(f"level {number}: {done} of {len(cases)} cases", flush=True)
            complete |= number == 2 and done == len(level)
        for worker in campaign.workers:
            worker.close()
    report(campaign, options, time.monotonic() - begin, complete)
    if not campaign.runs:
        print("nothing was tried: no such call, or too little time to find the calls and try one")
    return 1 if campaign.problems or not campaign.runs else 0


def report(campaign: Campaign, options: argparse.Namespace, seconds: float, complete: bool) -> None:
    """What came of it."""
    missed = unexcused(campaign.sites)
    if complete:
        for site in missed:
            campaign.note(
                f"{site.file}:{site.first}", [f"never failed, without a reason: {site.text}"]
            )
    if options.table:
        options.table.parent.mkdir(parents=True, exist_ok=True)
        options.table.write_text(table(campaign.sites) + "\n", encoding="utf-8")
    if options.document:
        put_into(options.document, summary(campaign.sites), "call failures")
    shapes: Counter[str] = Counter()
    for problem in campaign.problems:
        shape = re.sub(r"\d+", "#", problem.rpartition("\n")[2].rpartition(" > ")[2])
        shapes[shape] += 1
        if shapes[shape] == 1 and len(shapes) <= PROBLEMS_SHOWN:
            print(problem)
    for shape, times in shapes.most_common() if len(shapes) < len(campaign.problems) else ():
        print(f"{times} times: {shape}")
    hit = len(campaign.sites) - len(not_hit(campaign.sites))
    print(f"told as, what programs ask for to be refused too: {dict(campaign.told.most_common())}")
    rest = "missed without a reason" if complete else "not reached by so few runs"
    print(f"{len(campaign.sites)} call sites, {hit} hit, {len(missed)} {rest}")
    print(
        f"{len(campaign.stacks)} stacks, {campaign.runs} runs, {campaign.missed} without the call"
    )
    print(f"{len(campaign.problems)} problems, seed {options.seed}, {seconds:.0f} s")
    if campaign.problems:
        print(repeat(options.seed))


if __name__ == "__main__":
    sys.exit(main())
