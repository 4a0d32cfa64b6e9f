"""Packed changes: many changes of pages in one buffer, for ``Transaction.apply``.

Each change is a 16-byte little-endian header, and for a write, an image or a put its data right
behind it. The layout is in ``docs/api.md``; ``csrc/record.c`` parses it.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterable
from typing import Any, Protocol, SupportsIndex

from aurolog.errors import InputError

__all__ = ["Buffer", "Change", "WritableBuffer", "pack_changes"]


class _Exporter(Protocol):
    def __buffer__(self, flags: int, /) -> memoryview: ...


class _WritableExporter(_Exporter, Protocol):
    def __setitem__(self, key: Any, value: Any, /) -> None: ...


class _Array(Protocol):
    @property
    def __array_interface__(self) -> Any: ...


class _WritableArray(_Array, Protocol):
    def __setitem__(self, key: Any, value: Any, /) -> None: ...


#: Any object with the buffer protocol: bytes, bytearray, memoryview, array, mmap, numpy's arrays.
#: For type checkers, which know ``__buffer__`` on every Python, and numpy's have it from 3.12 on.
Buffer = _Exporter | _Array

#: A buffer whose items can be assigned, which those of bytes cannot be.
WritableBuffer = _WritableExporter | _WritableArray

#: One change as a tuple: see ``pack_changes``.
Change = (
    tuple[SupportsIndex, SupportsIndex, Buffer]
    | tuple[str, SupportsIndex, SupportsIndex, Buffer]
    | tuple[str, SupportsIndex, SupportsIndex, SupportsIndex, SupportsIndex]
    | tuple[str, SupportsIndex, Buffer]
    | tuple[str, SupportsIndex]
)

WRITE, MOVE, FILL, IMAGE, TRUNCATE, PUT = 1, 2, 3, 4, 5, 6

#: kind, zero, offset, length, source of a move or byte of a fill, page
HEADER = struct.Struct("<BBHHHQ")
pack_header: Callable[..., bytes] = HEADER.pack

HEADER_BYTES = HEADER.size

#: the header of a write, the change that comes in masses: kind and zero, offset, length, page
pack_write_header: Callable[..., bytes] = struct.Struct("<HHH2xQ").pack

LENGTH_MAX = 65536
LENGTH_MASK = LENGTH_MAX - 1  # the longest is written as 0


def pack_changes(changes: Iterable[Change]) -> bytes:
    """Packs changes given as tuples into one buffer.

    A change is ``(page, offset, data)`` or, named, ``("write", page, offset, data)``,
    ``("move", page, src, dst, length)``,
    ``("fill", page, offset, length, byte)``, ``("image", page, data)``, which is logged whole,
    ``("put", page, data)``, of which the difference is logged when that is smaller,
    ``("truncate", pages)``.
    Empty writes, moves and fills are left out.

    Raises ``InputError`` for a tuple of another shape or a number that no field can hold; ``apply``
    checks the ranges.
    """
    parts: list[bytes] = []
    append = parts.append
    pack = pack_write_header
    try:
        items = iter(changes)
    except TypeError:
        raise InputError(
            f"changes are an iterable of tuples, not {type(changes).__name__}"
        ) from None
    for change in items:
        try:
            page, offset, data = change  # type: ignore[misc]  # looked at by trying
            if type(data) is bytes:  # of anything else the length is not the size
                length = len(data)
                if 0 < length < LENGTH_MAX:
                    append(pack(WRITE, offset, length, page))
                    append(data)
                    continue
        except (TypeError, ValueError, struct.error):
            pass
        append(pack_named(change))
    return b"".join(parts)


def as_bytes(data: object, what: str = "the data of a change") -> bytes:
    """A copy of the bytes of any object with the buffer protocol, strided ones item by item."""
    try:
        return memoryview(data).tobytes()  # type: ignore[arg-type]
    except TypeError:
        raise InputError(f"{what} is bytes, not {type(data).__name__}") from None
    except (ValueError, BufferError) as error:
        raise InputError(f"{what} is a buffer that cannot be read: {error}") from None


def as_integer(what: str, value: SupportsIndex) -> int:
    """An argument as an int, numpy's integers too."""
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{what} is a whole number, not {value!r:.60}") from None


def pack_named(change: object) -> bytes:
    """Packs one change, whatever its form; says what is wrong with it."""
    if not isinstance(change, tuple | list) or not change:
        raise InputError(
            f"a change is a tuple, not {change!r:.80}: pass a list of tuples, for one change too"
        )
    fields = list(change)
    name = fields.pop(0) if isinstance(fields[0], str) else "write"
    try:
        if name == "write":
            page, offset, data = fields
            return pack_write(page, offset, as_bytes(data))
        if name == "move":
            page, source, destination, length = fields
            return pack_ranged(MOVE, page, destination, length, source)
        if name == "fill":
            page, offset, length, byte = fields
            return pack_ranged(FILL, page, offset, length, byte)
        if name in ("image", "put"):
            page, data = fields
            return pack_whole(IMAGE if name == "image" else PUT, page, as_bytes(data))
        if name == "truncate":
            (pages,) = fields
            return pack_header(TRUNCATE, 0, 0, 0, 0, pages)
    except (TypeError, ValueError, struct.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"a bad change {change!r:.80}: {error}") from None
    raise InputError(
        f"{name!r} is no kind of change: use write, move, fill, image, put or truncate"
    )


def pack_write(page: int, offset: int, data: bytes) -> bytes:
    """One write; nothing when it has no data."""
    if len(data) > LENGTH_MAX:
        raise InputError(f"a write of {len(data)} bytes is longer than the largest page")
    return pack_header(WRITE, 0, offset, len(data) & LENGTH_MASK, 0, page) + data if data else b""


def pack_whole(kind: int, page: int, data: bytes) -> bytes:
    """One whole page, to be logged whole or as what differs in it."""
    if not 0 < len(data) <= LENGTH_MAX:
        raise InputError(f"an image of {len(data)} bytes is no page")
    return pack_header(kind, 0, 0, len(data) & LENGTH_MASK, 0, page) + data


def pack_ranged(kind: int, page: int, offset: int, length: SupportsIndex, extra: int) -> bytes:
    """One move (``extra`` is the source) or fill (``extra`` is the byte); nothing when its
    length is 0."""
    length = operator.index(length)
    if not 0 <= length <= LENGTH_MAX:
        raise InputError(f"a length of {length} is outside every page")
    return pack_header(kind, 0, offset, length & LENGTH_MASK, extra, page) if length else b""
