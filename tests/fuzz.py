"""Runs the fuzz targets (docs/testing.md) that the Makefile has built.

    python tests/fuzz.py run --time 60 frame recovery    libFuzzer, the targets sharing the time
    python tests/fuzz.py keep frame recovery             minimises the corpus into tests/corpus/
    python tests/fuzz.py replay frame recovery           what is kept, without libFuzzer
    python tests/fuzz.py coverage frame recovery         what the kept inputs reach

What a run finds worth keeping is in build/fuzz/corpus/, what it finds wrong in build/fuzz/found/.
Files in tests/corpus/ whose names begin with `found-` are reproducers and are never minimised away.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from repeating import ROOT, repeat

BUILD = ROOT / "build" / "fuzz"
REPLAY = ROOT / "build" / "fuzz-replay"
COVERAGE = ROOT / "build" / "fuzz-coverage"
KEPT = ROOT / "tests" / "corpus"
FOUND = BUILD / "found"

# Bytes of an input at most. The inputs of these are edits, and many small ones find more.
INPUT_BYTES = {"recovery": 600, "footer": 600}
INPUT_BYTES_MAX = 6000
MEMORY_MIB = 64
SECONDS_MAX = 20  # of one input: the target itself says when it takes too much of the processor
LIBRARY = ["-entropic=0", "-len_control=10", f"-malloc_limit_mb={MEMORY_MIB}", "-rss_limit_mb=1024"]

# The engine's files that a target is about.
SUBJECT = {
    "frame": ("frame.c", "segment.c", "record.c", "part.c", "run.c"),
    "batch": ("record.c", "tx.c", "diff.c"),
    "footer": ("run.c",),
    "manifest": ("manifest.c", "history.c"),
    "recovery": ("recovery.c", "read.c", "cursor.c", "verify.c", "page_index.c", "manifest.c"),
}


def environment() -> dict[str, str]:
    """What the sanitizers are told, outside of whatever this process had to preload."""
    outside = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return {**outside, "UBSAN_OPTIONS": "print_stacktrace=1", "ASAN_OPTIONS": "detect_leaks=1"}


def execute(
    command: list[str | Path], cwd: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment(), **more},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def seeds(target: str) -> Path:
    """The inputs that the engine makes itself."""
    directory = BUILD / "seeds" / target
    directory.mkdir(parents=True, exist_ok=True)
    done = execute([REPLAY / target, "--seeds", directory])
    if done.returncode:
        sys.exit(f"{target}: a seed fails\n{done.stderr}")
    return directory


def run_target(target: str, seconds: int) -> bool:
    """Fuzz one target on all processors, and tell what came of it."""
    jobs = os.cpu_count() or 1
    new, logs = BUILD / "corpus" / target, BUILD / "logs" / target
    shutil.rmtree(logs, ignore_errors=True)
    for directory in (new, logs, FOUND, KEPT / target):
        directory.mkdir(parents=True, exist_ok=True)
    before = set(FOUND.iterdir())
    done = execute(
        [
            BUILD / target,
            *(new, seeds(target), KEPT / target),
            *LIBRARY,
            f"-max_len={INPUT_BYTES.get(target, INPUT_BYTES_MAX)}",
            f"-max_total_time={seconds}",
            f"-timeout={SECONDS_MAX}",
            f"-artifact_prefix={FOUND}/{target}-",
            *("-print_final_stats=1", f"-jobs={jobs}", f"-workers={jobs}"),
        ],
        cwd=logs,
    )
    texts = [log.read_text(errors="replace") for log in sorted(logs.glob("fuzz-*.log"))]
    units = sum(int(n) for text in texts for n in re.findall(r"executed_units: +(\d+)", text))
    rates = sum(int(n) for text in texts for n in re.findall(r"exec_per_sec: +(\d+)", text))
    edges = max((int(n) for text in texts for n in re.findall(r" cov: (\d+)", text)), default=0)
    print(f"{target:10} {units:12,} inputs {rates:9,} a second {edges:6,} edges", flush=True)
    found = sorted(set(FOUND.iterdir()) - before)
    for file in found:
        again = execute([BUILD / target, file])
        print(f"    {file.relative_to(ROOT)}\n{again.stderr}")
        print(
            repeat(again=f"{BUILD.relative_to(ROOT) / target} {file.relative_to(ROOT)}"), flush=True
        )
    if done.returncode and not found:
        print(done.stdout, done.stderr, *(text[-2000:] for text in texts))
        print(repeat(), flush=True)
    return not done.returncode and not found


def keep(target: str) -> None:
    """Replace what is kept by the smallest part of all there is that reaches as much."""
    kept, fresh = KEPT / target, BUILD / "fresh" / target
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    kept.mkdir(parents=True, exist_ok=True)
    sources = [kept, BUILD / "seeds" / target, BUILD / "corpus" / target]
    there = [source for source in sources if source.is_dir()]
    done = execute([BUILD / target, "-merge=1", "-use_counters=0", *LIBRARY, fresh, *there])
    if done.returncode:
        sys.exit(f"{target}: merging failed\n{done.stderr[-3000:]}")
    for file in kept.iterdir():
        if not file.name.startswith("found-"):
            file.unlink()
    for file in fresh.iterdir():
        shutil.copyfile(file, kept / file.name[:16])
    files = [file.stat().st_size for file in kept.iterdir()]
    print(f"{target:10} {len(files):5} files {sum(files):8,} bytes")


def replay(target: str) -> bool:
    """Run what is kept."""
    begin = time.monotonic()
    done = execute([REPLAY / target, KEPT / target])
    took = time.monotonic() - begin
    print(f"{target:10} {done.stdout.strip() or 'FAILED':12} {took:6.1f} s", flush=True)
    if done.returncode:
        print(done.stderr.replace("\r", "\n"))
        print(repeat(again=f"make fuzz-corpus TARGET={target}"), flush=True)
    return done.returncode == 0


def coverage(target: str) -> None:
    """Tell what share of its subject's lines and branches the kept inputs reach."""
    raw, profile = COVERAGE / f"{target}.profraw", COVERAGE / f"{target}.profdata"
    done = execute([COVERAGE / target, KEPT / target], LLVM_PROFILE_FILE=str(raw))
    if not done.returncode:
        done = execute(["llvm-profdata", "merge", "-o", profile, raw])
    if not done.returncode:
        report = ["llvm-cov", "report", COVERAGE / target, f"-instr-profile={profile}"]
        files = [ROOT / "csrc" / name for name in SUBJECT[target]]
        done = execute([*report, "--show-region-summary=0", *files])
    if done.returncode:
        sys.exit(f"{target}: {done.stderr[-2000:]}")
    for line in done.stdout.splitlines():
        cells = line.split()
        if cells and cells[0].endswith(".c"):
            print(
                f"{target:10} {Path(cells[0]).name:14} lines {cells[-4]:>8} branches {cells[-1]:>8}"
            )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("what", choices=("run", "keep", "replay", "coverage"))
    parser.add_argument("targets", nargs="+", choices=tuple(SUBJECT))
    parser.add_argument("--time", type=int, default=60, help="seconds, for all targets together")
    options = parser.parse_args()
    well = True
    for target in options.targets:
        if options.what == "run":
            well &= run_target(target, max(1, options.time // len(options.targets)))
        elif options.what == "keep":
            keep(target)
        elif options.what == "replay":
            well &= replay(target)
        else:
            coverage(target)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
