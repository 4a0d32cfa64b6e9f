"""Nothing goes around the disk table: not in what the linker sees, not in what the kernel sees.

A simulated disk proves something about the engine only while every call passes through the table.
`test_tidy.py` looks at the source; here the compiled files may refer to nothing outside but what is
named, and a workload under strace shows for every call that changes a file of the volume, whatever
its kind, that it comes from a function of the table, and as many as the table counted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import Child, need_strace, traced

from aurolog import _native

CORE = Path(__file__).resolve().parent.parent / "csrc"
SYSTEM_FILE = "disk_posix.c"

# --- what the linker sees -------------------------------------------------------------------------

# All that the engine takes from outside of itself, but for the file with the table.
OUTSIDE = set(
    "memcpy memmove memset memcmp memchr strlen strcmp strncmp strcpy strrchr strchr strtoull "
    "snprintf vsnprintf qsort __errno_location __stack_chk_fail _GLOBAL_OFFSET_TABLE_ "
    "strspn strerror getauxval __cpu_model __isoc23_strtoull".split()
)
OUTSIDE_OF = {"store.c": {"calloc", "free"}}  # the store itself is made before it has a table
THREADS = re.compile(r"pthread_(atfork|create|join|(mutex|rwlock|cond|condattr)_\w+)")


def _undefined(file: Path, *options: str) -> set[str]:
    """The symbols that a compiled file takes from elsewhere."""
    nm = subprocess.run(["nm", *options, str(file)], capture_output=True, text=True, check=True)
    return {line.split()[-1].partition("@")[0] for line in nm.stdout.splitlines() if line.strip()}


def _is_allowed(symbol: str, file: str) -> bool:
    return (
        symbol in OUTSIDE
        or symbol in OUTSIDE_OF.get(file, ())
        or symbol.startswith("aul_")
        or THREADS.fullmatch(symbol) is not None
    )


def test_no_compiled_file_but_the_disks_refers_to_the_operating_system(tmp_path: Path) -> None:
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None or shutil.which("nm") is None:
        pytest.skip(f"{compiler} or nm is not installed: compiled files are NOT looked at here")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-DNDEBUG", "-pthread", "-fPIC", "-O0", "-c"]
    sources = sorted(CORE.glob("*.c"))
    outside = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run([compiler, *flags, *map(str, sources)], cwd=tmp_path, env=outside, check=True)
    symbols = {file.name: _undefined(tmp_path / f"{file.stem}.o", "-u") for file in sources}
    system = symbols.pop(SYSTEM_FILE)
    assert {"pwrite", "fdatasync", "rename"} <= {name.removesuffix("64") for name in system}
    found = {
        file: sorted(name for name in names if not _is_allowed(name, file))
        for file, names in symbols.items()
    }
    assert {file: names for file, names in found.items() if names} == {}


def test_the_native_module_makes_no_system_call_by_itself() -> None:
    if shutil.which("objdump") is None or os.uname().machine != "x86_64":
        pytest.skip("no objdump, or not x86-64: system calls in line are NOT looked for here")
    assert _native.__file__ is not None
    code = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", _native.__file__],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "pwrite" in code, "something else was disassembled"
    assert re.search(r"\t(syscall|sysenter|int +\$0x80)\b", code) is None


# --- what the kernel sees -------------------------------------------------------------------------

CHANGING = (
    "open,openat,openat2,creat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,"
    "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,"
    "fsync,fdatasync,sync,syncfs,sync_file_range,msync,mmap,copy_file_range,sendfile,splice,"
    "io_uring_setup,io_submit,chmod,fchmod,fchmodat,utimensat"
)
# Kernel's name, and the function of the table that may make it.
TABLE = {
    "openat": {"posix_open", "posix_open_directory", "posix_list"},
    "open": {"posix_open", "posix_open_directory", "posix_list"},
    "pwrite64": {"posix_write"},
    "fdatasync": {"posix_sync"},
    "fsync": {"posix_sync_directory"},
    "sync_file_range": {"posix_write_back"},
    # `posix_allocate` ends with a tail call, which leaves no frame of its own.
    "fallocate": {"posix_allocate", "aul_disk_allocate"},
    "ftruncate": {"posix_truncate"},
    "rename": {"posix_rename"},
    "renameat": {"posix_rename"},
    "renameat2": {"posix_rename"},
    "unlink": {"posix_unlink"},
    "mkdir": {"posix_make_directory"},
    "pread64": {"posix_read"},
}
MUST_BE_SEEN = "openat pwrite64 fdatasync fsync fallocate rename unlink mkdir pread64".split()

CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
FRAME = re.compile(r"^ > (.*?)\((?:(\w+)[^()]*)?\+0x[0-9a-f]+\)")


@dataclass
class Call:
    """One system call, with the functions of the native module that it came through."""

    name: str
    text: str  # arguments and result
    native: list[str] = field(default_factory=list)  # innermost first

    def concerns(self, volume: Path) -> bool:
        """Whether a file of the volume's, or the directory with its name, is in the arguments."""
        return str(volume) in self.text or f"<{volume.parent}>" in self.text

    @property
    def result(self) -> int:
        """What it returned."""
        match = re.search(r"= (-?\d+)", self.text.rpartition(")")[2])
        assert match is not None, self.text
        return int(match[1])


def _parse(trace: str) -> list[Call]:
    """The calls of `strace -f -k`, in the order of their ends."""
    calls: list[Call] = []
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        if frame := FRAME.match(line):
            if calls and "_native" in frame[1]:
                calls[-1].native.append(frame[2] or "?")
        elif resumed := RESUMED.match(line):
            pid, name, rest = resumed.groups()
            calls.append(Call(name, begun.pop(pid) + rest))
        elif call := CALL.match(line):
            pid, name, rest = call.groups()
            if rest.endswith("<unfinished ...>"):
                begun[pid] = rest.removesuffix("<unfinished ...>")
            else:
                calls.append(Call(name, rest))
    return calls


def _need_stacks() -> None:
    need_strace()
    probe = subprocess.run(
        ["strace", "-k", "-o", "/dev/null", "true"], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("this strace shows no stacks (-k): the origin of calls is NOT looked at here")
    if os.environ.get("LD_PRELOAD"):
        pytest.skip("something is preloaded: the origin of calls is NOT looked at here")


def test_every_call_on_a_file_comes_through_the_table(path: Path, tmp_path: Path) -> None:
    _need_stacks()
    trace = tmp_path / "trace"
    with Child("audited", path) as child:
        assert child.line() == "ready"
        options = ("-y", "-k", "-e", f"trace={CHANGING},pread64,read,readv,preadv,preadv2")
        with traced(child.pid, *options, "-o", str(trace)):
            child.say("go")
            said = list(child.lines())
            assert child.end() == 0
    assert said[-1] == "closed"
    calls = _parse(trace.read_text(encoding="utf-8"))
    mine = [call for call in calls if call.concerns(path)]

    astray = [
        f"{call.name}({call.text} from {call.native[:3]}"
        for call in mine
        if (call.native or ["?"])[0] not in TABLE.get(call.name, ())
    ]
    assert astray == []
    seen = Counter(call.name for call in mine)
    assert set(MUST_BE_SEEN) <= set(seen), seen
    assert seen["pwrite64"] > 100

    # As many as the table has counted, up to a moment at which nothing was under way.
    quiet = [line for line in said if line.startswith("counted ")]
    assert quiet, "the engine was never quiet"
    _, mark, *counted = quiet[-1].split()
    begin, end = (
        next(n for n, call in enumerate(calls) if f'"mark {name}\\n"' in call.text)
        for name in ("open", mark)
    )
    before = [call for call in calls[begin:end] if call.concerns(path)]
    total = Counter(call.name for call in before)
    written = sum(call.result for call in before if call.name == "pwrite64")
    read = sum(call.result for call in before if call.name == "pread64")
    assert list(map(int, counted)) == [
        total["pwrite64"],
        written,
        total["fdatasync"],
        total["fsync"],
        read,
    ]


# --- that these find something --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("write", "log.c"),
        ("open64", "files.c"),
        ("fopen", "verify.c"),
        ("malloc", "store.c"),
        ("mmap", "lock.c"),
        ("syscall", "run.c"),
        ("pthread_sigmask", "log.c"),
    ],
)
def test_linker_rule_finds(symbol: str, file: str) -> None:
    assert not _is_allowed(symbol, file)


def test_a_call_past_the_table_is_seen() -> None:
    trace = (
        '7  pwrite64(3</v/log/a>, "x", 1, 0 <unfinished ...>\n'
        '8  unlink("/v/b") = 0\n'
        " > /usr/lib/libc.so.6(unlink+0x7) [0xf7f37]\n"
        " > /s/_native.abi3.so(aul_keeper_work+0x11) [0xdd51]\n"
        "7  <... pwrite64 resumed>) = 1\n"
        " > /usr/lib/libc.so.6(__pwrite64+0x4f) [0x1]\n"
        " > /s/_native.abi3.so(posix_write+0x11) [0x2]\n"
        " > /s/_native.abi3.so(aul_disk_write+0x2e) [0x3]\n"
    )
    unlink, write = _parse(trace)
    assert (unlink.name, unlink.native, unlink.result) == ("unlink", ["aul_keeper_work"], 0)
    assert (write.name, write.native[0], write.result) == ("pwrite64", "posix_write", 1)
    assert unlink.concerns(Path("/v"))
    assert write.concerns(Path("/v"))
    assert not write.concerns(Path("/w"))
