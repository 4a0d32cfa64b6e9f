"""Fixtures, and the one place where hypothesis is set up."""

from __future__ import annotations

import os
import random
import signal
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import Ran
from hypothesis import HealthCheck, settings

import aurolog
from aurolog.cli import main

settings.register_profile(
    "aurolog",
    database=None,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("aurolog")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores it, and every program that the tests start would, too.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a volume may be made; nothing is there yet."""
    return tmp_path / "volume.aurolog"


@pytest.fixture
def db(path: Path) -> Iterator[aurolog.Volume]:
    """A new volume, closed at the end. Durability `os`: most tests are not about syncs."""
    with aurolog.open(path, durability="os") as volume:
        yield volume


@pytest.fixture
def aurolog_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Runs a command in this process."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        sys.stdout.flush()
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed that a failing test shows: drawn from the test's name, or from AUROLOG_SEED to try
    others.
    """
    base = os.environ.get("AUROLOG_SEED", "0")
    value = zlib.crc32(f"{base}/{request.node.name}".encode())
    print(f"seed {value} (AUROLOG_SEED={base})")
    return value


@pytest.fixture
def rng(seed: int) -> random.Random:
    """Randomness from the test's seed."""
    return random.Random(seed)
