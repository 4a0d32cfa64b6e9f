"""LMDB through py-lmdb: a copy-on-write B+ tree in a memory map."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, ClassVar

from bench.compare.engines import Change, Engine, groups, key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MAP_BYTES = 16 << 30
GETMULTI_PAGES = 256


class LmdbEngine(Engine):
    durability = "sync=True: fdatasync of the tree, then of the meta page"
    change = "put of a 100 B value under the page's number"
    ways: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "one": ("put",),
        "threads": ("put",),
        "many": ("cursor.putmulti",),
        "bulk": ("cursor.putmulti append=True",),
        "read": ("txn.get", "txn.get buffers=True", "cursor.getmulti"),
        "kill": ("cursor.putmulti",),
    }

    def __init__(self, directory: Path, *, durable: bool, cache_bytes: int) -> None:
        lmdb: Any = importlib.import_module("lmdb")
        self.env = lmdb.open(str(directory), map_size=MAP_BYTES, sync=durable)

    @staticmethod
    def version() -> str:
        lmdb: Any = importlib.import_module("lmdb")
        return f"{'.'.join(map(str, lmdb.version()))} (py-lmdb {lmdb.__version__})"

    def put(self, page: int, offset: int, data: bytes) -> None:
        with self.env.begin(write=True) as txn:
            txn.put(key(page), data)

    def prepare(self, way: str, changes: Sequence[Change]) -> Any:
        return [(key(page), data) for page, _, data in changes]

    def commit(self, way: str, prepared: Any) -> None:
        with self.env.begin(write=True) as txn, txn.cursor() as cursor:
            cursor.putmulti(prepared, append=way.endswith("append=True"))

    def sync(self) -> None:
        self.env.sync(True)

    def get(self, page: int, offset: int, length: int) -> bytes:
        with self.env.begin() as txn:
            return bytes(txn.get(key(page)))

    def select(self, way: str, pages: Sequence[int]) -> Any:
        keys = [key(page) for page in pages]
        return groups(keys, GETMULTI_PAGES) if way == "cursor.getmulti" else keys

    def read(self, way: str, selected: Any) -> None:
        with self.env.begin(buffers=way.endswith("buffers=True")) as txn:
            get = txn.cursor().getmulti if way == "cursor.getmulti" else txn.get
            for item in selected:
                get(item)

    def close(self) -> None:
        self.env.close()
