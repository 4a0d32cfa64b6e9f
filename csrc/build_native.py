"""Builds `aurolog._native` from `csrc/` with cffi in API mode. Run by `setup.py`, never shipped.

The declarations that cffi parses are the block of `aurolog.h` between two marker lines: they are
written once, and the C compiler checks what it generates from them against the same header.

Three environment variables change the build:

- `AUROLOG_WERROR=1` turns warnings into errors (for the project's own checks: another compiler's
  new warning must not keep a user from installing).
- `AUROLOG_SANITIZE=address,undefined` compiles those sanitizers in and defines `AUL_TEST_BUILD`, so
  that a failed invariant aborts. To import the result, the sanitizers' libraries have to be
  preloaded: `make sanitize`.
- `AUROLOG_COVERAGE=1` counts how often each branch is taken, for gcov (`make coverage`). Without
  optimization, so that every condition in the source is a branch of its own.

setuptools wants every path relative to the project's root, where it also runs this file.
"""

import os
import sys
from pathlib import Path

from cffi import FFI

MODULE = "aurolog._native"
SOURCE_DIR = Path("csrc")
HEADER = SOURCE_DIR / "aurolog.h"
BEGIN = "/* cffi: begin */"
END = "/* cffi: end */"


def declarations(header: str) -> str:
    """Return the lines of the header between the two markers, which must each be there once."""
    lines = header.splitlines()
    marks = [n for n, line in enumerate(lines) if line.strip() in (BEGIN, END)]
    if [lines[n].strip() for n in marks] != [BEGIN, END]:
        raise SystemExit(f"{HEADER}: expected one line `{BEGIN}` and after it one line `{END}`")
    # Empty lines stand in for what is above, so that cffi's errors name the header's own lines.
    return "\n" * (marks[0] + 1) + "\n".join(lines[marks[0] + 1 : marks[1]]) + "\n"


def compile_args(sanitizers: str, werror: bool, coverage: bool) -> list[str]:
    """Return the flags that follow those of Python's own build (and so win over them)."""
    args = ["-std=c11", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra"]
    args += ["-Wno-unused-parameter"]  # cffi's generated wrappers have some
    if sys.platform == "linux":
        args += ["-D_GNU_SOURCE"]
    if werror:
        args += ["-Werror"]
    if sanitizers:
        # Python is built with -fwrapv, which would hide signed overflow from the sanitizer.
        args += [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-fno-wrapv"]
        args += ["-O1", "-g", "-fno-omit-frame-pointer", "-DAUL_TEST_BUILD"]
    elif coverage:
        # Threads count at the same time.
        args += ["--coverage", "-fprofile-update=atomic", "-O0", "-g", "-DAUL_TEST_BUILD"]
    else:
        args += ["-O3"]
    return args


def link_args(sanitizers: str, coverage: bool) -> list[str]:
    """Return the linker's flags."""
    args = ["-pthread"]
    if sanitizers:
        args += [f"-fsanitize={sanitizers}"]
    return [*args, "--coverage"] if coverage else args


def builder() -> FFI:
    """Return the configured builder, or end the build saying why there is none."""
    if sys.platform == "win32":
        raise SystemExit("aurolog builds on Linux and macOS, not on Windows")
    if not HEADER.is_file():
        raise SystemExit(f"{HEADER} not found: build from the project's root directory")
    sanitizers = os.environ.get("AUROLOG_SANITIZE", "")
    werror = os.environ.get("AUROLOG_WERROR") == "1"
    coverage = os.environ.get("AUROLOG_COVERAGE") == "1"
    ffi = FFI()
    ffi.cdef(declarations(HEADER.read_text(encoding="utf-8")))
    ffi.set_source(
        MODULE,
        f'#include "{HEADER.name}"',
        sources=[path.as_posix() for path in sorted(SOURCE_DIR.glob("*.c"))],
        include_dirs=[SOURCE_DIR.as_posix()],
        # Without these, editing a header or a flag would rebuild nothing.
        depends=[
            *(path.as_posix() for path in sorted(SOURCE_DIR.glob("*.h"))),
            (SOURCE_DIR / "build_native.py").as_posix(),
        ],
        extra_compile_args=compile_args(sanitizers, werror, coverage),
        extra_link_args=link_args(sanitizers, coverage),
    )
    return ffi


ffibuilder = builder()
