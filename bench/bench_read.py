"""Reads. Each benchmark is of 1,000 random pages, all of them cached unless its name says so."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest

from bench.conftest import CALLS, Benchmark, random_changes, random_pages

if TYPE_CHECKING:
    import aurolog

HISTORY_COMMITS = 64
"""Commits of one page in the benchmarks that read its past."""
HOT_PAGE = 5


def test_getitem(benchmark: Benchmark, volume: aurolog.Volume) -> None:
    """`db[page]`."""
    pages = random_pages()

    @benchmark
    def _() -> None:
        for page in pages:
            volume[page]


def test_read_into(benchmark: Benchmark, volume: aurolog.Volume) -> None:
    """`db.read_into(page, buffer)`."""
    pages, buffer = random_pages(), bytearray(volume.page_size)

    @benchmark
    def _() -> None:
        for page in pages:
            volume.read_into(page, buffer)


def test_view_page(benchmark: Benchmark, volume: aurolog.Volume) -> None:
    """`db.view_page(page)`, and giving it back."""
    pages = random_pages()

    @benchmark
    def _() -> None:
        for page in pages:
            volume.view_page(page)


@pytest.mark.parametrize("kind", [list, lambda pages: array("Q", pages)], ids=["list", "array"])
def test_read_many(benchmark: Benchmark, volume: aurolog.Volume, kind: type[list[int]]) -> None:
    """`db.read_many(pages)`: one call, a new buffer."""
    benchmark(volume.read_many, kind(random_pages()))


def test_read_many_out(benchmark: Benchmark, volume: aurolog.Volume) -> None:
    """`db.read_many(pages, out)`: one call, the same buffer each time."""
    out = bytearray(CALLS * volume.page_size)
    benchmark(volume.read_many, array("Q", random_pages()), out)


@pytest.fixture(scope="module")
def past(volume: aurolog.Volume) -> list[int]:
    """Commit LSNs of a page that was changed often."""
    lsns = []
    for _, offset, data in random_changes()[:HISTORY_COMMITS]:
        with volume.transaction(durability="os") as tx:
            tx.write(HOT_PAGE, offset, data)
        lsns.append(tx.lsn or 0)
    return lsns


def test_at(benchmark: Benchmark, volume: aurolog.Volume, past: list[int]) -> None:
    """`db.at(lsn)` alone: 64 of them."""

    @benchmark
    def _() -> None:
        for lsn in past:
            volume.at(lsn).close()


def test_at_getitem(benchmark: Benchmark, volume: aurolog.Volume, past: list[int]) -> None:
    """`db.at(lsn)[page]`: a page of up to 64 versions, as of each of them."""

    @benchmark
    def _() -> None:
        for lsn in past:
            volume.at(lsn)[HOT_PAGE]


def test_versions(benchmark: Benchmark, volume: aurolog.Volume, past: list[int]) -> None:
    """`db.versions(page)` of 65 versions."""
    assert len(benchmark(volume.versions, HOT_PAGE)) > len(past)
