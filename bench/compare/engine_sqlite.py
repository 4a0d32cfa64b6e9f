"""SQLite with a write-ahead log, through the standard library."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any, ClassVar

from bench.compare.engines import Change, Engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PUT = "insert or replace into pages values (?, ?)"
GET = "select data from pages where page = ?"


class SqliteEngine(Engine):
    durability = "journal_mode=WAL, synchronous=FULL: fdatasync of the log"
    change = "insert or replace of a row: the page's number and 100 B"
    ways: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "one": ("execute",),
        "threads": ("execute under a lock",),
        "many": ("executemany",),
        "bulk": ("executemany",),
        "read": ("select",),
        "kill": ("executemany",),
    }

    def __init__(self, directory: Path, *, durable: bool, cache_bytes: int) -> None:
        self.lock = threading.Lock()
        # Threads share one connection: between connections SQLite polls for its write lock.
        self.db = sqlite3.connect(
            directory / "pages.sqlite", isolation_level=None, check_same_thread=False
        )
        self.db.execute("pragma journal_mode = wal")
        self.db.execute(f"pragma synchronous = {'full' if durable else 'normal'}")
        self.db.execute(f"pragma cache_size = {-(cache_bytes >> 10)}")
        self.db.execute("create table if not exists pages (page integer primary key, data blob)")

    @staticmethod
    def version() -> str:
        return sqlite3.sqlite_version

    def put(self, page: int, offset: int, data: bytes) -> None:
        with self.lock:
            self.db.execute(PUT, (page, data))

    def prepare(self, way: str, changes: Sequence[Change]) -> Any:
        return [(page, data) for page, _, data in changes]

    def commit(self, way: str, prepared: Any) -> None:
        self.db.execute("begin immediate")
        self.db.executemany(PUT, prepared)
        self.db.execute("commit")

    def sync(self) -> None:
        self.db.execute("pragma wal_checkpoint(full)")

    def get(self, page: int, offset: int, length: int) -> bytes:
        return bytes(self.db.execute(GET, (page,)).fetchone()[0])

    def select(self, way: str, pages: Sequence[int]) -> Any:
        return [(page,) for page in pages]

    def read(self, way: str, selected: Any) -> None:
        execute = self.db.execute
        for item in selected:
            execute(GET, item).fetchone()

    def close(self) -> None:
        self.db.close()
