"""What the tests share: a plain model of a volume, random programs, child processes, damaged files.

The model is a dict of page versions and nothing else: no log, no cache, no recovery. A test runs
the same program on the model and on a volume and compares every page, at every LSN it cares for.
Programs are drawn from a seed that the test prints, so each failure can be repeated.
"""

from __future__ import annotations

import bisect
import contextlib
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import pytest

import aurolog

CHILD = Path(__file__).with_name("child.py")
SILENCE_SECONDS_MAX = 120.0
Change = tuple[Any, ...]


class Reader(Protocol):
    """What a volume, a view and a transaction have in common."""

    def __len__(self) -> int: ...
    def __getitem__(self, page: int, /) -> bytes: ...


# --- the model ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class State:
    """A whole volume as of one commit."""

    lsn: int
    pages: dict[int, bytes]
    length: int
    page_size: int

    def page(self, number: int) -> bytes:
        """One page; zeros when it was never written."""
        return self.pages.get(number, bytes(self.page_size))


class Draft:
    """A transaction on the model."""

    def __init__(self, base: State) -> None:
        self.page_size = base.page_size
        self.pages = dict(base.pages)
        self.length = base.length
        self.touched: set[int] = set()
        self.truncates = False

    def page(self, number: int) -> bytes:
        """One page as the transaction sees it."""
        return self.pages.get(number, bytes(self.page_size))

    def _put(self, number: int, image: bytes) -> None:
        assert len(image) == self.page_size
        self.pages[number] = image
        self.length = max(self.length, number + 1)
        self.touched.add(number)

    def write(self, number: int, offset: int, data: bytes) -> None:
        """Bytes into a page."""
        old = self.page(number)
        self._put(number, old[:offset] + bytes(data) + old[offset + len(data) :])

    def move(self, number: int, src: int, dst: int, length: int) -> None:
        """Bytes inside a page, as memmove does."""
        self.write(number, dst, self.page(number)[src : src + length])

    def fill(self, number: int, offset: int, length: int, byte: int) -> None:
        """One byte value over a range."""
        self.write(number, offset, bytes([byte]) * length)

    def image(self, number: int, data: bytes) -> None:
        """The whole page."""
        self._put(number, bytes(data))

    def truncate(self, pages: int) -> None:
        """Every page at or above `pages` becomes zeros."""
        for number in [number for number in self.pages if number >= pages]:
            del self.pages[number]
            self.touched.add(number)
        self.length = min(self.length, pages)
        self.truncates = True

    def apply(self, changes: Iterable[Change]) -> None:
        """The tuples that `Transaction.apply` takes."""
        for change in changes:
            if isinstance(change[0], str):
                getattr(self, change[0])(*change[1:])
            else:
                self.write(*change)


class Model:
    """The volume as a dict of page versions: every state that was ever committed."""

    def __init__(self, page_size: int) -> None:
        self.page_size = page_size
        self.states = [State(0, {}, 0, page_size)]
        self.truncating: set[int] = set()

    @property
    def newest(self) -> State:
        """The state after the last commit."""
        return self.states[-1]

    def begin(self) -> Draft:
        """A draft on the newest state."""
        return Draft(self.newest)

    def commit(self, draft: Draft, lsn: int | None) -> State:
        """The draft becomes the newest state; no LSN means that nothing was written."""
        if lsn is None:
            return self.newest
        assert lsn > self.newest.lsn, "commit LSNs rise"
        self.states.append(State(lsn, draft.pages, draft.length, self.page_size))
        if draft.truncates:
            self.truncating.add(lsn)
        return self.newest

    def at(self, lsn: int) -> State:
        """The state as of the last commit at or below `lsn`."""
        return self.states[bisect.bisect_right(self.states, lsn, key=lambda state: state.lsn) - 1]


def run(db: aurolog.Volume, model: Model, changes: list[Change], **how: Any) -> int | None:
    """One transaction on both, change by change; the commit LSN."""
    draft = model.begin()
    draft.apply(changes)
    with db.transaction(**how) as tx:
        for change in changes:
            perform(tx, change)
    model.commit(draft, tx.lsn)
    return tx.lsn


def perform(tx: aurolog.Transaction, change: Change) -> None:
    """One change through the method that is named for it (an image through `tx[page] = …`)."""
    kind, *rest = change
    if kind == "image":
        tx[rest[0]] = rest[1]
    else:
        getattr(tx, kind)(*rest)


def assert_same(reader: Any, state: State, also: Iterable[int] = ()) -> None:
    """Every page that the state knows, the first behind its end, and `also`: read one by one
    and in one crossing.
    """
    assert len(reader) == state.length, f"length at LSN {state.lsn}"
    numbers = sorted({*state.pages, state.length, *also})
    for number in numbers:
        if reader[number] != state.page(number):
            raise AssertionError(difference(reader[number], state.page(number), number, state.lsn))
    if hasattr(reader, "read_many"):
        whole = bytes(reader.read_many(numbers))
        assert whole == b"".join(state.page(number) for number in numbers), (
            f"read_many at {state.lsn}"
        )


def difference(found: bytes, wanted: bytes, page: int, lsn: int) -> str:
    """Where two images part, short enough to read."""
    first = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), 0)
    return (
        f"page {page} at LSN {lsn} differs from byte {first} on: found "
        f"{found[first : first + 16].hex()}, wanted {wanted[first : first + 16].hex()}"
    )


# --- random programs ------------------------------------------------------------------------------


def random_change(rng: random.Random, page_size: int, pages: int, first: int = 0) -> Change:
    """One change of one of the pages `[first, pages)`; now and then a truncation, never below
    `first`.
    """
    page = rng.randrange(first, pages)
    match rng.choices(("write", "move", "fill", "image", "truncate"), (50, 18, 15, 14, 3))[0]:
        case "write":
            offset = rng.randrange(page_size)
            length = rng.randint(1, min(page_size - offset, rng.choice((8, 100, page_size))))
            return ("write", page, offset, rng.randbytes(length))
        case "move":
            length = rng.randint(1, page_size)
            last = page_size - length
            return ("move", page, rng.randint(0, last), rng.randint(0, last), length)
        case "fill":
            offset = rng.randrange(page_size)
            return ("fill", page, offset, rng.randint(1, page_size - offset), rng.randrange(256))
        case "image":
            return ("image", page, rng.randbytes(page_size))
        case _:
            return ("truncate", rng.randint(first, pages))


def program(seed: object, number: int, page_size: int = 4096, pages: int = 40) -> list[Change]:
    """Transaction `number` of a seeded program. It counts itself in the first 8 bytes of page 0, so
    that a volume tells how far it came; one in 25 is a bulk batch of over 1 MiB.
    """
    rng = random.Random(f"{seed}/{number}")
    changes: list[Change] = [("write", 0, 0, number.to_bytes(8, "little"))]
    if number % 25 == 24:
        count = (1 << 20) // page_size + rng.randrange(40)
        changes += [("image", 1 + i % (4 * pages), rng.randbytes(page_size)) for i in range(count)]
    else:
        changes += [
            random_change(rng, page_size, pages, first=1) for _ in range(rng.randint(1, 12))
        ]
    return changes


def counter(reader: Any) -> int:
    """How many transactions of a `program` the volume holds."""
    return int.from_bytes(reader[0][:8], "little")


class Replay:
    """The states of a seeded program, computed as far as asked for."""

    def __init__(self, seed: object, page_size: int = 4096) -> None:
        self.seed = seed
        self.states = [State(0, {}, 0, page_size)]

    def after(self, number: int) -> State:
        """The state after transaction `number`; transactions are numbered from 1, LSNs unknown."""
        while len(self.states) <= number:
            draft = Draft(self.states[-1])
            draft.apply(program(self.seed, len(self.states), draft.page_size))
            self.states.append(State(0, draft.pages, draft.length, draft.page_size))
        return self.states[number]


# --- child processes ------------------------------------------------------------------------------


class Child:
    """A function of `child.py` in a process of its own. What it says comes line by line; its
    pipe outlives a kill.
    """

    def __init__(self, function: str, *arguments: object, prefix: Iterable[str] = ()) -> None:
        command = [*prefix, sys.executable, str(CHILD), function, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid
        self._pending = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def line(self) -> str:
        """The next line without its end; empty when the child has closed its output."""
        assert self.process.stdout is not None
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self.process.stdout], [], [], SILENCE_SECONDS_MAX)
            assert ready, f"the child said nothing for {SILENCE_SECONDS_MAX} s"
            block = os.read(self.process.stdout.fileno(), 1 << 16)
            if not block:
                return ""
            self._pending += block
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode()

    def quiet(self, seconds: float) -> bool:
        """Whether the child says nothing for that long."""
        assert self.process.stdout is not None
        return not self._pending and not select.select([self.process.stdout], [], [], seconds)[0]

    def lines(self) -> Iterator[str]:
        """All lines to the end of its output."""
        while line := self.line():
            yield line

    def say(self, text: str) -> None:
        """A line to the child."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """A signal to the child."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None and not stream.closed:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def kill_and_keep_hearing(self) -> None:
        """SIGKILL; what it said before is still there to be read."""
        self.process.send_signal(signal.SIGKILL)

    def end(self) -> int:
        """Closes its input, waits for its end, gives its exit status."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.process.wait(SILENCE_SECONDS_MAX)


@dataclass
class Oracle:
    """What a writing child said before it died: what it began, what was acknowledged, under
    which LSNs.
    """

    issued: int = 0
    acked: dict[int, int] = field(default_factory=dict)

    def hear(self, line: str) -> None:
        """One line of `child.write_program`."""
        kind, *numbers = line.split()
        if kind == "i":
            self.issued = int(numbers[0])
        elif kind == "a":
            self.acked[int(numbers[0])] = int(numbers[1])

    @property
    def last_acked(self) -> int:
        """The number of the last acknowledged transaction."""
        return max(self.acked, default=0)

    @property
    def last_lsn(self) -> int:
        """The highest commit LSN that was acknowledged."""
        return max(self.acked.values(), default=0)


def write_and_kill(path: Path, seed: object, acks: int, durability: str = "sync") -> Oracle:
    """A child runs a seeded program on the volume and is killed after `acks` acknowledgements,
    wherever it then is.
    """
    oracle = Oracle()
    with Child("write_program", path, seed, durability) as child:
        for _ in range(2 * acks):
            line = child.line()
            assert line, "the child died by itself"
            oracle.hear(line)
        child.kill_and_keep_hearing()
        for line in child.lines():
            oracle.hear(line)
    return oracle


def need_strace() -> None:
    """Skips, loudly, where faults cannot be put into system calls."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: faults in system calls are NOT tested here")
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("strace may not trace here: faults in system calls are NOT tested")


@contextlib.contextmanager
def traced(pid: int, *options: str) -> Iterator[None]:
    """Strace on a running process and all its threads, until the block ends."""
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", "/dev/null", "-p", str(pid), *options], stderr=subprocess.PIPE
    )
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert b"attached" in said, said
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(SILENCE_SECONDS_MAX / 4)
        except subprocess.TimeoutExpired:
            tracer.kill()
            raise
        tracer.stderr.close()  # type: ignore[union-attr]


# --- files ----------------------------------------------------------------------------------------


def copy(source: Path, target: Path) -> Path:
    """The directory as it is at one moment, holes kept: what a process that dies now leaves behind.

    The engine's background thread may seal or prepare a segment meanwhile; then it is copied again.
    """
    for _ in range(100):
        with contextlib.suppress(shutil.Error, FileNotFoundError):
            before = _signs(source)
            shutil.copytree(source, target, copy_function=_copy_sparse)
            if _signs(source) == before:
                return target
        shutil.rmtree(target, ignore_errors=True)
    raise AssertionError(f"{source} never holds still")


def _signs(path: Path) -> dict[str, tuple[int, int, int]]:
    """What tells that a file was written, renamed or removed; the lock file aside."""
    return {
        str(file.relative_to(path)): (status.st_ino, status.st_size, status.st_mtime_ns)
        for file in files_of(path)
        if (status := file.stat())
    }


def _copy_sparse(source: str, target: str) -> None:
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        position = 0
        while position < size:
            try:
                start = os.lseek(reader.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            reader.seek(start)
            writer.seek(start)
            while start < end:
                block = reader.read(min(1 << 20, end - start))
                if not block:
                    raise FileNotFoundError(source)  # made shorter meanwhile
                if not block.strip(b"\0"):
                    writer.seek(len(block), os.SEEK_CUR)
                else:
                    writer.write(block)
                start += len(block)
            position = end
        writer.truncate(size)


def flip(path: Path, offset: int, mask: int = 0x01) -> None:
    """Changes bits of one byte in place."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Puts bytes at an offset."""
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def files_of(path: Path) -> list[Path]:
    """Every file of a volume that holds data."""
    return sorted(
        file for file in path.rglob("*") if file.is_file() and "lock" not in file.name.lower()
    )


def contents(path: Path) -> dict[str, bytes]:
    """Name and content of every file of a volume, the lock file aside."""
    return {str(file.relative_to(path)): file.read_bytes() for file in files_of(path)}


def assert_refused(
    path: Path,
    error: type[aurolog.AurologError],
    match: str | None = None,
    *,
    file: str | None = None,
) -> None:
    """Nobody can open it, to read or to write, the error names `file`, and no byte changes."""
    before = contents(path)
    for read_only in (True, False):
        with pytest.raises(error, match=match) as caught:
            aurolog.open(path, read_only=read_only)
        assert file is None or getattr(caught.value, "file", None) == file
    assert contents(path) == before


def data_end(path: Path) -> int:
    """Where the last byte of a file that is not zero ends: prepared blocks behind the log are
    zeros.
    """
    return len(path.read_bytes().rstrip(b"\0"))


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Polls until something holds; its moment is the engine's, not the test's."""
    import time

    deadline = time.monotonic() + SILENCE_SECONDS_MAX
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        os.sched_yield()


@dataclass(frozen=True)
class Frame:
    """A frame of a log segment, read by docs/format.md and not by the engine."""

    segment: Path
    offset: int
    payload_bytes: int
    first_lsn: int
    records: int
    first: bool
    last: bool
    durable_before: int

    @property
    def end(self) -> int:
        """Behind its payload, before its padding."""
        return self.offset + 64 + self.payload_bytes

    @property
    def last_lsn(self) -> int:
        """The LSN of its last record."""
        return self.first_lsn + self.records - 1


def frames(segment: Path) -> list[Frame]:
    """The frames of one segment, as far as each begins with its magic and rising LSNs."""
    data = segment.read_bytes()
    found: list[Frame] = []
    offset = 4096
    while data[offset : offset + 4] == b"AULF":
        size, first_lsn, _, durable, records, flags = struct.unpack_from(
            "<IQQQIH", data, offset + 12
        )
        if found and first_lsn != found[-1].last_lsn + 1:
            break
        found.append(
            Frame(
                segment, offset, size, first_lsn, records, bool(flags & 1), bool(flags & 2), durable
            )
        )
        offset += (64 + size + 7) // 8 * 8
    return found


def is_sealed(segment: Path) -> bool:
    """Whether the segment ends with the trailer of a footer."""
    return segment.read_bytes()[-512:].startswith(b"AULTRAIL")


def segments(path: Path) -> list[Path]:
    """The log segments of a volume, in the order of their LSNs."""
    return sorted((path / "log").glob("????????????????-????????????????.log"))


# --- CRC32C, written a second time so that tests can forge valid bytes ----------------------------


def _crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc32c_table()


def crc32c(data: bytes, value: int = 0) -> int:
    """CRC32C (Castagnoli), bit-reflected, as in RFC 3720."""
    value ^= 0xFFFFFFFF
    for byte in data:
        value = _TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def patch_manifest(path: Path, offset: int, data: bytes) -> None:
    """Other bytes in the manifest, under a checksum that fits."""
    manifest = path / "MANIFEST"
    overwrite(manifest, offset, data)
    overwrite(manifest, 8, struct.pack("<I", crc32c(manifest.read_bytes()[12:])))


def patch_control(
    frame: Frame, offset: int, data: bytes, before: int | None = None, epoch: int | None = None
) -> None:
    """Other bytes in the record of a control batch, from its header on, another commit before it
    and another epoch; under checksums that fit.
    """
    whole = frame.segment.read_bytes()
    payload = bytearray(whole[frame.offset + 64 : frame.end])
    (at,) = struct.unpack_from("<H", payload, 4)
    payload[at + offset : at + offset + len(data)] = data
    if before is not None:
        struct.pack_into("<Q", payload, 32, before)
    if epoch is not None:
        struct.pack_into("<Q", payload, 40, epoch)
    lsn = struct.pack("<Q", frame.first_lsn)
    struct.pack_into("<I", payload, at, crc32c(lsn + payload[at + 4 :], crc32c(whole[40:56])))
    struct.pack_into("<I", payload, 0, crc32c(bytes(payload[4:at])))
    header = bytearray(whole[frame.offset : frame.offset + 64])
    struct.pack_into("<I", header, 8, crc32c(bytes(payload)))
    place = whole[24:40] + struct.pack("<Q", frame.offset)
    struct.pack_into("<I", header, 4, crc32c(place + header[8:]))
    overwrite(frame.segment, frame.offset, bytes(header + payload))


def strike_at(point: int, call: Callable[[], Any]) -> bool:
    """Runs a call, with an interrupt at its n-th point; whether there was one."""
    struck = False
    left = point

    def strike(_frame: object, event: str, _argument: object) -> None:
        nonlocal left, struck
        if event in ("call", "c_return"):
            left -= 1
            if left == 0:
                struck = True
                sys.setprofile(None)
                raise KeyboardInterrupt

    try:
        sys.setprofile(strike)
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(None)
    return struck
