"""File systems of their own for tests, in files on loop devices or in memory: small ones to be
filled, and ones whose power can be cut.

A power cut is the kernel's own (`FS_IOC_SHUTDOWN`): from that instant nothing reaches the device,
what was only in the page cache is gone, and the next mount replays the journal as after a crash.

All of it is for root, and for kernels that have the file system. Where it cannot be had, `reason`
says why. Mounts are undone in every case by the block's end; `isolated` runs a program in mounts
of its own, which end with it even when it is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FS_IOC_SHUTDOWN = 0x8004587D
# Everything is written first; the journal is; nothing is.
FLUSH_ALL, FLUSH_LOG, FLUSH_NOTHING = 0, 1, 2

MAKERS = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-m", "0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "tmpfs": (),
}
MIB_MIN = {"ext4": 1, "xfs": 300, "tmpfs": 1}


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


@dataclass
class FileSystem:
    """One that is mounted at `place`."""

    kind: str
    image: Path
    place: Path
    options: str = ""

    def mount(self) -> None:
        """As after the machine's start."""
        options = ["loop"] + ([self.options] if self.options else [])
        _run("mount", "-t", self.kind, "-o", ",".join(options), str(self.image), str(self.place))

    def unmount(self) -> None:
        """Nobody may use it."""
        _run("umount", str(self.place))

    def cut_power(self, flush: int) -> None:
        """From now on nothing reaches the device."""
        directory = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, FS_IOC_SHUTDOWN, struct.pack("I", flush))
        finally:
            os.close(directory)

    def restart(self) -> None:
        """The machine starts again."""
        self.unmount()
        self.mount()

    @property
    def free_bytes(self) -> int:
        """What is left for files."""
        status = os.statvfs(self.place)
        return status.f_bavail * status.f_frsize


@contextlib.contextmanager
def mounted(
    kind: str, mebibytes: int, options: str = "", features: str = ""
) -> Iterator[FileSystem]:
    """A new one; `OSError` where it cannot be had."""
    with tempfile.TemporaryDirectory(prefix="aurolog-disk-", ignore_cleanup_errors=True) as scratch:
        image, place = Path(scratch, "image"), Path(scratch, "mounted")
        place.mkdir()
        system = FileSystem(kind, image, place, options)
        if kind == "tmpfs":
            size = f"size={mebibytes}m"
            _run("mount", "-t", "tmpfs", "-o", size, "aurolog-test", str(place))
        else:
            with image.open("wb") as file:
                file.truncate(max(mebibytes, MIB_MIN[kind]) << 20)
            _run(*MAKERS[kind], *(("-O", features) if features else ()), str(image))
            system.mount()
        try:
            yield system
        finally:
            # Lazily where somebody still uses it: it must not outlive its test.
            done = subprocess.run(["umount", str(place)], capture_output=True, check=False)
            if done.returncode != 0:
                subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def reason(kind: str, *, power: bool = False) -> str:
    """Why such a file system cannot be had here; empty when it can."""
    if os.geteuid() != 0:
        return f"not root, so no {kind} can be mounted"
    maker = MAKERS[kind][:1]
    if maker and shutil.which(maker[0]) is None:
        return f"{maker[0]} is not installed"
    try:
        with mounted(kind, 16) as system:
            if power:
                system.cut_power(FLUSH_NOTHING)
    except OSError as error:
        return f"no {kind} to be had: {error}"
    return ""


def isolated() -> Sequence[str]:
    """What to put before a command that mounts."""
    command = ["unshare", "--mount", "--propagation", "private"]
    done = subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if done.returncode == 0 else []
