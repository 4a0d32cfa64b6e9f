"""Opening, and the calls that go over a whole volume of 16 MiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aurolog
from bench.conftest import PAGES, Benchmark, fresh_directory, random_changes

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 30


def test_create(benchmark: Benchmark) -> None:
    """`aurolog.open` of a path that is not there, and `close`."""
    with fresh_directory() as path:
        names = iter(range(1_000_000))

        @benchmark
        def _() -> None:
            aurolog.open(path / str(next(names))).close()


def test_open_clean(benchmark: Benchmark) -> None:
    """`aurolog.open` of a volume that was closed, of 16 MiB; `close` is outside."""
    with fresh_directory() as path:
        _make(path / "v")
        opened: list[aurolog.Volume] = []

        def close() -> None:
            while opened:
                opened.pop().close()

        benchmark.pedantic(
            lambda: opened.append(aurolog.open(path / "v")), setup=close, rounds=ROUNDS
        )
        close()


def test_open_read_only(benchmark: Benchmark) -> None:
    """`aurolog.open(read_only=True)` of the same, and `close`."""
    with fresh_directory() as path:
        _make(path / "v")
        benchmark(lambda: aurolog.open(path / "v", read_only=True).close())


def test_verify(benchmark: Benchmark, volume: aurolog.Volume) -> None:
    """`db.verify()` of 16 MiB."""
    assert benchmark(volume.verify).ok


def _make(path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.apply(("image", page, page.to_bytes(8, "little") * 512) for page in range(PAGES))
        with db.transaction() as tx:
            tx.apply(random_changes())
