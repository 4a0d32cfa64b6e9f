"""The CI's share of the threads on one volume: `stress.py`, and the same in C (`csrc/stress/`)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from seeded_bugs import ROOT, run

STRESS = Path(__file__).with_name("stress.py")
MAKE = shutil.which("make")


@pytest.mark.threads
def test_threads_on_one_volume_tear_nothing(seed: int) -> None:
    command = [sys.executable, str(STRESS), "--seconds", "6", "--seed", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing torn" in done.stdout


@pytest.mark.skipif(
    MAKE is None or not (ROOT / "Makefile").is_file(), reason="needs make and the source tree"
)
def test_threads_that_nothing_orders_tear_nothing(seed: int, tmp_path: Path) -> None:
    made = run(["make", "build/stress/stress"])
    assert made.returncode == 0, made.stdout + made.stderr
    program = str(ROOT / "build" / "stress" / "stress")
    done = run([program, str(tmp_path), "--time", "6", "--seed", str(seed)])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing torn" in done.stdout
