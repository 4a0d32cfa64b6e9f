"""A small share of the failing calls (docs/testing.md): every site that calls the disk table, with
every fault, once. Nothing is acknowledged wrongly, nothing hangs, leaks or ends the process.

`make call-failures` is the campaign itself.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from seeded_bugs import ROOT, run

SCRIPT = ROOT / "tests" / "call_failures.py"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not shutil.which("addr2line") or not SCRIPT.is_file(),
    reason="needs Linux, addr2line and the source tree",
)


def campaign(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command, outside of what this process had to preload."""
    done = run([sys.executable, str(SCRIPT), *map(str, arguments)])
    print(done.stdout[-4000:], done.stderr[-4000:])  # with the seed, where it fails
    return done


def test_each_call_site_fails_in_each_way_and_nothing_is_lost(seed: int) -> None:
    done = campaign("--levels", 1, "--time", 0, "--seed", seed)
    assert done.returncode == 0
    found = re.search(r"level 1: (\d+) of (\d+) cases", done.stdout)
    assert found
    assert found[1] == found[2]
    assert int(found[1]) > 800
    hit = re.search(r"(\d+) call sites, (\d+) hit", done.stdout)
    assert hit
    assert int(hit[2]) > 0.85 * int(hit[1])


def test_the_calls_of_an_ordinary_program_are_counted() -> None:
    done = campaign("--count")
    assert done.returncode == 0
    calls = json.loads(done.stdout.splitlines()[-1])["calls"]
    for kind in ("open", "write", "sync", "sync_directory", "allocate", "rename", "unlink"):
        assert calls[kind] > 0, kind
    assert calls["allocate_memory"] == calls["free_memory"]
