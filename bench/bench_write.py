"""Writes and commits. Benchmarks of calls inside a transaction are of 1,000 changes of 100 B."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING, Literal

import pytest

import aurolog
from bench.conftest import PAGES, Benchmark, random_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Change = tuple[int, int, bytes]
ROUNDS = 200


def _write(tx: aurolog.Transaction, changes: Sequence[Change]) -> None:
    for page, offset, data in changes:
        tx.write(page, offset, data)


def _fill(tx: aurolog.Transaction, changes: Sequence[Change]) -> None:
    for page, offset, data in changes:
        tx.fill(page, offset, len(data), data[0])


def _move(tx: aurolog.Transaction, changes: Sequence[Change]) -> None:
    for page, offset, data in changes:
        tx.move(page, offset, 3_900 - offset, len(data))


@pytest.mark.parametrize("call", [_write, _fill, _move], ids=["write", "fill", "move"])
def test_call(
    benchmark: Benchmark,
    volume: aurolog.Volume,
    call: Callable[[aurolog.Transaction, Sequence[Change]], None],
) -> None:
    """One call per change, not committed."""
    changes = [(page, offset % 3_900, data) for page, offset, data in random_changes()]
    _in_transaction(benchmark, volume, lambda tx: call(tx, changes))


def test_apply_iterable(benchmark: Benchmark, volume: aurolog.Volume) -> None:
    """`tx.apply` of tuples, not committed."""
    changes = random_changes()
    _in_transaction(benchmark, volume, lambda tx: tx.apply(changes))


def test_apply_packed(benchmark: Benchmark, volume: aurolog.Volume) -> None:
    """`tx.apply` of a packed buffer, not committed."""
    packed = aurolog.pack_changes(random_changes())
    _in_transaction(benchmark, volume, lambda tx: tx.apply(packed))


def test_pack_changes(benchmark: Benchmark) -> None:
    """`pack_changes` of tuples."""
    benchmark(aurolog.pack_changes, random_changes())


def test_setitem_small_difference(benchmark: Benchmark, volume: aurolog.Volume) -> None:
    """`tx[page] = image` where 100 B differ, 1,000 times, not committed."""
    images = []
    for page, offset, data in random_changes():
        image = bytearray(volume[page])
        image[offset : offset + len(data)] = data
        images.append((page, bytes(image)))

    def put(tx: aurolog.Transaction) -> None:
        for page, image in images:
            tx[page] = image

    _in_transaction(benchmark, volume, put)


def _in_transaction(
    benchmark: Benchmark,
    volume: aurolog.Volume,
    work: Callable[[aurolog.Transaction], None],
) -> None:
    """Time the work alone; the transaction's begin and rollback are outside."""
    opened: list[aurolog.Transaction] = []

    def begin() -> tuple[tuple[aurolog.Transaction], dict[str, object]]:
        end()
        opened.append(volume.transaction())
        return (opened[0],), {}

    def end() -> None:
        while opened:
            opened.pop().rollback()

    benchmark.pedantic(work, setup=begin, rounds=ROUNDS, warmup_rounds=2)
    end()


@pytest.mark.parametrize("durability", ["os", "sync"])
def test_commit(
    benchmark: Benchmark, volume: aurolog.Volume, durability: Literal["sync", "os"]
) -> None:
    """A transaction of one change of 100 B, begun and committed."""
    changes = cycle(random_changes(2))

    @benchmark
    def _() -> None:
        with volume.transaction(durability=durability) as tx:
            tx.write(*next(changes))


@pytest.mark.parametrize("durability", ["os", "sync"])
def test_commit_1000(
    benchmark: Benchmark, volume: aurolog.Volume, durability: Literal["sync", "os"]
) -> None:
    """A transaction of 1,000 changes of 100 B in a packed buffer."""
    packed = aurolog.pack_changes(random_changes(3))

    @benchmark
    def _() -> None:
        with volume.transaction(durability=durability) as tx:
            tx.apply(packed)


def test_rollback(benchmark: Benchmark, volume: aurolog.Volume) -> None:
    """A transaction of one change of 100 B, begun and rolled back."""
    change = random_changes()[0]

    @benchmark
    def _() -> None:
        tx = volume.transaction()
        tx.write(*change)
        tx.rollback()

    assert len(volume) == PAGES
