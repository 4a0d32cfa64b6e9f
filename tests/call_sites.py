"""The places in the engine's sources that call the disk table, and the stacks through which it is
called.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from repeating import ROOT

CORE = ROOT / "csrc"
NO_FAILURE = {"free_memory", "wake", "unwatch"}

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
class Stack:
    """A chain of calls inside the engine, and how often a program made it."""

    stack: int
    kind: str
    frames: tuple[int, ...]


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
