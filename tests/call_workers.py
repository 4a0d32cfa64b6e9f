"""The build of the engine whose calls fail, and processes that run programs with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from repeating import ROOT

BUILD = ROOT / "csrc" / "faultdisk" / "build_faultdisk.py"
SCENARIOS = ROOT / "tests" / "call_scenarios.py"


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


def count_calls(module: Path, directory: Path) -> int:
    """An ordinary program, in a process of its own, and the calls that it made."""
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(SCENARIOS), str(module), str(directory), "count"]
    return subprocess.run(command, env=environment(), check=False).returncode


def environment() -> dict[str, str]:
    """In which the programs find the package and what the tests share."""
    source = [str(ROOT / "src"), str(ROOT / "tests")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(source)}
