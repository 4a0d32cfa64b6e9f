"""ZODB's FileStorage: objects in one file that grows, each with all its older states in it."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from bench.compare.engines import Change, Engine, key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class ZodbEngine(Engine):
    durability = "fsync of the file at the end of each transaction"
    change = "the whole state of 4 KiB of the object with the page's number"
    ways: ClassVar[Mapping[str, tuple[str, ...]]] = {"versions": ("loadBefore",)}

    def __init__(self, directory: Path, *, durable: bool, cache_bytes: int) -> None:
        self._utils: Any = importlib.import_module("ZODB.utils")
        self._meta: Any = importlib.import_module("ZODB.Connection").TransactionMetaData
        storage: Any = importlib.import_module("ZODB.FileStorage")
        self.db = storage.FileStorage(str(directory / "Data.fs"))
        self._serials: dict[bytes, bytes] = {}

    @staticmethod
    def version() -> str:
        importlib.import_module("ZODB")
        return version("ZODB")

    def put(self, page: int, offset: int, data: bytes) -> None:
        self.commit("", [(page, offset, data)])

    def prepare(self, way: str, changes: Sequence[Change]) -> Any:
        return changes

    def commit(self, way: str, prepared: Any) -> None:
        transaction, nothing = self._meta(), self._utils.z64
        self.db.tpc_begin(transaction)
        oids = [key(page) for page, _, _ in prepared]
        for oid, (_, _, data) in zip(oids, prepared, strict=True):
            self.db.store(oid, self._serials.get(oid, nothing), data, "", transaction)
        self.db.tpc_vote(transaction)
        serial = self.db.tpc_finish(transaction)
        self._serials |= dict.fromkeys(oids, serial)

    def moment(self) -> int:
        return int(self._utils.u64(self.db.lastTransaction()))

    def read_at(self, way: str, moments: Sequence[int], pages: Sequence[int]) -> list[bytes]:
        load, p64 = self.db.loadBefore, self._utils.p64
        return [
            load(key(page), p64(moment + 1))[0] for moment, page in zip(moments, pages, strict=True)
        ]

    def close(self) -> None:
        self.db.close()
