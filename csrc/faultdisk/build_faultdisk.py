"""Builds `aurolog._native` for the tests of failing calls: the engine's own sources on a disk table
that fails where it is told to (`faultdisk.h`), with small segments. Prints the module's path.

    python csrc/faultdisk/build_faultdisk.py

Nothing is inlined and frame pointers are kept: by them the table tells its callers apart.
`AUROLOG_SANITIZE=address,undefined` builds with these sanitizers, `AUROLOG_COVERAGE=1` counts the
branches that are taken (`make coverage`), each into a directory of its own.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CORE = HERE.parent
HEADERS = (CORE / "aurolog.h", HERE / "faultdisk.h")
SMALL = CORE / "crash" / "small.h"


def flags(sanitizers: str, coverage: bool) -> list[str]:
    """Return the compiler's flags."""
    chosen = ["-std=c11", "-D_GNU_SOURCE", "-pthread", "-fPIC", "-Wall", "-Wextra"]
    chosen += ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-inline", "-fno-optimize-sibling-calls"]
    chosen += ["-DAUL_TEST_BUILD", "-include", str(SMALL), f"-I{CORE}", f"-I{HERE}"]
    if sanitizers:
        chosen += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    if coverage:
        chosen += ["-O0", "--coverage", "-fprofile-update=atomic", "-DAUL_COVERAGE"]
    return chosen


def sources() -> list[Path]:
    """Return what is compiled beside the generated module: `system.c` stands for the disk table."""
    engine = [path for path in CORE.glob("*.c") if path.name != "disk_posix.c"]
    return sorted([*engine, *HERE.glob("*.c")])


def build(sanitizers: str = "", coverage: bool = False) -> Path:
    """Return the module, compiled when it is not up to date."""
    directory = ROOT / "build" / ("calls-sanitized" if sanitizers else "calls")
    if coverage:
        directory = ROOT / "build" / "coverage" / "calls"
    module = directory / "_native.so"
    inputs = [SMALL, *CORE.glob("*.*"), *HERE.glob("*.*")]
    newest = max(path.stat().st_mtime for path in inputs)
    if module.is_file() and module.stat().st_mtime >= newest:
        return module
    directory.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    sys.path.insert(0, str(CORE))
    import build_native  # noqa: PLC0415 - it works in the project's root only

    ffi = FFI()
    for header in HEADERS:
        ffi.cdef(build_native.declarations(header.read_text(encoding="utf-8")))
    ffi.set_source(build_native.MODULE, '#include "faultdisk.h"')
    generated = directory / "_native.c"
    ffi.emit_c_code(str(generated))
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")

    chosen = flags(sanitizers, coverage)

    def compile_one(source: Path) -> Path:
        target = directory / f"{source.stem}.o"
        extra: list[str] = []
        if source == generated:
            extra = [f"-I{sysconfig.get_path('include')}", "-w"]
        command = [*compiler, *chosen, *extra, "-c", str(source), "-o", str(target)]
        subprocess.run(command, check=True, env=_outside())
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [generated, *sources()]))
    linked = directory / "_native.linked"
    command = [*compiler, *chosen, "-shared", *map(str, objects), "-o", str(linked)]
    subprocess.run(command, check=True, env=_outside())
    linked.replace(module)
    return module


def _outside() -> dict[str, str]:
    """The environment without what this process had to preload."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


if __name__ == "__main__":
    chosen = os.environ.get("AUROLOG_SANITIZE", ""), os.environ.get("AUROLOG_COVERAGE") == "1"
    sys.stdout.write(f"{build(*chosen)}\n")
