"""Where the demonstration's files come from, and what kind of disk it runs on."""

import os
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aurolog.cli.demo import files
from aurolog.cli.status import CommandError

T = TypeVar("T")

FILES_MIN = 8
"""Fewer leave nothing to kill, to edit and to delete."""

FILES_ENOUGH = 2000
"""Where the standard library has fewer (some systems split it up), installed packages add to it."""

FILE_BYTES_MAX = 4 << 20
"""Larger ones are an interpreter's static library: all figures would be about that one."""

PACKAGE_DIRECTORIES = {"site-packages", "dist-packages"}
SKIPPED_DIRECTORIES = {"__pycache__"}


@dataclass(frozen=True, slots=True)
class Sources:
    """Files of a running Python; names are relative to `root`, with slashes."""

    root: Path
    names: tuple[str, ...]
    bytes: int


def standard_library(limit: int | None = None) -> Sources:
    """The readable files of the running Python's standard library, at most `limit`, data files
    too; where these are fewer than `FILES_ENOUGH`, files of installed packages as well.

    A limit takes them evenly from the whole. A directory reached through a symbolic link counts
    only by its own place, so that nothing is walked twice.
    """
    library = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    packages = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    found = _files_below(library, SKIPPED_DIRECTORIES | PACKAGE_DIRECTORIES)
    if len(found) < FILES_ENOUGH:
        more = [file for file in _files_below(packages, SKIPPED_DIRECTORIES) if file not in found]
        for file in _evenly(more, FILES_ENOUGH - len(found)):
            found[file] = file.stat().st_size
    if len(found) < FILES_MIN:
        raise CommandError(
            f"{library[0]}: {len(found)} files of the standard library; the demonstration needs "
            f"at least {FILES_MIN} (is this Python installed without its sources?)"
        )
    root = Path(os.path.commonpath({file.parent for file in found}))
    names = [(file.relative_to(root).as_posix(), size) for file, size in sorted(found.items())]
    chosen = _evenly([(name, size) for name, size in names if _storable(name)], limit)
    return Sources(root, tuple(name for name, _ in chosen), sum(size for _, size in chosen))


def _files_below(roots: Sequence[str], skipped: set[str]) -> dict[Path, int]:
    """The readable regular files below some directories, with their sizes."""
    found: dict[Path, int] = {}
    for root in sorted({os.path.realpath(root) for root in roots}):
        for directory, subdirectories, names in os.walk(root):
            subdirectories[:] = set(subdirectories) - skipped
            for file in (Path(directory, name) for name in names):
                if file.is_file() and not file.is_symlink() and os.access(file, os.R_OK):
                    size = file.stat().st_size
                    if size <= FILE_BYTES_MAX:
                        found[file] = size
    return found


def _evenly(items: Sequence[T], limit: int | None) -> Sequence[T]:
    """At most `limit` of the items, from all over."""
    if limit is None or limit >= len(items):
        return items
    return [items[i * len(items) // limit] for i in range(limit)]


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
