"""LevelDB through plyvel: a log-structured merge tree, with group commit between threads."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, ClassVar

from bench.compare.engines import Change, Engine, key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class PlyvelEngine(Engine):
    durability = "sync=True: fdatasync of the write-ahead log"
    change = "put of a 100 B value under the page's number"
    ways: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "one": ("put",),
        "threads": ("put",),
        "tasks": ("put, 16 threads",),
        "many": ("write_batch",),
        "bulk": ("write_batch",),
        "read": ("get",),
        "kill": ("write_batch",),
    }

    def __init__(self, directory: Path, *, durable: bool, cache_bytes: int) -> None:
        plyvel: Any = importlib.import_module("plyvel")
        self.directory, self.durable = directory, durable
        self.db = plyvel.DB(
            str(directory), create_if_missing=True, lru_cache_size=cache_bytes, compression=None
        )

    @staticmethod
    def version() -> str:
        plyvel: Any = importlib.import_module("plyvel")
        return f"{plyvel.__leveldb_version__} (plyvel {plyvel.__version__})"

    def put(self, page: int, offset: int, data: bytes) -> None:
        self.db.put(key(page), data, sync=self.durable)

    def prepare(self, way: str, changes: Sequence[Change]) -> Any:
        return [(key(page), data) for page, _, data in changes]

    def commit(self, way: str, prepared: Any) -> None:
        with self.db.write_batch(sync=self.durable) as batch:
            put = batch.put
            for item, value in prepared:
                put(item, value)

    def sync(self) -> None:
        # LevelDB syncs its newest log only; what is in the one before is not a table yet, maybe.
        for log in self.directory.glob("*.log"):
            descriptor = os.open(log, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def get(self, page: int, offset: int, length: int) -> bytes:
        return bytes(self.db.get(key(page)))

    def select(self, way: str, pages: Sequence[int]) -> Any:
        return [key(page) for page in pages]

    def read(self, way: str, selected: Any) -> None:
        get = self.db.get
        for item in selected:
            get(item)

    def close(self) -> None:
        self.db.close()
