"""Makes each call of the disk table fail once, and for ever, and looks what becomes of the volume.

    make call-failures                      # every call site and every way to it, as TIME allows
    make call-failures TIME=0               # in every program, too
    python tests/call_failures.py --count   # no fault: how often a program made which call

The programs are in `call_scenarios.py`, the table with the faults in `csrc/faultdisk/`. A first run
of each program finds the calls that it makes. A call is known by the chain of the engine's
functions that it comes through, its *stack*; the innermost of them has the call's *site*. Then each
is made to fail: first every site with every fault, then every stack, then every stack in every
program at its first, second and last call, then every call. Which of the many calls that would do
stands for its site or stack is drawn from the seed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import queue
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repeating import ROOT, repeat

CORE = ROOT / "csrc"
BUILD = CORE / "faultdisk" / "build_faultdisk.py"
SCENARIOS = ROOT / "tests" / "call_scenarios.py"
BEGIN = "<!-- call failures: begin -->"
END = "<!-- call failures: end -->"
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
NO_FAILURE = {"free_memory"}
MEMORY = {"allocate_memory"}
#: programs with threads of Python's
UNSTEADY = {"awaited", "two_threads"}

#: call sites that no program reaches with a fault, and why: file, text of the line, reason
EXCUSED = {
    ("log.c", "failed = aul_disk_sync(store->disk, segment->file);"): (
        "in builds with deliberate bugs only"
    ),
    ("lock.c", "failed = disk->open(disk->context, path, AUL_DISK_WRITE, &mine->file);"): (
        "another process makes `LOCK` between two calls"
    ),
}


@dataclass(frozen=True)
class Fault:
    """What happens to one call, and to those after it."""

    name: str
    error: int
    after: bool
    kinds: int
    harmless: bool


@dataclass(frozen=True)
class Stack:
    """A chain of calls inside the engine, and how often a program made it."""

    stack: int
    kind: str
    frames: tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One run: where the fault is, and which."""

    program: str
    threads: bool
    stack: Stack
    occurrence: int
    fault: Fault


@dataclass
class Site:
    """A place in the engine's sources that calls the table or one of its helpers."""

    file: str
    first: int
    last: int
    text: str
    kinds: set[str]
    stacks: set[int] = field(default_factory=set)
    tried: Counter[str] = field(default_factory=Counter)  # by fault
    failed: int = 0  # calls, those of other sites' faults too

    @property
    def excuse(self) -> str | None:
        """Why it is not reached."""
        if self.kinds <= NO_FAILURE | {"now", "monotonic"}:
            return "cannot fail"
        return EXCUSED.get((self.file, self.text))


# --- sites in the sources -------------------------------------------------------------------------

HELPERS = {
    "aul_disk_read": {"read"},
    "aul_disk_write": {"write"},
    "aul_disk_sync": {"sync"},
    "aul_disk_sync_directory": {"sync_directory"},
    "aul_disk_sync_directory_at": {"open_directory", "sync_directory", "close"},
    "aul_disk_allocate": {"size", "free_space", "allocate"},
    "aul_disk_truncate": {"truncate"},
    "aul_alloc": {"allocate_memory"},
    "aul_alloc_zero": {"allocate_memory"},
    "aul_grow": {"allocate_memory"},
    "aul_release": {"free_memory"},
}
CALL = re.compile(rf"\bdisk->(\w+)\(|\b({'|'.join(HELPERS)})\(")


def sites() -> list[Site]:
    """All of them, as the sources have them."""
    found = []
    for path in sorted(CORE.glob("*.c")):
        if path.name == "disk_posix.c":
            continue
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"/\*.*?\*/", lambda c: re.sub(r"[^\n]", " ", c[0]), text, flags=re.DOTALL)
        for call in CALL.finditer(text):
            line_start = text.rfind("\n", 0, call.start()) + 1
            if re.match(r"[a-z]\w* [\w *]*$", text[line_start : call.start()]) and call[2]:
                continue  # the helper's definition
            first = text.count("\n", 0, call.start()) + 1
            depth, end = 1, call.end()
            while depth:
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            last = text.count("\n", 0, end) + 1
            line = text[line_start : text.index("\n", line_start)].strip()
            kinds = {call[1]} if call[1] else HELPERS[call[2]]
            if call[2] != "aul_release":
                found.append(Site(path.name, first, last, line, set(kinds)))
    return found


class Places:
    """Where the return addresses of the module are in the sources."""

    def __init__(self, module: Path) -> None:
        self._module = module
        self._found: dict[int, tuple[str, str, int]] = {}

    def resolve(self, frames: Iterable[int]) -> None:
        """All of them at once."""
        new = sorted(set(frames) - self._found.keys())
        if not new:
            return
        asked = "\n".join(f"{frame - 1:#x}" for frame in new)
        command = ["addr2line", "-f", "-e", str(self._module)]
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
        lines = done.stdout.splitlines()
        for frame, function, place in zip(new, lines[::2], lines[1::2], strict=True):
            file, _, line = place.split(" ")[0].rpartition(":")
            self._found[frame] = (function, Path(file).name, int(line) if line.isdigit() else 0)

    def __getitem__(self, frame: int) -> tuple[str, str, int]:
        return self._found[frame]

    def chain(self, stack: Stack) -> str:
        """A stack in words, outermost first."""
        known = [self[frame] for frame in reversed(stack.frames)]
        names = [f"{function} ({file}:{line})" for function, file, line in known]
        return " > ".join([*names, stack.kind])


# --- workers --------------------------------------------------------------------------------------


class Worker:
    """A process that runs programs, one at a time."""

    def __init__(self, module: Path, base: Path, preload: str) -> None:
        around = environment()
        if preload:
            around |= {
                "LD_PRELOAD": preload,
                "PYTHONMALLOC": "malloc",
                "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
                "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
            }
        self._process = subprocess.Popen(
            [sys.executable, str(SCENARIOS), str(module), str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=around,
        )
        assert self._process.stdout is not None
        self.hello: dict[str, Any] = json.loads(self._process.stdout.readline())

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended by itself: {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """It ends with its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


# --- the campaign ---------------------------------------------------------------------------------


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
        words = ["python", "tests/call_failures.py"]
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

    # Telling

    def table(self) -> str:
        """Every call site, in Markdown."""
        lines = ["| site | call | stacks | faults once | for ever | failed calls | |"]
        lines += ["| --- | --- | ---: | ---: | ---: | ---: | --- |"]
        for site in self.sites:
            once = sum(n for name, n in site.tried.items() if name.endswith("once"))
            ever = sum(n for name, n in site.tried.items() if name.endswith("ever"))
            text = site.text.replace("|", "\\|")
            remark = (site.excuse or "**not hit**") if not site.failed else ""
            lines.append(
                f"| `{site.file}:{site.first}` | `{text}` | {len(site.stacks)} "
                f"| {once} | {ever} | {site.failed} | {remark} |"
            )
        return "\n".join(lines)

    def not_hit(self) -> list[Site]:
        """Sites that no fault reached, with or without an excuse."""
        return [site for site in self.sites if not site.failed]

    def unexcused(self) -> list[Site]:
        """Those without."""
        return [site for site in self.not_hit() if site.excuse is None]

    def summary(self) -> str:
        """The sites file by file, and those that were not hit, in Markdown."""
        by_file: dict[str, list[Site]] = defaultdict(list)
        for site in self.sites:
            by_file[site.file].append(site)
        lines = ["| file | call sites | hit | faults | calls that failed |"]
        lines += ["| --- | ---: | ---: | ---: | ---: |"]
        for file, group in by_file.items():
            hit = sum(bool(site.failed) for site in group)
            tried = sum(site.tried.total() for site in group)
            failed = sum(site.failed for site in group)
            lines.append(f"| `{file}` | {len(group)} | {hit} | {tried} | {failed} |")
        lines += ["", "| not hit | why |", "| --- | --- |"]
        reasons: dict[str, list[str]] = defaultdict(list)
        for site in self.not_hit():
            reasons[site.excuse or "**no reason**"].append(f"`{site.file}:{site.first}`")
        lines += [f"| {', '.join(where)} | {why} |" for why, where in reasons.items()]
        return "\n".join(lines)


def sanitizer_libraries() -> str:
    """What has to be preloaded."""
    found = []
    for name in ("asan", "ubsan"):
        command = ["gcc", f"-print-file-name=lib{name}.so"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found.append(str(Path(done.stdout.strip()).resolve()))
    return " ".join(found)


def build(sanitize: str) -> Path:
    """The module with the failing calls."""
    around = {**os.environ, "AUROLOG_SANITIZE": sanitize}
    command = [sys.executable, str(BUILD)]
    done = subprocess.run(command, env=around, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory, where there is such a place."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="aurolog-calls-", dir=place))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def count(module: Path, directory: Path) -> int:
    """An ordinary program, in a process of its own, and the calls that it made."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(SCENARIOS), str(module), str(directory), "count"]
    return subprocess.run(command, env=environment(), check=False).returncode


def environment() -> dict[str, str]:
    """In which the programs find the package and what the tests share."""
    source = [str(ROOT / "src"), str(ROOT / "tests")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(source)}


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
            return count(module, options.directory or base)
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
    return 1 if campaign.problems else 0


def report(campaign: Campaign, options: argparse.Namespace, seconds: float, complete: bool) -> None:
    """What came of it."""
    unexcused = campaign.unexcused()
    if complete:
        for site in unexcused:
            campaign.note(
                f"{site.file}:{site.first}", [f"never failed, without a reason: {site.text}"]
            )
    if options.table:
        options.table.parent.mkdir(parents=True, exist_ok=True)
        options.table.write_text(campaign.table() + "\n", encoding="utf-8")
    if options.document:
        before, _, rest = options.document.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        text = f"{before}{BEGIN}\n{campaign.summary()}\n{END}{after}"
        options.document.write_text(text, encoding="utf-8")
    shapes: Counter[str] = Counter()
    for problem in campaign.problems:
        shape = re.sub(r"\d+", "#", problem.rpartition("\n")[2].rpartition(" > ")[2])
        shapes[shape] += 1
        if shapes[shape] == 1 and len(shapes) <= PROBLEMS_SHOWN:
            print(problem)
    for shape, times in shapes.most_common() if len(shapes) < len(campaign.problems) else ():
        print(f"{times} times: {shape}")
    hit = len(campaign.sites) - len(campaign.not_hit())
    print(f"told as: {dict(campaign.told.most_common())}")
    print(f"{len(campaign.sites)} call sites, {hit} hit, {len(unexcused)} missed without a reason")
    print(
        f"{len(campaign.stacks)} stacks, {campaign.runs} runs, {campaign.missed} without the call"
    )
    print(f"{len(campaign.problems)} problems, seed {options.seed}, {seconds:.0f} s")
    if campaign.problems:
        print(repeat(options.seed))


if __name__ == "__main__":
    sys.exit(main())
