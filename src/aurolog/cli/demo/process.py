"""The parent's side of its child processes: the one that loads, which is handed names, whose
acknowledgements are gathered and which is killed; and the one that follows."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import aurolog
from aurolog.cli.demo.follower import READY, Seen
from aurolog.cli.demo.loader import Loaded
from aurolog.cli.status import CommandError, Status

# -P: the directory that the demonstration is started in may hold anything.
LOADER = [sys.executable, "-P", "-m", "aurolog.cli.demo.loader"]
FOLLOWER = [sys.executable, "-P", "-m", "aurolog.cli.demo.follower"]

FOLLOW_SECONDS_MAX = 60.0
"""How long a follower may need to come to the last commit; it takes milliseconds."""


@dataclass
class LoadingProcess:
    """A running `aurolog.cli.demo.loader`; `handed_out` names, `acknowledged` files so far."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    handed_out: list[str] = field(default_factory=list)
    acknowledged: list[Loaded] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0

    def load(
        self,
        names: Sequence[str],
        until_acknowledged: int,
        ahead: int,
        progress: Callable[[int, int], None],
    ) -> None:
        """Hand out names, at most `ahead` unanswered, until so many are acknowledged."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        while len(self.acknowledged) < until_acknowledged:
            end = min(len(self.acknowledged) + ahead, len(names))
            try:
                for name in names[len(self.handed_out) : end]:
                    self.process.stdin.write(json.dumps(name).encode() + b"\n")
                    self.handed_out.append(name)
                self.process.stdin.flush()
            except BrokenPipeError:
                raise self._ended_early() from None
            line = self.process.stdout.readline()
            if not line.endswith(b"\n"):
                raise self._ended_early()
            self._acknowledge(line)
            progress(len(self.acknowledged), until_acknowledged)

    def kill(self) -> None:
        """SIGKILL, and gather what it had acknowledged before.

        A line that was cut short acknowledges nothing.
        """
        assert self.process.stdout is not None
        self.process.kill()
        for line in self.process.stdout.read().splitlines(keepends=True):
            if line.endswith(b"\n"):
                self._acknowledge(line)
        if self.process.wait() != -signal.SIGKILL:
            raise self._ended_early()

    def _acknowledge(self, line: bytes) -> None:
        self.acknowledged.append(Loaded.from_line(line))
        self.ended = time.perf_counter()
        self.began = self.began or self.ended

    def _ended_early(self) -> CommandError:
        acknowledged = f"{len(self.acknowledged)} files acknowledged"
        return _ended_early("loading", self.process, self.errors, acknowledged)


@dataclass
class FollowingProcess:
    """A running `aurolog.cli.demo.follower`; what it has seen so far.

    A thread gathers that: the follower waits for nobody who reads what it tells.
    """

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    seen: list[Seen] = field(default_factory=list)
    _grown: threading.Condition = field(default_factory=threading.Condition)
    _gathering: threading.Thread | None = None
    _ended: bool = False

    def start(self) -> None:
        """Wait until it follows."""
        assert self.process.stdout is not None
        if self.process.stdout.readline() != READY:
            raise self._ended_early()
        self._gathering = threading.Thread(target=self._gather, name="gather", daemon=True)
        self._gathering.start()

    def kill(self) -> None:
        """SIGKILL, and gather what it had told before."""
        self.process.kill()
        if self._gathering is not None:
            self._gathering.join()

    def wait_for(self, lsn: int) -> bool:
        """Whether it comes to this commit in time."""

        def there() -> bool:
            return self._ended or any(seen.lsn >= lsn for seen in self.seen[-1:])

        with self._grown:
            came = self._grown.wait_for(there, FOLLOW_SECONDS_MAX)
        if self._ended:
            raise self._ended_early()
        return came

    def _gather(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                with self._grown:
                    self.seen.append(Seen.from_line(line))
                    self._grown.notify_all()
        with self._grown:
            self._ended = True
            self._grown.notify_all()

    def _ended_early(self) -> CommandError:
        return _ended_early(
            "following", self.process, self.errors, f"{len(self.seen)} commits seen"
        )


def _ended_early(
    what: str, process: subprocess.Popen[bytes], errors: IO[bytes], progress: str
) -> CommandError:
    """Why a process ended before it was killed, as far as it told."""
    code = process.wait()
    errors.seek(0)
    said = " ".join(errors.read().decode(errors="replace").split())
    how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
    status = code if code in (Status.USAGE, Status.CHECK_FAILED) else Status.UNAVAILABLE
    return CommandError(
        f"the {what} process {how} before it was killed, {progress}; {said or 'it said nothing'}",
        Status(status),
    )


@contextmanager
def loading_process(volume: Path, root: Path, threads: int) -> Iterator[LoadingProcess]:
    """Start one that loads; whatever happens, it does not outlive the block."""
    with _started([*LOADER, str(volume), str(root), str(threads)]) as (process, errors):
        yield LoadingProcess(process, errors)


@contextmanager
def following_process(volume: Path, since_lsn: int) -> Iterator[FollowingProcess]:
    """Start one that follows, and wait until it does; it is killed at the end of the block."""
    with _started([*FOLLOWER, str(volume), str(since_lsn)]) as (process, errors):
        following = FollowingProcess(process, errors)
        try:
            following.start()
            yield following
        finally:
            following.kill()


@contextmanager
def _started(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A child process, and what it writes to standard error; killed at the end of the block.

    It is in a session of its own, so that Ctrl-C reaches only the parent, which then ends it. Were
    the parent killed, its standard input would end, and so would it.
    """
    if not sys.executable:
        raise CommandError("no Python to start a child process with (sys.executable)")
    # The package is found where this one was.
    package = str(Path(aurolog.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    search = package if not inherited else f"{package}{os.pathsep}{inherited}"
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": search},
            start_new_session=True,
        )
        try:
            yield process, errors
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                try:
                    if pipe is not None:
                        pipe.close()
                except BrokenPipeError:
                    pass  # a name that was on its way to the process when it was killed
