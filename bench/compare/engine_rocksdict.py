"""RocksDB through rocksdict: a log-structured merge tree."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from bench.compare.engines import Change, Engine, groups, key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MULTI_GET_PAGES = 256


class RocksdictEngine(Engine):
    durability = "WriteOptions.sync: fdatasync of the write-ahead log"
    change = "put of a 100 B value under the page's number"
    ways: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "one": ("put",),
        "threads": ("put",),
        "many": ("WriteBatch",),
        "bulk": ("WriteBatch",),
        "read": ("get", "get of a list"),
        "kill": ("WriteBatch",),
    }

    def __init__(self, directory: Path, *, durable: bool, cache_bytes: int) -> None:
        self.lib: Any = importlib.import_module("rocksdict")
        options, table = self.lib.Options(raw_mode=True), self.lib.BlockBasedOptions()
        options.set_compression_type(self.lib.DBCompressionType.none())
        table.set_block_cache(self.lib.Cache(cache_bytes))
        options.set_block_based_table_factory(table)
        self.db = self.lib.Rdict(str(directory), options)
        self.write_options = self.lib.WriteOptions()
        self.write_options.sync = durable
        self.db.set_write_options(self.write_options)

    @staticmethod
    def version() -> str:
        importlib.import_module("rocksdict")
        return f"rocksdict {version('rocksdict')}"

    def put(self, page: int, offset: int, data: bytes) -> None:
        self.db.put(key(page), data)

    def prepare(self, way: str, changes: Sequence[Change]) -> Any:
        return [(key(page), data) for page, _, data in changes]

    def commit(self, way: str, prepared: Any) -> None:
        batch = self.lib.WriteBatch(raw_mode=True)
        for item, value in prepared:
            batch.put(item, value)
        self.db.write(batch, self.write_options)

    def sync(self) -> None:
        self.db.flush_wal(True)

    def get(self, page: int, offset: int, length: int) -> bytes:
        return bytes(self.db.get(key(page)))

    def select(self, way: str, pages: Sequence[int]) -> Any:
        keys = [key(page) for page in pages]
        return [list(group) for group in groups(keys, MULTI_GET_PAGES)] if "list" in way else keys

    def read(self, way: str, selected: Any) -> None:
        get = self.db.get
        for item in selected:
            get(item)

    def close(self) -> None:
        self.db.close()
