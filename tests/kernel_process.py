"""Processes that are forked from the campaign of `kernel.py`, which itself never opens a volume."""

from __future__ import annotations

import os
import pickle
import select
import signal
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import NoReturn

from ledger import THREADS, Report

SILENCE_SECONDS_MAX = 60.0
FINE, FAILED, NO_SPACE = 0, 1, 3  # exit statuses


class Failure(Exception):
    """The volume, or a process, did not do what it must."""


class Process:
    """A forked process and what it says."""

    def __init__(self, body: Callable[[int, int], int]) -> None:
        self.input, output = os.pipe()
        room, self.room = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.input)
            os.close(self.room)
            end(lambda: body(output, room))
        os.close(output)
        os.close(room)
        self.status: int | None = None
        self.counts: Counter[int] = Counter()

    def _read(self, bytes_max: int) -> bytes:
        ready, _, _ = select.select([self.input], [], [], SILENCE_SECONDS_MAX)
        if not ready:
            raise Failure(f"the process did nothing for {SILENCE_SECONDS_MAX} s")
        return os.read(self.input, bytes_max)

    def report(self) -> Report | None:
        """What it found at opening; nothing when it ended before it could tell."""
        message = b""
        wanted = 8
        while len(message) < wanted:
            block = self._read(wanted - len(message))
            if not block:
                return None
            message += block
            if len(message) == 8:
                wanted = 8 + struct.unpack("<Q", message)[0]
        found = pickle.loads(message[8:])
        assert isinstance(found, Report)
        return found

    def wait_for(self, kind: bytes, count: int) -> bool:
        """Until it said so often; whether it did before its end, or before everybody else said
        that the disk is full.
        """
        while self.counts[kind[0]] < count:
            block = self._read(1 << 16)
            self.counts.update(block)
            full = kind == b"a" and self.counts[b"f"[0]] == THREADS
            if not block or b"!" in block or full:
                return self.counts[kind[0]] >= count
        return True

    def make_room(self) -> None:
        """Those who wait for room go on."""
        self.counts[b"f"[0]] = 0
        os.write(self.room, bytes(THREADS))

    def calls(self) -> int:
        """How many times it has called read and write."""
        with open(f"/proc/{self.pid}/io", encoding="ascii") as file:
            figures = dict(line.split(": ") for line in file.read().splitlines())
        return int(figures["syscr"]) + int(figures["syscw"])

    def ended(self) -> bool:
        """Whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self) -> int:
        """Its end, and how it ended."""
        deadline = time.monotonic() + SILENCE_SECONDS_MAX
        while self.status is None:
            # Its pipe closes with it; what it still says is of no interest.
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self.input], [], [], left)
            if not ready:
                raise Failure(f"the process did not end in {SILENCE_SECONDS_MAX} s")
            if not os.read(self.input, 1 << 16):
                self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.status

    def kill(self) -> None:
        """SIGKILL."""
        if not self.ended():
            os.kill(self.pid, signal.SIGKILL)
            self.wait()

    def drop(self) -> None:
        """Kill, and close the pipes."""
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.input)
        os.close(self.room)


def end(body: Callable[[], int]) -> NoReturn:
    """The end of a forked process: no handler or finalizer of the campaign's may run in it."""
    status = FAILED
    try:
        status = body()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
