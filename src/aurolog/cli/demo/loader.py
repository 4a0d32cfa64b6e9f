"""Loading files, each in a durable transaction of its own; and the process that is killed at it.

As a process (`python -m aurolog.cli.demo.loader VOLUME ROOT THREADS`) it reads names of files below
ROOT from standard input, one JSON string a line, and answers each on standard output with one JSON
object a line, *after* the commit returned. It ends when its input does: a loader whose parent is
gone does not go on alone.
"""

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aurolog
from aurolog.cli import status
from aurolog.cli.demo import files

STOP_SECONDS_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """The word that a file is stored: given only after its commit is durable."""

    name: str
    digest: bytes
    length: int
    lsn: int

    def to_line(self) -> bytes:
        """One line of JSON."""
        value = {
            "name": self.name,
            "digest": self.digest.hex(),
            "length": self.length,
            "lsn": self.lsn,
        }
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Loaded":
        """What `to_line` wrote."""
        value: dict[str, Any] = json.loads(line)
        return cls(
            value["name"], bytes.fromhex(value["digest"]), int(value["length"]), int(value["lsn"])
        )


def load_file(volume: aurolog.Volume, root: Path, name: str) -> Loaded:
    """Store one file durably."""
    data = (root / name).read_bytes()
    with volume.transaction(durability="sync", note=f"load {name}") as tx:
        entry = files.add(tx, name, data)
    assert tx.lsn is not None, "a new file always changes pages"
    return Loaded(name, entry.digest, entry.length, tx.lsn)


def load(
    volume: aurolog.Volume,
    root: Path,
    names: Iterator[str],
    threads: int,
    loaded: Callable[[Loaded], None],
) -> None:
    """Store files from several threads, which share their syncs; the first error ends all.

    `loaded` is called in these threads, as soon as a file's commit returned.
    """
    taking = threading.Lock()
    stop = threading.Event()
    ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            while not stop.is_set():
                with taking:
                    name = next(names, None)
                if name is None:
                    break
                loaded(load_file(volume, root, name))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            ended.put(error)
        else:
            ended.put(None)

    workers = [threading.Thread(target=work, name=f"load-{i}", daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    try:
        for _ in workers:
            error = ended.get()
            if error is not None:
                raise error
    finally:
        # After an error the others stop at the end of their file; one may wait for a name that
        # never comes, and is not waited for.
        stop.set()
        until = time.monotonic() + STOP_SECONDS_MAX
        for worker in workers:
            worker.join(max(until - time.monotonic(), 0))


def _names_from_stdin() -> Iterator[str]:
    for line in sys.stdin.buffer:
        yield json.loads(line)


def _acknowledge(loaded: Loaded) -> None:
    # One write of less than PIPE_BUF bytes: the lines of several threads cannot mix, and a kill
    # leaves a line whole or absent.
    os.write(sys.stdout.fileno(), loaded.to_line())


def main(arguments: list[str]) -> int:
    """The loading process."""
    path, root, threads = arguments
    try:
        with aurolog.open(path, page_size=files.PAGE_BYTES) as volume:
            load(volume, Path(root), _names_from_stdin(), int(threads), _acknowledge)
    except BrokenPipeError:
        return status.Status.OUTPUT_CLOSED  # the parent is gone
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - it becomes a status
        sys.stderr.write(f"{type(error).__name__}: {status.explain(error)}\n")
        return status.status_of(error)
    return status.Status.OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
