"""Where the demonstration's files come from, and what kind of disk it runs on."""

import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from aurolog.cli.demo import files
from aurolog.cli.status import CommandError

FILES_MIN = 8
"""Fewer leave nothing to kill, to edit and to delete."""

SKIPPED_DIRECTORIES = {"site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True, slots=True)
class Sources:
    """Files of a running Python's standard library; names are relative to `root`, with slashes."""

    root: Path
    names: tuple[str, ...]
    bytes: int


def standard_library(limit: int | None = None) -> Sources:
    """The readable `.py` files of the running Python's standard library, at most `limit`.

    A limit takes them evenly from the whole. A directory reached through a symbolic link counts
    only by its own place, so that nothing is walked twice.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found: list[tuple[str, int]] = []
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = sorted(set(subdirectories) - SKIPPED_DIRECTORIES)
        for name in sorted(names):
            file = Path(directory, name)
            relative = file.relative_to(root).as_posix()
            wanted = name.endswith(".py") and _storable(relative)
            if wanted and file.is_file() and os.access(file, os.R_OK):
                found.append((relative, file.stat().st_size))
    if len(found) < FILES_MIN:
        raise CommandError(
            f"{root}: {len(found)} source files of the standard library; the demonstration needs "
            f"at least {FILES_MIN} (is this Python installed without its sources?)"
        )
    if limit is not None and limit < len(found):
        found = [found[i * len(found) // limit] for i in range(limit)]
    return Sources(root, tuple(name for name, _ in found), sum(size for _, size in found))


def _storable(name: str) -> bool:
    try:
        return len(name.encode()) <= files.NAME_BYTES_MAX and name.isprintable()
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False


def filesystem_of(path: Path) -> str | None:
    """The type of the file system that holds `path`, where the system tells (Linux)."""
    try:
        mounts = Path("/proc/self/mounts").read_bytes()
    except OSError:
        return None
    real = os.fsencode(path.resolve())
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        _, mounted, kind, *_ = line.split(b" ")
        point = mounted.decode("unicode_escape").encode("latin-1")
        inside = real == point or real.startswith(point.rstrip(b"/") + b"/")
        if inside and (best is None or len(point) >= best[0]):
            best = (len(point), kind.decode("ascii", "replace"))
    return None if best is None else best[1]
