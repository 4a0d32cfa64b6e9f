"""A small file store on pages, as a user of aurolog might write one.

Three areas of one volume, so that a file's bytes, its entry and the allocation pointers change in
the same transaction, and none is ever there without the others:

    page 0            header: magic (8 bytes), next free page (8), next free entry (8)
    pages 1 to 4096   the directory: 65,536 entries of 256 bytes, 16 to a page of 4 KiB
    from page 4097    extents: each file's bytes in consecutive pages of their own

An entry is the BLAKE2b digest of the file's bytes (32), their length (8), the first page (8), the
number of pages (4), the length of the name (2) and the name itself in UTF-8; an entry whose name
has length zero is free. Integers are little-endian. Pages that no file reached yet cost nothing:
they are not in the log.

Allocation only goes up: an entry or a page is never used a second time, and the space of a
deleted file stays empty. A file is found by its name through a dictionary that whoever opens the
store builds from the directory. Enough for a demonstration, and no more than that.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import aurolog

PAGE_BYTES = 4096
MAGIC = b"aurodemo"
HEADER = struct.Struct("<8sQQ")
ENTRY = struct.Struct("<32sQQIH")
ENTRY_BYTES = 256
ENTRIES_PER_PAGE = PAGE_BYTES // ENTRY_BYTES
DIRECTORY_PAGE = 1
DIRECTORY_PAGES = 4096
ENTRIES_MAX = DIRECTORY_PAGES * ENTRIES_PER_PAGE
EXTENTS_PAGE = DIRECTORY_PAGE + DIRECTORY_PAGES
NAME_BYTES_MAX = ENTRY_BYTES - ENTRY.size


class Source(Protocol):
    """What files are read from: a volume (now) or a view (then)."""

    def __getitem__(self, page: int, /) -> bytes: ...

    def read_many(self, pages: Sequence[int], /) -> memoryview: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in the directory; `length` in bytes, in `pages` pages from `first_page` on."""

    number: int
    name: str
    digest: bytes
    length: int
    first_page: int
    pages: int

    @property
    def place(self) -> tuple[int, int]:
        """Page and offset of the entry itself."""
        page, index = divmod(self.number, ENTRIES_PER_PAGE)
        return DIRECTORY_PAGE + page, index * ENTRY_BYTES

    def pack(self) -> bytes:
        """The entry as it stands in the directory, without the unused rest."""
        name = self.name.encode()
        fields = (self.digest, self.length, self.first_page, self.pages, len(name))
        return ENTRY.pack(*fields) + name


def digest_of(data: bytes | memoryview) -> bytes:
    """The digest that an entry holds: BLAKE2b of 32 bytes."""
    return hashlib.blake2b(data, digest_size=32).digest()


def pages_of(length: int) -> int:
    """How many pages a file of `length` bytes takes."""
    return -(-length // PAGE_BYTES)


# ---- reading ----


def read_header(source: Source) -> tuple[int, int]:
    """The next free page and the next free entry."""
    magic, page, number = HEADER.unpack_from(source[0])
    if magic == bytes(len(MAGIC)):
        return EXTENTS_PAGE, 0  # nothing was ever stored
    if magic != MAGIC:
        raise ValueError(f"page 0 begins with {magic!r}: no file store")
    return page, number


def read_directory(source: Source) -> dict[str, Entry]:
    """Every file by its name."""
    _, numbers = read_header(source)
    pages = -(-numbers // ENTRIES_PER_PAGE)
    data = source.read_many(range(DIRECTORY_PAGE, DIRECTORY_PAGE + pages))
    entries = (_unpack(data, number, number * ENTRY_BYTES) for number in range(numbers))
    return {entry.name: entry for entry in entries if entry is not None}


def read_entry(source: Source, number: int) -> Entry | None:
    """One entry of the directory; `None` when it is free."""
    page, index = divmod(number, ENTRIES_PER_PAGE)
    return _unpack(source[DIRECTORY_PAGE + page], number, index * ENTRY_BYTES)


def _unpack(data: bytes | memoryview, number: int, offset: int) -> Entry | None:
    digest, length, first_page, pages, name_bytes = ENTRY.unpack_from(data, offset)
    if name_bytes == 0:
        return None
    start = offset + ENTRY.size
    name = bytes(data[start : start + name_bytes]).decode()
    return Entry(number, name, digest, length, first_page, pages)


def read_bytes(source: Source, entry: Entry) -> memoryview:
    """A file's bytes."""
    pages = range(entry.first_page, entry.first_page + entry.pages)
    return source.read_many(pages)[: entry.length]


# ---- changing: each function is part of the caller's transaction ----


def add(tx: aurolog.Transaction, name: str, data: bytes) -> Entry:
    """Store a new file."""
    magic, page, number = HEADER.unpack_from(tx[0])
    if magic != MAGIC:
        page, number = EXTENTS_PAGE, 0
    if number >= ENTRIES_MAX:
        raise ValueError(f"the directory is full: {ENTRIES_MAX} entries")
    entry = Entry(number, name, digest_of(data), len(data), page, pages_of(len(data)))
    directory_page, offset = entry.place
    changes: list[tuple[int, int, bytes]] = [
        (page + i, 0, data[i * PAGE_BYTES : (i + 1) * PAGE_BYTES]) for i in range(entry.pages)
    ]
    changes.append((directory_page, offset, entry.pack()))
    changes.append((0, 0, HEADER.pack(MAGIC, page + entry.pages, number + 1)))
    tx.apply(changes)
    return entry


def overwrite(tx: aurolog.Transaction, entry: Entry, data: bytes) -> Entry:
    """Replace a file's bytes by as many others.

    Whole pages are put, and so is the whole page of the directory: the library finds out what
    really changed, and only that is logged.
    """
    if len(data) != entry.length:
        raise ValueError(f"{entry.name}: {len(data)} bytes cannot replace {entry.length} in place")
    changed = Entry(
        entry.number, entry.name, digest_of(data), entry.length, entry.first_page, entry.pages
    )
    for i in range(entry.pages):
        image = data[i * PAGE_BYTES : (i + 1) * PAGE_BYTES]
        tx[entry.first_page + i] = image.ljust(PAGE_BYTES, b"\0")
    directory_page, offset = entry.place
    directory = bytearray(tx[directory_page])
    packed = changed.pack()
    directory[offset : offset + len(packed)] = packed
    tx[directory_page] = bytes(directory)
    return changed


def remove(tx: aurolog.Transaction, entry: Entry) -> None:
    """Delete a file: its entry becomes free and its pages zeros."""
    directory_page, offset = entry.place
    tx.fill(directory_page, offset, ENTRY_BYTES, 0)
    for page in range(entry.first_page, entry.first_page + entry.pages):
        tx.fill(page, 0, PAGE_BYTES, 0)
