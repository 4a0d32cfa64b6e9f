"""The CI's share of `kernel.py`: kills, power cuts and full disks on the real kernel."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

KERNEL = Path(__file__).with_name("kernel.py")
SKIPPED = 77


def _run(mode: str, rounds: int, seed: int) -> dict[str, int]:
    """The figures of a run that found nothing."""
    command = [sys.executable, str(KERNEL), mode, "--rounds", str(rounds), "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    print(done.stdout, done.stderr)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    if done.returncode:
        pytest.fail(done.stdout + done.stderr, pytrace=False)
    figures = {
        what: int(n.replace(",", ""))
        for n, what in re.findall(r"([\d,]+) ([a-z][a-z ]*)", done.stdout)
    }
    assert figures["rounds"] == rounds
    assert figures["acknowledged"] > rounds
    assert figures["sessions"] > rounds // 3
    return figures


def test_killed_processes_lose_nothing(seed: int) -> None:
    figures = _run("kill", 30, seed)
    assert figures["struck at work"] > 10
    assert figures["struck opening"] + figures.get("struck closing", 0) > 0


def test_power_cuts_lose_nothing(seed: int) -> None:
    figures = _run("power", 25, seed)
    assert figures["power cuts"] > 10


def test_full_disks_refuse_and_lose_nothing(seed: int) -> None:
    figures = _run("full", 12, seed)
    assert figures["full"] > 5
    assert figures["refused"] > figures["full"]
