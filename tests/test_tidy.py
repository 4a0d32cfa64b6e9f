"""The tree keeps its own rules: who may import whom, where files are touched, how wide a line is.

Each rule is a function from source text to findings, so that it can be shown to find something: at
the end every rule is run on lines that break it, and on lines that only look as if they did.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import aurolog

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "aurolog"
CORE = ROOT / "csrc"
LINE_COLUMNS_MAX = 100
EXAMPLES = ("README.md", "docs/api.md")

# --- who may import whom -------------------------------------------------------------------------

# Top first. A module imports from layers below its own; in the layers named here from its own, too.
LAYERS = (
    ("__main__",),
    ("cli",),
    ("__init__",),
    ("volume", "transaction", "view"),
    ("committer", "follower"),
    ("_core",),
    ("_native",),
    ("moment",),
    ("clock",),
    ("changes", "loops"),
    ("errors", "values"),
)
SIBLINGS = (("cli",), ("volume", "transaction", "view"), ("errors", "values"))

RANK = {name: len(LAYERS) - n for n, layer in enumerate(LAYERS) for name in layer}
NATIVE_IMPORTERS = {"_core"}

# These decide and do not act: what happens outside is handed to them.
PURE = {"errors", "values", "changes", "clock", "moment"}
IMPURE_MODULES = {"asyncio", "os", "random", "secrets", "socket", "subprocess", "threading", "time"}

# What is not of the standard library, and who may use it.
THIRD_PARTY = {"cli": {"click", "rich", "typer"}}


def place(file: Path) -> str:
    """The name under which a file of the package stands in LAYERS."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def package_of(file: Path) -> list[str]:
    """The package that a file's relative imports start from."""
    return ["aurolog", *file.relative_to(PACKAGE).parent.parts]


def imports(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, at whatever depth and under whatever condition.

    `from a import b` is `a.b`: whether b is a module or a name in one is for the caller to see.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = base + (node.module.split(".") if node.module else [])
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def import_findings(source: str, importer: str, package: list[str]) -> list[str]:
    """Imports that the layers, purity or the list of third parties forbid."""
    if importer not in RANK:
        return [f"{importer} has no place in LAYERS (tests/test_tidy.py): give it one"]
    found = []
    for line, name in imports(ast.parse(source), package):
        top, _, rest = name.partition(".")
        if top == "aurolog":
            target = rest.split(".")[0]
            if target not in RANK:  # a name, and so of the package itself
                target = "__init__"
            if not may_import(importer, target):
                found.append(f"line {line}: {importer} must not import {target} ({name})")
        elif top in IMPURE_MODULES and importer in PURE:
            found.append(f"line {line}: {importer} is pure and must not import {top}")
        elif top not in sys.stdlib_module_names and top not in THIRD_PARTY.get(importer, ()):
            found.append(f"line {line}: {importer} must not import {top}, a third party's")
    return found


def may_import(importer: str, target: str) -> bool:
    """Whether an arrow from one module of ours to another points down."""
    if target == "_native":
        return importer in NATIVE_IMPORTERS
    if any(importer in group and target in group for group in SIBLINGS):
        return True
    return RANK[target] < RANK[importer]


# --- where files are touched ---------------------------------------------------------------------

# Nothing but these reads and writes files in Python, and they do it to the user's, not a volume's.
FILE_USERS = ("cli/transfer.py", "cli/inspect.py", "cli/demo/")

FILE_MODULES = {"dbm", "fcntl", "fileinput", "glob", "mmap", "shelve", "shutil", "tempfile"}
OS_CALLS = set(
    "open fdopen read write readv writev pread pwrite preadv pwritev sendfile copy_file_range "
    "fsync fdatasync sync truncate ftruncate posix_fallocate rename renames replace unlink remove "
    "removedirs link symlink mkdir makedirs rmdir listdir scandir walk fwalk stat lstat fstat "
    "access chmod chown utime".split()
)
OS_PATH_CALLS = set("exists lexists isfile isdir islink getsize getmtime samefile".split())
PATH_METHODS = set(
    "open read_bytes read_text write_bytes write_text touch mkdir rmdir unlink iterdir rglob "
    "hardlink_to symlink_to exists is_dir is_file lstat samefile".split()
)


def file_findings(source: str) -> list[str]:
    """Python that opens, reads, writes or looks for files."""
    tree = ast.parse(source)
    found = [
        f"line {line}: import of {name}"
        for line, name in imports(tree, ["aurolog"])
        if name.split(".")[0] in FILE_MODULES
        or (name.startswith("os.") and name.removeprefix("os.") in OS_CALLS)
    ]
    own_open = any(isinstance(n, ast.FunctionDef) and n.name == "open" for n in ast.walk(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        match node.func:
            case ast.Name(id="open") if own_open:
                continue
            case ast.Name(id="open") | ast.Attribute(value=ast.Name(id="io"), attr="open"):
                pass
            case ast.Attribute(value=ast.Name(id="os"), attr=attr):
                if attr not in OS_CALLS:
                    continue
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="os"), attr="path"), attr=a):
                if a not in OS_PATH_CALLS:
                    continue
            case ast.Attribute(value=ast.Name(id="aurolog"), attr="open"):
                continue
            case ast.Attribute(attr=attr) if attr in PATH_METHODS:
                pass
            case _:
                continue
        found.append(f"line {node.lineno}: {ast.unparse(node.func)}()")
    return found


# The only file that calls the operating system, and what the others may not call.
SYSTEM_FILE = "disk_posix.c"
SYSTEM_CALLS = (
    # files
    "open openat creat close read write pread pwrite preadv pwritev readv writev lseek fsync "
    "fdatasync sync syncfs sync_file_range fallocate posix_fallocate ftruncate truncate rename "
    "renameat unlink unlinkat remove link linkat symlink mkdir rmdir opendir readdir closedir "
    "scandir stat fstat lstat access mmap munmap msync madvise fcntl flock lockf ioctl syscall "
    # stdio
    "fopen fdopen freopen fclose fread fwrite fflush fseek fgets fputs fputc puts printf fprintf "
    "vprintf vfprintf perror tmpfile mkstemp "
    # clock, randomness, who we are
    "time clock clock_gettime gettimeofday nanosleep usleep sleep getrandom getentropy "
    "arc4random arc4random_buf rand random srand drand48 getpid gethostname "
    # memory
    "malloc calloc realloc free posix_memalign aligned_alloc memalign strdup strndup"
).split()
CALLS_ALLOWED = {
    "error.c": {"fprintf"},  # in test builds a broken invariant says where before it aborts
    "store.c": {"calloc", "free"},  # the store itself is made before it has a table
}
HEADERS = set(
    "errno.h inttypes.h limits.h pthread.h stdarg.h stdatomic.h stdbool.h stddef.h stdint.h "
    "stdio.h stdlib.h string.h nmmintrin.h arm_acle.h sys/auxv.h".split()
)

COMMENT_OR_LITERAL = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.DOTALL | re.VERBOSE
)
# A bare call: not a member (`disk->open(`), not a part of a longer name (`aul_view_open(`).
SYSTEM_CALL = re.compile(r"(?<![\w.])(?<!->)(" + "|".join(SYSTEM_CALLS) + r")\s*\(")
INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*<([^>]+)>", re.MULTILINE)
DEFINITION = re.compile(
    r"^(?!static\b|typedef\b|return\b)[a-z_]\w*[ *][\w *]*?(\w+)\(", re.MULTILINE
)


def bare(source: str) -> str:
    """C without comments and literals, its lines where they were."""
    return COMMENT_OR_LITERAL.sub(lambda match: " " + "\n" * match[0].count("\n"), source)


def line_of(source: str, position: int) -> int:
    """The line's number."""
    return source.count("\n", 0, position) + 1


def system_findings(source: str, name: str) -> list[str]:
    """C that calls the operating system past the disk table, or could."""
    code = bare(source)
    allowed = CALLS_ALLOWED.get(name, set())
    found = [
        f"line {line_of(code, match.start())}: {match[1]}()"
        for match in SYSTEM_CALL.finditer(code)
        if match[1] not in allowed
    ]
    found += [
        f"line {line_of(code, match.start())}: <{match[1]}>"
        for match in INCLUDE.finditer(code)
        if match[1] not in HEADERS
    ]
    return found


def name_findings(source: str) -> list[str]:
    """Functions that other C code sees and that do not begin with `aul_`."""
    code = bare(source)
    return [
        f"line {line_of(code, match.start())}: {match[1]}"
        for match in DEFINITION.finditer(code)
        if not match[1].startswith("aul_")
    ]


# --- the shape of the text -----------------------------------------------------------------------


def width_findings(source: str) -> list[str]:
    """Lines too wide to stand beside another file."""
    return [
        f"line {n}: {len(line)} columns"
        for n, line in enumerate(source.splitlines(), 1)
        if len(line) > LINE_COLUMNS_MAX
    ]


def blocks(markdown: str) -> list[tuple[int, str]]:
    """Line and text of each Python block."""
    pattern = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [(line_of(markdown, m.start()) + 1, m[1]) for m in pattern.finditer(markdown)]


def is_excerpt(block: str) -> bool:
    """Whether a block is no program: its volume `db` is open, and it may await."""
    return "import aurolog\n" not in block


def run_block(file: Path, line: int, block: str) -> None:
    """Run a block as a program; a traceback names the file and its line."""
    source = "\n" * (line - 1) + block
    code = compile(source, str(file), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if not is_excerpt(block):
        exec(code, {"__name__": "__main__"})
        return
    with aurolog.open("excerpt.aurolog") as db:
        awaitable = eval(code, {"aurolog": aurolog, "asyncio": asyncio, "db": db})
        if awaitable is not None:
            asyncio.run(awaitable)


def typed_program(block: str) -> str:
    """A block as a type checker can read it."""
    if not is_excerpt(block):
        return block
    head = "import asyncio\nimport aurolog\n\nasync def excerpt(db: aurolog.Volume) -> None:\n"
    return head + textwrap.indent(block, "    ")


# --- the tree ------------------------------------------------------------------------------------


def files(*patterns: str) -> list[Path]:
    """What the patterns find from the root; at least one file each."""
    found: list[Path] = []
    for pattern in patterns:
        matches = sorted(path for path in ROOT.glob(pattern) if "__pycache__" not in path.parts)
        assert matches, f"{pattern} matches nothing: this test looks in the wrong place"
        found += matches
    return found


def expect_none(findings: dict[Path, list[str]]) -> None:
    """Fail with the findings, one a line."""
    lines = [f"{file.relative_to(ROOT)}: {x}" for file, found in findings.items() for x in found]
    if lines:
        pytest.fail("\n".join(lines), pytrace=False)


def read(file: Path) -> str:
    """The text of a source file."""
    return file.read_text(encoding="utf-8")


def test_imports_point_down_the_layers() -> None:
    found = {
        file: import_findings(read(file), place(file), package_of(file))
        for file in files("src/aurolog/**/*.py")
    }
    expect_none(found)


def test_every_module_in_the_layers_is_there() -> None:
    there = {place(file) for file in files("src/aurolog/**/*.py")} | {"_native"}
    assert set(RANK) - there == set()


def test_python_leaves_files_to_the_core() -> None:
    found = {
        file: file_findings(read(file))
        for file in files("src/aurolog/**/*.py")
        if not file.relative_to(PACKAGE).as_posix().startswith(FILE_USERS)
    }
    expect_none(found)


def test_only_the_disk_calls_the_operating_system() -> None:
    found = {
        file: system_findings(read(file), file.name)
        for file in files("csrc/*.c", "csrc/*.h")
        if file.name != SYSTEM_FILE
    }
    expect_none(found)
    assert system_findings(read(CORE / SYSTEM_FILE), SYSTEM_FILE), "the rule finds nothing at all"


def test_functions_of_the_core_have_its_prefix() -> None:
    found = {file: name_findings(read(file)) for file in files("csrc/*.c", "csrc/*.h")}
    expect_none(found)


def test_the_core_knows_no_python() -> None:
    assert [file.name for file in files("csrc/*.c", "csrc/*.h") if "Python.h" in read(file)] == []


def test_lines_fit_side_by_side() -> None:
    patterns = ("src/**/*.py", "tests/**/*.py", "bench/**/*.py", "csrc/**/*.[ch]", "csrc/*.py")
    found = {file: width_findings(read(file)) for file in files(*patterns)}
    expect_none(found)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = blocks(read(ROOT / name))
    assert examples, f"{name} has no example"
    for number, (line, block) in enumerate(examples):
        directory = tmp_path / str(number)
        directory.mkdir()
        monkeypatch.chdir(directory)
        run_block(ROOT / name, line, block)


def test_examples_have_sound_types(tmp_path: Path) -> None:
    programs = []
    for name in EXAMPLES:
        for line, block in blocks(read(ROOT / name)):
            programs.append(tmp_path / f"{Path(name).stem}_line_{line}.py")
            programs[-1].write_text(typed_program(block))
    assert type_findings(programs) == ""


def type_findings(programs: Sequence[Path]) -> str:
    """What mypy, as strict as for the package, finds wrong with them."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *map(str, programs)]
    # A sanitizer that is there for the core has nothing to say about mypy.
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["version"]
    assert f"## [{version}]" in read(ROOT / "CHANGELOG.md")


# --- the rules find what they are for ------------------------------------------------------------


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("volume", "from aurolog._native import lib"),
        ("volume", "from aurolog import _native"),
        ("cli", "import aurolog._native"),
        ("volume", "from . import cli"),
        ("volume", "from .cli import main"),
        ("volume", "import aurolog"),
        ("volume", "from aurolog import open"),
        ("_core", "def f():\n    from aurolog import volume"),
        ("_core", "if TYPE_CHECKING:\n    from aurolog.view import View"),
        ("changes", "from aurolog import clock"),
        ("errors", "from ._core import ffi"),
        ("__init__", "from aurolog.cli import main"),
        ("errors", "import time"),
        ("values", "from os import path"),
        ("changes", "import os.path"),
        ("moment", "import time"),
        ("moment", "from aurolog import _core"),
        ("volume", "import rich"),
        ("_core", "from cffi import FFI"),
        ("cli", "import numpy"),
        ("somewhere", "import aurolog"),
    ],
)
def test_import_rule_finds(importer: str, source: str) -> None:
    assert len(import_findings(source, importer, ["aurolog"])) == 1


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("_core", "from aurolog._native import ffi, lib"),
        ("volume", "from aurolog import _core, errors"),
        ("volume", "from . import transaction"),
        ("view", "from aurolog.volume import Volume"),
        ("cli", "import aurolog\nfrom aurolog.cli import terminal\nimport typer, os"),
        ("changes", "from aurolog.errors import InputError\nimport struct"),
        ("errors", "from __future__ import annotations\nfrom aurolog import values"),
        ("__main__", "from aurolog.cli import main"),
        ("moment", "from aurolog.clock import EPOCH\nimport datetime"),
        ("_core", "import time"),
    ],
)
def test_import_rule_lets_pass(importer: str, source: str) -> None:
    assert import_findings(source, importer, ["aurolog"]) == []


def test_relative_imports_start_from_their_package() -> None:
    package = package_of(PACKAGE / "cli" / "demo" / "__init__.py")
    assert import_findings("from ..._native import lib", "cli", package) != []
    assert import_findings("from .. import terminal", "cli", package) == []
    assert place(PACKAGE / "cli" / "demo" / "__init__.py") == "cli"
    assert place(PACKAGE / "__init__.py") == "__init__"


@pytest.mark.parametrize(
    "source",
    [
        "open('x')",
        "io.open('x')",
        "os.open('x', 0)",
        "os.pread(1, 2, 3)",
        "os.path.exists('x')",
        "from os import fsync",
        "import mmap",
        "Path('x').read_bytes()",
        "self.path.open()",
        "self.path.mkdir()",
    ],
)
def test_file_rule_finds(source: str) -> None:
    assert len(file_findings(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "def open(path): ...\nopen('x')",
        "aurolog.open('x')",
        "os.fspath('x')",
        "os.fsencode(path)",
        "lib.aul_open(path)",
        "os.path.join('a', 'b')",
        "text.replace('a', 'b')",
        "# open('x')",
        "'open(x)'",
    ],
)
def test_file_rule_lets_pass(source: str) -> None:
    assert file_findings(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "int f = open(path, 0);",
        "if (pread (file, to, 1, 0) < 0) return 1;",
        "return fsync(file);",
        "a = b-fdatasync(file);",
        "rename(a, b);",
        "clock_gettime(CLOCK_REALTIME, &t);",
        "u8 *p = (u8 *)malloc(8);",
        "!getrandom(p, 8, 0);",
        '#include <fcntl.h>\n#include "disk.h"',
        "#  include <unistd.h>",
        '"text"; mmap(0, 1, 2, 3, 4, 5);',
        "/* x */ unlink(path);",
    ],
)
def test_system_rule_finds(source: str) -> None:
    assert len(system_findings(source, "store.c")) == 1


@pytest.mark.parametrize(
    "source",
    [
        "status = disk->open(disk->context, path, 0, &file);",
        "disk.pread(1);",
        "int (*open)(void *context, const char *path);",
        "aul_view_open(store, lsn, &view, error);",
        "aul_open(path);",
        "/* then open(path) and\n * fsync(file) */",
        "// unlink(path)",
        'fail(error, "open(%s) failed", path);',
        'c = \'"\'; disk->write(f, "malloc(");',
        ".open = posix_open,",
        "#include <stdint.h>",
        "snprintf(text, sizeof text, format);",
    ],
)
def test_system_rule_lets_pass(source: str) -> None:
    assert system_findings(source, "store.c") == []


def test_system_rule_counts_lines_past_comments() -> None:
    source = "/* a\n b */\nint x;\nint y = open(1);\n"
    assert system_findings(source, "store.c") == ["line 4: open()"]


@pytest.mark.parametrize(
    "source", ["int part_find(u64 page) {", "const u8 *find(void);", "void crc(int a,\n  int b) {"]
)
def test_name_rule_finds(source: str) -> None:
    assert len(name_findings(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "int aul_part_find(u64 page) {",
        "aul_disk *aul_disk_posix(void);",
        "static int find(void) {",
        "static inline u64 get64(const u8 *p) {",
        "    return find(page);",
        "typedef int (*compare)(int a, int b);",
    ],
)
def test_name_rule_lets_pass(source: str) -> None:
    assert name_findings(source) == []


def test_width_rule_finds() -> None:
    wide = "x" * LINE_COLUMNS_MAX
    assert width_findings(f"{wide}\n{wide}y\n") == [f"line 2: {LINE_COLUMNS_MAX + 1} columns"]


def test_example_that_fails_names_its_line(tmp_path: Path) -> None:
    text = "# title\n\n```python\nx = 1\nassert x == 2\n```\n\n```sh\nmake\n```\n"
    assert blocks(text) == [(4, "x = 1\nassert x == 2\n")]
    with pytest.raises(AssertionError) as caught:
        run_block(tmp_path / "README.md", *blocks(text)[0])
    assert caught.traceback[-1].lineno + 1 == 5


def test_the_types_of_examples_are_looked_at(tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    program.write_text(typed_program("tx = db.transaction()\nawait asyncio.sleep(tx.lsn)\n"))
    assert "wrong.py:6: error" in type_findings([program])
