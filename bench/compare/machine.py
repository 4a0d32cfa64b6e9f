"""What was measured on what machine, and what its counters say. Linux tells; elsewhere less is
known.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SECTOR_BYTES = 512
MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs", "ramdisk")


def describe(directory: Path) -> dict[str, str]:
    """The facts without which a figure says nothing. Names no host, no user and no path."""
    return {
        "commit": _commit(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{_memory_bytes() / (1 << 30):.0f} GiB",
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "disk": f"{file_system(directory)} on {_device_name(directory)}",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
    }


def _commit() -> str:
    """Of the sources, marked where they are not as committed."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:  # no git here
        return "unknown"
    return done.stdout.strip() or "unknown"


def file_system(directory: Path) -> str:
    """The kind of file system that holds the directory, `unknown` where it cannot be told."""
    here = str(directory.resolve())
    best, kind = "", "unknown"
    for line in _lines(Path("/proc/self/mounts")):
        _, mount, this_kind, *_ = line.split()
        mount = mount.encode().decode("unicode_escape")
        if (here + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best):
            best, kind = mount, this_kind
    return kind


def counters(directory: Path) -> Mapping[str, int]:
    """What this process has handed down and what the directory's device has done, so far.

    `process_write_bytes` is this process alone, in whole pages of the page cache.
    `device_write_bytes` (the file system's journal included) and `device_flushes` are the whole
    device: other processes of the machine are in them.
    """
    found = {}
    for line in _lines(Path("/proc/self/io")):
        name, _, value = line.partition(":")
        if name == "write_bytes":
            found["process_write_bytes"] = int(value)
    fields = " ".join(_lines(_device(directory) / "stat")).split()
    if len(fields) >= 7:
        found["device_write_bytes"] = int(fields[6]) * SECTOR_BYTES
    if len(fields) >= 17:
        found["device_flushes"] = int(fields[15])
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _device(directory: Path) -> Path:
    number = directory.stat().st_dev
    return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")


def _device_name(directory: Path) -> str:
    device = _device(directory)
    return device.resolve().name if device.exists() else "an unknown device"


def _processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
