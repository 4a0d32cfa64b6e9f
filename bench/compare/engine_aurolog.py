"""aurolog: a volume whose page p holds the bytes of page p."""

from __future__ import annotations

import importlib
from array import array
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar

from bench.compare.engines import Change, Engine, groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

READ_MANY_PAGES = 256
COUNTERS = ("log_bytes", "disk_writes", "disk_write_bytes")


class AurologEngine(Engine):
    durability = 'durability="sync": fdatasync of the log'
    change = "tx.write of 100 B into a 4 KiB page"
    ways: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "one": ("tx.write",),
        "threads": ("tx.write",),
        "tasks": ("async with",),
        "many": ("packed tx.apply", "iterable tx.apply", "tx.write each"),
        "bulk": ("tx[page] = image", "packed tx.apply"),
        "read": ("db[page]", "read_into", "read_many", "read_many out=", "view_page"),
        "kill": ("packed tx.apply",),
        "versions": ("db.at(lsn)[page]",),
    }

    def __init__(self, directory: Path, *, durable: bool, cache_bytes: int) -> None:
        aurolog: Any = importlib.import_module("aurolog")
        self._pack = aurolog.pack_changes
        self.db = aurolog.open(
            directory, durability="sync" if durable else "os", cache_bytes=cache_bytes
        )

    @staticmethod
    def version() -> str:
        importlib.import_module("aurolog")
        return version("aurolog")

    def put(self, page: int, offset: int, data: bytes) -> None:
        with self.db.transaction() as tx:
            tx.write(page, offset, data)

    def prepare(self, way: str, changes: Sequence[Change]) -> Any:
        if not way.startswith("packed"):
            return changes
        if len(changes[0][2]) == self.db.page_size:
            return self._pack(("image", page, data) for page, _, data in changes)
        return self._pack(changes)

    def commit(self, way: str, prepared: Any) -> None:
        with self.db.transaction() as tx:
            if way == "tx.write each":
                write = tx.write
                for page, offset, data in prepared:
                    write(page, offset, data)
            elif way == "tx[page] = image":
                for page, _, image in prepared:
                    tx[page] = image
            else:
                tx.apply(prepared)

    def sync(self) -> None:
        self.db.sync()

    def get(self, page: int, offset: int, length: int) -> bytes:
        return bytes(self.db[page][offset : offset + length])

    def select(self, way: str, pages: Sequence[int]) -> Any:
        if not way.startswith("read_many"):
            return pages
        return [array("Q", group) for group in groups(pages, READ_MANY_PAGES)]

    def read(self, way: str, selected: Any) -> None:
        db = self.db
        if way == "db[page]":
            for page in selected:
                db[page]
        elif way == "read_into":
            buffer = bytearray(db.page_size)
            for page in selected:
                db.read_into(page, buffer)
        elif way == "view_page":
            for page in selected:
                db.view_page(page)
        elif way == "read_many":
            for pages in selected:
                db.read_many(pages)
        else:
            out = memoryview(bytearray(READ_MANY_PAGES * db.page_size))
            for pages in selected:
                db.read_many(pages, out[: len(pages) * db.page_size])

    def moment(self) -> int:
        return int(self.db.visible_lsn)

    def read_at(self, way: str, moments: Sequence[int], pages: Sequence[int]) -> list[bytes]:
        at = self.db.at
        return [at(lsn)[page] for lsn, page in zip(moments, pages, strict=True)]

    def counters(self) -> Mapping[str, int]:
        stats = self.db.stats()
        found = {name: getattr(stats, name) for name in COUNTERS}
        return {**found, "syncs": stats.disk_syncs + stats.dir_syncs}

    def opened(self) -> Mapping[str, float]:
        recovery = self.db.recovery
        return {"recovery_ms": recovery.seconds * 1e3, "scanned_mb": recovery.scanned_bytes / 1e6}

    def close(self) -> None:
        self.db.close()
