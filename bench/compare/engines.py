"""What every engine must do to be compared, and where its adapter is.

A change is `(page, offset, data)`. A page store writes the bytes there; a key-value store puts
`data` under the page's number, the offset being nothing to it (a page rewritten for 100 bytes
would cost it forty times more, so this favours it). Payload is always random and so never equal
to what is there: SQLite would skip the write and the sync.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Change: TypeAlias = tuple[int, int, bytes]
"""Page number, offset in the page, bytes to be there."""

FLOOR = "floor"
"""The contestant that is no engine: see floor.py."""

ADAPTERS: Mapping[str, str] = {
    "aurolog": "engine_aurolog:AurologEngine",
    "lmdb": "engine_lmdb:LmdbEngine",
    "rocksdict": "engine_rocksdict:RocksdictEngine",
    "plyvel": "engine_plyvel:PlyvelEngine",
    "sqlite": "engine_sqlite:SqliteEngine",
    "zodb": "engine_zodb:ZodbEngine",
}


class Engine(Protocol):
    """One engine, opened in a directory. Adapters are thin: they are inside the timing."""

    durability: ClassVar[str]
    """What a returned commit has gone through, in the engine's own words."""
    change: ClassVar[str]
    """What a change of 100 bytes is to this engine."""
    ways: ClassVar[Mapping[str, tuple[str, ...]]]
    """How the work can be put to this engine: workload to ways, the plainest first."""

    def __init__(self, directory: Path, *, durable: bool, cache_bytes: int) -> None:
        """Open; `durable` is whether a commit is on the disk when it returns."""

    @staticmethod
    def version() -> str:
        """The engine's version and its Python package's; raises ImportError when absent."""
        ...

    def put(self, page: int, offset: int, data: bytes) -> None:
        """One change, one commit; called by many threads at once."""

    def prepare(self, way: str, changes: Sequence[Change]) -> Any:
        """The changes in the form that `commit` takes: not timed, or timed apart."""

    def commit(self, way: str, prepared: Any) -> None:
        """All changes of one `prepare` in one commit."""

    def sync(self) -> None:
        """Make durable what was committed without."""

    def get(self, page: int, offset: int, length: int) -> bytes:
        """The bytes of one change, read back."""
        ...

    def select(self, way: str, pages: Sequence[int]) -> Any:
        """Page numbers in the form that `read` takes: not timed."""

    def read(self, way: str, selected: Any) -> None:
        """Read each of the pages whole."""

    def moment(self) -> int:
        """The newest commit, in whatever the engine calls one by; of engines with a past."""
        raise NotImplementedError

    def read_at(self, way: str, moments: Sequence[int], pages: Sequence[int]) -> list[bytes]:
        """Each page whole, as of its moment."""
        raise NotImplementedError

    def counters(self) -> Mapping[str, int]:
        """The engine's own counters that only grow: of log bytes, writes, syncs."""
        return {}

    def opened(self) -> Mapping[str, float]:
        """What the engine tells about its opening."""
        return {}

    def close(self) -> None:
        """Close cleanly."""


def adapter(name: str) -> type[Engine]:
    """The adapter class of this engine. Importing an adapter does not import its engine."""
    module, _, cls = ADAPTERS[name].partition(":")
    found: type[Engine] = getattr(importlib.import_module(f"bench.compare.{module}"), cls)
    return found


def key(page: int) -> bytes:
    """A page's number as a key that sorts like the number."""
    return page.to_bytes(8, "big")


def groups(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """`items` by `size`, in order."""
    return [items[at : at + size] for at in range(0, len(items), size)]
