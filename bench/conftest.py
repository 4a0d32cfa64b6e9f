"""What the microbenchmarks share: volumes on a real disk, with contents."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import pytest

import aurolog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
DIRECTORY = Path(os.environ.get("AUROLOG_BENCH_DIRECTORY", "/var/tmp"))
"""On the disk to measure: pytest's own temporary directories are often in memory."""
PAGES = 4_096
CALLS = 1_000
"""A call of less than some microseconds is timed this many times at once."""
CACHE_BYTES = 64 << 20


class Benchmark(Protocol):
    """As much of pytest-benchmark's fixture as is used here; it has no types of its own."""

    def __call__(self, call: Callable[..., T], *arguments: object) -> T:
        """Time a call as often as makes sense; returns what one of them returned."""
        ...

    def pedantic(
        self,
        target: Callable[..., object],
        *,
        setup: Callable[[], object],
        rounds: int,
        warmup_rounds: int = 0,
    ) -> object:
        """Time one call per round, after `setup`, whose arguments it gets."""
        ...


@contextmanager
def fresh_directory() -> Iterator[Path]:
    """A directory on the disk to measure, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="aurolog-bench-", dir=DIRECTORY))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def random_pages(seed: int = 1) -> list[int]:
    """`CALLS` page numbers."""
    rng = random.Random(seed)
    return [rng.randrange(PAGES) for _ in range(CALLS)]


def random_changes(seed: int = 1) -> list[tuple[int, int, bytes]]:
    """`CALLS` writes of 100 B."""
    rng = random.Random(seed)
    return [(page, rng.randrange(3_996), rng.randbytes(100)) for page in random_pages(seed)]


@pytest.fixture(scope="module")
def volume() -> Iterator[aurolog.Volume]:
    """16 MiB of random pages, all cached; one per file of benchmarks."""
    rng = random.Random(0)
    with fresh_directory() as path, aurolog.open(path / "v", cache_bytes=CACHE_BYTES) as db:
        with db.transaction() as tx:
            tx.apply(("image", page, rng.randbytes(db.page_size)) for page in range(PAGES))
        db.read_many(range(PAGES))
        yield db
