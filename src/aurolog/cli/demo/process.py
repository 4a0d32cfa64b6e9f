"""The parent's side of the loading process: hand out names, gather acknowledgements, kill."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import aurolog
from aurolog.cli.demo.loader import Loaded
from aurolog.cli.status import CommandError, Status

# -P: the directory that the demonstration is started in may hold anything.
LOADER = [sys.executable, "-P", "-m", "aurolog.cli.demo.loader"]


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
        """Why the process ended before it was killed, as far as it told."""
        code = self.process.wait()
        self.errors.seek(0)
        said = " ".join(self.errors.read().decode(errors="replace").split())
        how = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
        status = code if code in (Status.USAGE, Status.CHECK_FAILED) else Status.UNAVAILABLE
        return CommandError(
            f"the loading process {how} before it was killed, "
            f"{len(self.acknowledged)} files acknowledged; {said or 'it said nothing'}",
            Status(status),
        )


@contextmanager
def loading_process(volume: Path, root: Path, threads: int) -> Iterator[LoadingProcess]:
    """Start one; whatever happens, it does not outlive the block.

    It is in a session of its own, so that Ctrl-C reaches only the parent, which then ends it. Were
    the parent killed, its standard input would end, and so would it.
    """
    if not sys.executable:
        raise CommandError("no Python to start the loading process with (sys.executable)")
    # The package is found where this one was.
    package = str(Path(aurolog.__file__).parents[1])
    inherited = os.environ.get("PYTHONPATH")
    search = package if not inherited else f"{package}{os.pathsep}{inherited}"
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*LOADER, str(volume), str(root), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": search},
            start_new_session=True,
        )
        try:
            yield LoadingProcess(process, errors)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                try:
                    if pipe is not None:
                        pipe.close()
                except BrokenPipeError:
                    pass  # a name that was on its way to the process when it was killed
