"""The command line: what it prints, for people and for programs, and the status it ends with."""

from __future__ import annotations

import itertools
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import MODULE, SECONDS_MAX, in_terminal
from support import flip

import aurolog
from aurolog.cli import check, inspect, status, terminal, transfer


@pytest.fixture
def volume(path: Path) -> Path:
    """A closed volume: LSNs 1-2 on pages 0 and 3, LSN 3 on page 0, LSN 4 on page 1."""
    with aurolog.open(path) as db:
        with db.transaction(note="first") as tx:
            tx.write(0, 0, b"hello")
            tx.write(3, 4091, b"there")
        with db.transaction() as tx:
            tx.write(0, 0, b"HELLO")
        with db.transaction(note="last") as tx:
            tx.fill(1, 0, 100, 0xAB)
    return path


# --- start-up ------------------------------------------------------------------------------------


def test_importing_aurolog_imports_no_command_line_library() -> None:
    code = "import sys, aurolog; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert {"typer", "click", "rich", "aurolog.cli"}.isdisjoint(found.stdout.split())


def test_the_command_line_draws_nothing_before_it_has_to() -> None:
    code = "import sys, aurolog.cli.app; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert {"rich.progress", "rich.table"}.isdisjoint(found.stdout.split())


def test_help_names_every_command_and_the_exit_statuses(aurolog_command: Any) -> None:
    ran = aurolog_command("--help")
    assert ran.status == 0
    for command in (
        "demo info log cat history restore-point backtrack diff follow verify import export".split()
    ):
        assert re.search(rf"^\W*{command} ", ran.out, re.MULTILINE), command
        assert aurolog_command(command, "--help").status == 0
    assert "Exit status" in ran.out


def test_a_module_run_is_the_command() -> None:
    ran = subprocess.run([*MODULE, "--version"], capture_output=True, check=True, text=True)
    assert re.fullmatch(r"aurolog \d+\.\d+\.\d+\S*\n", ran.stdout)
    assert ran.stderr == ""


# --- info ----------------------------------------------------------------------------------------


def test_info_has_its_keys(aurolog_command: Any, volume: Path) -> None:
    with aurolog.open(volume, read_only=True) as db:
        identity = str(db.volume_id)
    ran = aurolog_command("info", volume, "--json")
    assert (ran.status, ran.err) == (0, "")
    time, seconds = ran.value.pop("last_commit_time"), ran.value["open_seconds"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00", time)
    assert seconds >= 0
    value = ran.value
    assert {k: v for k, v in value.items() if k not in ("last_commit_time", "open_seconds")} == {
        "path": str(volume),
        "volume_id": identity,
        "page_size": 4096,
        "pages": 4,
        "durable_lsn": value["durable_lsn"],
        "runs": 1,
        "run": {"lsn": 0, "kind": "first", "parent_lsn": None, "time": None},
        "restore_points": [],
        "epoch": 1,
        "retention_seconds": 86400.0,
        "disk_bytes": sum(f.stat().st_size for f in volume.rglob("*") if f.is_file()),
        "segments": value["segments"],
        "sealed_segments": value["sealed_segments"],
        "closed_cleanly": True,
    }


def test_info_speaks_to_people(aurolog_command: Any, volume: Path) -> None:
    ran = aurolog_command("info", volume)
    assert ran.status == 0
    assert re.search(r"^pages +4 of 4,096 bytes: 16,384 B$", ran.out, re.MULTILINE)
    assert re.search(r"^left +closed$", ran.out, re.MULTILINE)


def test_an_empty_volume_has_no_last_commit(aurolog_command: Any, path: Path) -> None:
    aurolog.open(path).close()
    assert aurolog_command("info", path, "--json").value["last_commit_time"] is None
    assert re.search(r"^last commit +none$", aurolog_command("info", path).out, re.MULTILINE)
    assert aurolog_command("log", path, "--to", "1").status == 0
    assert aurolog_command("verify", path).status == 0


def test_reading_commands_work_beside_a_writer(
    aurolog_command: Any, volume: Path, tmp_path: Path
) -> None:
    with aurolog.open(volume) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"written meanwhile")
        info = aurolog_command("info", volume, "--json").value
        assert info["durable_lsn"] == tx.lsn
        assert info["closed_cleanly"] is False
        assert f"LSN {tx.lsn} " in aurolog_command("log", volume).out
        assert aurolog_command("cat", volume, 0).out.startswith("written meanwhile")
        assert aurolog_command("verify", volume).status == 0
        assert aurolog_command("export", volume, tmp_path / "out").status == 0


# --- log -----------------------------------------------------------------------------------------


def test_log_prints_a_line_per_record_under_its_batch(aurolog_command: Any, path: Path) -> None:
    with aurolog.open(path) as db, db.transaction(note="one of each") as tx:
        tx.apply(
            [
                ("write", 7, 100, b"0123456789abcdefXYZ"),
                ("move", 7, 100, 200, 10),
                ("fill", 7, 300, 50, 0x2A),
                ("image", 8, bytes(range(256)) * 16),
                ("truncate", 8),
            ]
        )
    out = aurolog_command("log", path, "--to", 5).out.splitlines()
    assert re.fullmatch(
        r'LSN 1-5  \d{4}-\S+\+00:00  epoch 1  8 pages  [\d,]+ B  "one of each"', out[0]
    )
    assert out[1:] == [
        f"         1  write     page 7 [100, 119)  {b'0123456789abcdef'.hex(' ')} ...",
        "         2  move      page 7 [100, 110) to [200, 210)",
        "         3  fill      page 7 [300, 350) with 2a",
        "         4  image     page 8  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f ...",
        "         5  truncate  to 8 pages",
    ]


def test_log_shows_only_the_records_of_the_range(aurolog_command: Any, volume: Path) -> None:
    def lsns(*options: object) -> list[list[int]]:
        lines = aurolog_command("log", volume, "--json", *options).out.splitlines()
        return [
            [record["lsn"] for record in json.loads(line)["records"]]
            for line in lines
            if json.loads(line)["kind"] == "pages"
        ]

    assert lsns() == [[1, 2], [3], [4]]
    assert lsns("--from", 2, "--to", 3) == [[2], [3]]
    assert lsns("--from", 4, "--to", 4) == [[4]]
    assert lsns("--batches") == [[], [], []]


def test_log_says_when_there_is_nothing_to_show(aurolog_command: Any, volume: Path) -> None:
    newest = aurolog_command("info", volume, "--json").value["durable_lsn"]
    for options, where in (
        (("--from", 99999), "99999 on"),
        (("--from", 99998, "--to", 99999, "--json"), "99998 to 99999"),
    ):
        ran = aurolog_command("log", volume, *options)
        assert (ran.status, ran.out) == (0, "")
        assert ran.err == (
            f"aurolog: there is nothing from LSN {where}; the newest commit is LSN {newest}\n"
        )


def test_log_as_json_is_what_the_library_says(aurolog_command: Any, volume: Path) -> None:
    lines = aurolog_command("log", volume, "--json", "--bytes", 3).out.splitlines()
    with aurolog.open(volume, read_only=True) as db:
        batches = list(db.log())
    assert len(lines) == len(batches)
    for line, batch in zip(lines, batches, strict=True):
        value = json.loads(line)
        for key in ("first_lsn", "lsn", "epoch", "kind", "note", "pages", "bytes"):
            assert value[key] == getattr(batch, key)
        assert value["time"] == batch.time.isoformat()
        for shown, record in zip(value["records"], batch.records, strict=True):
            assert shown.pop("data_hex") == record.data[:3].hex()
            assert shown == {key: getattr(record, key) for key in shown}
            assert set(shown) == {"lsn", "kind", "page", "offset", "length", "source", "byte"}


def test_control_batches_are_named(aurolog_command: Any, volume: Path) -> None:
    out = aurolog_command("log", volume).out
    assert "  control: clean-close\n" in out
    assert re.search(r"^ +\d+  clean-close$", out, re.MULTILINE)


def test_a_note_cannot_drive_the_terminal(aurolog_command: Any, path: Path) -> None:
    with aurolog.open(path) as db, db.transaction(note="\x1b[2Jgone\n[bold]ünd") as tx:
        tx.write(0, 0, b"x")
    out = aurolog_command("log", path).out
    assert r'"\x1b[2Jgone\n[bold]ünd"' in out
    assert "\x1b" not in out
    first = json.loads(aurolog_command("log", path, "--json").out.splitlines()[0])
    assert first["note"] == "\x1b[2Jgone\n[bold]ünd"


def test_text_that_an_encoding_lacks_is_escaped(path: Path) -> None:
    with aurolog.open(path) as db, db.transaction(note="größe") as tx:
        tx.write(0, 0, b"x")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(
        [*MODULE, "log", path], capture_output=True, check=True, text=True, env=environment
    )
    assert r'"gr\xf6\xdfe"' in ran.stdout


def test_a_reader_that_goes_away_ends_the_command_quietly(volume: Path) -> None:
    ran = subprocess.Popen(
        [*MODULE, "log", volume], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert ran.stdout is not None
    ran.stdout.close()
    assert ran.stderr is not None
    with ran.stderr:
        assert ran.stderr.read() == ""
    assert ran.wait(SECONDS_MAX) == 141


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["demo", "--help"]])
def test_a_reader_of_help_that_goes_away_ends_the_command_quietly(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    ran = subprocess.run([*MODULE, *arguments], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (141, b"")


def test_an_interrupt_while_the_command_line_starts_is_told_by_its_status() -> None:
    code = (
        "import builtins, sys\nfrom aurolog.cli import main\nimported = builtins.__import__\n"
        "def interrupted(name, *rest):\n"
        "    if name == 'typer': raise KeyboardInterrupt\n"
        "    return imported(name, *rest)\n"
        "builtins.__import__ = interrupted\nsys.exit(main(['--version']))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, b"", b"aurolog: interrupted\n")


def test_help_is_wrapped_once(aurolog_command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ("demo", "import", "export", "history", "restore-point", "backtrack"):
        lines = aurolog_command(command, "--help").out.split("╭")[0].splitlines()
        *_, last = "\n".join(line.strip() for line in lines).strip().split("\n\n")
        for line, following in itertools.pairwise(last.splitlines()):
            assert len(line) + 1 + len(following.split()[0]) > 77, line


# --- cat -----------------------------------------------------------------------------------------


def test_cat_writes_the_bytes_into_a_pipe(volume: Path) -> None:
    ran = subprocess.run([*MODULE, "cat", volume, "0"], capture_output=True, check=True)
    assert ran.stdout == b"HELLO".ljust(4096, b"\0")
    ran = subprocess.run(
        [*MODULE, "cat", volume, "0", "--at", "2"], capture_output=True, check=True
    )
    assert ran.stdout == b"hello".ljust(4096, b"\0")
    assert ran.stderr == b""


def test_cat_dumps_hex_on_a_terminal(volume: Path) -> None:
    code, output = in_terminal([*MODULE, "cat", str(volume), "3"])
    assert (code, output.splitlines()) == (
        0,
        [
            "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|",
            "*",
            "00000ff0  00 00 00 00 00 00 00 00  00 00 00 74 68 65 72 65  |...........there|",
            "00001000",
        ],
    )
    code, output = in_terminal([*MODULE, "cat", str(volume), "0", "--raw"])
    assert (code, output) == (0, "HELLO".ljust(4096, "\0"))


def test_a_hex_dump_can_be_asked_for(aurolog_command: Any, volume: Path) -> None:
    lines = aurolog_command("cat", volume, 1, "--hex").out.splitlines()
    assert lines[0] == f"00000000  {'ab ' * 8} {'ab ' * 8} |{'.' * 16}|"
    assert lines[1] == "*"
    assert lines[2] == f"00000060  {'ab ' * 4}{'00 ' * 4} {'00 ' * 8} |{'.' * 16}|"


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", ["00000000"]),
        (b"a", ["00000000  61                                                |a|", "00000001"]),
        (
            b"x" * 48,
            [f"00000000  {'78 ' * 8} {'78 ' * 8} |{'x' * 16}|", "*", "00000030"],
        ),
    ],
)
def test_hex_dump_lines(data: bytes, lines: list[str]) -> None:
    assert list(inspect.hex_dump(data)) == lines


def test_cat_past_the_end_gives_zeros_and_says_so(aurolog_command: Any, volume: Path) -> None:
    ran = aurolog_command("cat", volume, 4)
    assert (ran.status, ran.out) == (0, "\0" * 4096)
    assert ran.err == "aurolog: page space ends at 4; page 4 reads as zeros\n"
    assert aurolog_command("cat", volume, 2).err == ""


# --- verify --------------------------------------------------------------------------------------


def test_verify_reports_what_it_read(aurolog_command: Any, volume: Path) -> None:
    ran = aurolog_command("verify", volume, "--json")
    assert (ran.status, ran.err) == (0, "")
    value = ran.value
    assert value.pop("seconds") > 0
    with aurolog.open(volume, read_only=True) as db:
        report = db.verify()
    assert value == {
        "ok": True,
        "segments": report.segments,
        "bytes": report.bytes,
        "frames": report.frames,
        "batches": report.batches,
        "records": report.records,
        "index_entries": report.index_entries,
        "problems": [],
    }
    people = aurolog_command("verify", volume)
    assert people.status == 0
    assert people.out.startswith("no damage: ")


def damage(volume: Path, data: bytes) -> Path:
    """Flip a bit of these bytes where the log has them; returns the file."""
    for file in sorted((volume / "log").iterdir()):
        offset = file.read_bytes().find(data)
        if offset >= 0:
            flip(file, offset)
            return file
    raise AssertionError(f"{data!r} is nowhere in the log")


def test_verify_ends_with_one_when_there_is_damage(aurolog_command: Any, path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"a needle in the log")
        with db.transaction() as tx:
            tx.write(1, 0, b"and more behind it")
    file = damage(path, b"a needle")
    ran = aurolog_command("verify", path, "--json")
    assert ran.status == 1
    assert ran.value["ok"] is False
    problems = ran.value["problems"]
    assert problems
    assert set(problems[0]) == {"file", "offset", "lsn", "what"}
    assert file.name in problems[0]["file"]
    people = aurolog_command("verify", path)
    assert people.status == 1
    assert file.name in people.out
    assert "DAMAGED: " in people.out


def test_reading_damage_ends_with_one_and_prints_no_bytes(aurolog_command: Any, path: Path) -> None:
    with aurolog.open(path) as db:
        with db.transaction() as tx:
            tx.write(0, 0, b"a needle in the log")
        with db.transaction() as tx:
            tx.write(1, 0, b"and more behind it")
    damage(path, b"a needle")
    for command in (("cat", path, 0), ("export", path, path.with_name("out"))):
        ran = aurolog_command(*command)
        assert (ran.status, ran.out) == (1, "")
        assert re.fullmatch(r"aurolog: [^\n]+\n", ran.err)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


# --- import and export ---------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 100_000])
def test_a_file_comes_back_byte_for_byte(
    aurolog_command: Any, path: Path, tmp_path: Path, size: int
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    ran = aurolog_command("import", path, source, "--page", 5, "--json")
    assert ran.status == 0
    value = ran.value
    assert set(value) == {
        *("path", "created", "file", "bytes", "first_page", "pages", "transactions", "lsn"),
        *("log_bytes", "seconds"),
    }
    pages = -(-size // 4096)
    assert (value["bytes"], value["first_page"], value["pages"]) == (size, 5, pages)
    assert value["transactions"] == (size > 0)
    options = ("--page", 5, "--size", size, "--at", value["lsn"], "--json")
    ran = aurolog_command("export", path, target, *options)
    assert ran.status == 0
    assert set(ran.value) == {"path", "file", "bytes", "first_page", "lsn", "time", "seconds"}
    assert target.read_bytes() == source.read_bytes()
    with aurolog.open(path, read_only=True) as db:
        assert len(db) == (5 + pages if size else 0)
        notes = {batch.note for batch in db.log() if batch.kind == "pages"}
    assert notes == ({f"import source {size}"} if size else set())


def test_a_large_file_takes_several_transactions(
    aurolog_command: Any, path: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(2 * transfer.TRANSACTION_BYTES + 12_345))
    options = ("--page-size", 65536, "--json")
    value = aurolog_command("import", path, source, *options).value
    assert (value["transactions"], value["pages"]) == (3, 129)
    size = source.stat().st_size
    assert aurolog_command("export", path, target, "--size", size).status == 0
    assert target.read_bytes() == source.read_bytes()
    aurolog_command("export", path, target, "--force")
    assert target.read_bytes() == source.read_bytes().ljust(129 * 65536, b"\0")


def test_what_import_says_brings_the_same_bytes_again(
    aurolog_command: Any, path: Path, tmp_path: Path
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(10_000))
    said = aurolog_command("import", path, source, "--page", 2).out
    command = re.search(r"aurolog (export .*)$", said, re.MULTILINE)
    assert command is not None
    source.write_bytes(bytes(20_000))
    before = aurolog_command("import", path, source, "--page", 2)
    assert before.status == 0
    words = [str(target) if word == "FILE" else word for word in command[1].split()]
    assert aurolog_command(*words).status == 0
    assert target.stat().st_size == 10_000
    assert target.read_bytes() != bytes(10_000)


def test_importing_a_changed_file_logs_what_changed(
    aurolog_command: Any, path: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    data = bytearray(os.urandom(200_000))
    source.write_bytes(data)
    first = aurolog_command("import", path, source, "--json").value
    again = aurolog_command("import", path, source, "--json").value
    assert again["transactions"] == 0
    data[100_000:100_010] = bytes(10)
    source.write_bytes(data)
    changed = aurolog_command("import", path, source, "--json").value
    assert changed["transactions"] == 1
    assert changed["log_bytes"] < first["log_bytes"] // 10


def test_export_does_not_replace_a_file_unasked(
    aurolog_command: Any, volume: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    ran = aurolog_command("export", volume, target)
    assert ran.status == 2
    assert "--force" in ran.err
    assert target.read_bytes() == b"precious"
    assert aurolog_command("export", volume, target, "--force").status == 0
    assert target.stat().st_size == 4 * 4096
    assert aurolog_command("export", volume, tmp_path, "--force").status == 2


def test_export_does_not_replace_a_file_that_appears_meanwhile(
    aurolog_command: Any, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    copy_pages = transfer._copy_pages

    def slow(*arguments: Any) -> None:
        copy_pages(*arguments)
        target.write_bytes(b"precious")

    monkeypatch.setattr(transfer, "_copy_pages", slow)
    assert aurolog_command("export", volume, target).status == 2
    assert target.read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["target", volume.name]


def test_export_replaces_a_file_where_a_link_points_and_keeps_its_mode(
    aurolog_command: Any, volume: Path, tmp_path: Path
) -> None:
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.parent.mkdir()
    target.write_bytes(b"old")
    target.chmod(0o604)
    link.symlink_to(target)
    assert aurolog_command("export", volume, link).status == 2
    assert aurolog_command("export", volume, link, "--force").status == 0
    assert link.is_symlink()
    assert target.stat().st_size == 4 * 4096
    assert stat.S_IMODE(target.stat().st_mode) == 0o604
    assert [p.name for p in target.parent.iterdir()] == ["target"]


def test_export_never_replaces_what_is_no_regular_file(
    aurolog_command: Any, volume: Path, tmp_path: Path
) -> None:
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to("/dev/null")
    for target in (fifo, link, "/dev/null"):
        ran = aurolog_command("export", volume, target, "--force")
        assert ran.status == 2
        assert ran.err == (f"aurolog: {target}: not a regular file; - writes to standard output\n")
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_export_names_the_file_that_it_was_asked_for(
    aurolog_command: Any, volume: Path, tmp_path: Path
) -> None:
    target = tmp_path / "missing" / "out"
    ran = aurolog_command("export", volume, target)
    assert (ran.status, ran.err) == (2, f"aurolog: {target}: No such file or directory\n")


def test_a_file_goes_through_standard_input_and_output(path: Path) -> None:
    data = os.urandom(transfer.TRANSACTION_BYTES + 10_000)
    command = [*MODULE, "import", str(path), "-", "--page", "2", "--json"]
    ran = subprocess.run(command, input=data, capture_output=True, check=True)
    value = json.loads(ran.stdout)
    assert (value["file"], value["bytes"], value["transactions"]) == ("-", len(data), 2)
    command = [*MODULE, "export", str(path), "-", "--page", "2", "--size", str(len(data))]
    ran = subprocess.run(command, capture_output=True, check=True)
    assert ran.stdout == data
    assert ran.stderr == b""
    assert not Path("-").exists()
    ran = subprocess.run([*command, "--json"], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (2, b"")


def test_an_import_says_when_it_made_the_volume(
    aurolog_command: Any, path: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    assert f"created a volume in {path}\n" in aurolog_command("import", path, source).out
    assert "created" not in aurolog_command("import", path, source).out
    assert aurolog_command("import", path, source, "--json").value["created"] is False


def test_an_interrupted_import_says_what_is_committed(
    aurolog_command: Any, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(2 * transfer.TRANSACTION_BYTES))
    write_pages = transfer._write_pages

    def interrupted(volume: aurolog.Volume, page: int, *rest: Any) -> int | None:
        if page:
            raise KeyboardInterrupt
        return write_pages(volume, page, *rest)

    monkeypatch.setattr(transfer, "_write_pages", interrupted)
    ran = aurolog_command("import", path, source)
    assert ran.status == 130
    assert re.fullmatch(
        r"aurolog: cut short: the first 4\.2 MB of \S+ were imported, into 1,024 pages from page 0 "
        r"on, up to LSN \d+; the rest was not\naurolog: interrupted\n",
        ran.err,
    )


@pytest.mark.parametrize("error", [aurolog.DiskFullError, OSError])
def test_an_import_that_fails_at_once_says_that_it_made_a_volume(
    aurolog_command: Any, path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def full(*_: Any) -> None:
        raise error(28, "No space left on device", "somewhere")

    monkeypatch.setattr(transfer, "_write_pages", full)
    made = f"aurolog: created a volume in {path}, which is empty: nothing was imported\n"
    for begin in (made, ""):
        ran = aurolog_command("import", path, __file__)
        assert ran.status == 3
        assert re.fullmatch(f"{re.escape(begin)}aurolog: [^\n]*No space left[^\n]*\n", ran.err)


def test_json_names_whole_paths(
    aurolog_command: Any, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("source").write_bytes(b"x")
    value = aurolog_command("import", path.name, "source", "--json").value
    assert (value["path"], value["file"]) == (str(path), str(tmp_path / "source"))
    value = aurolog_command("export", path.name, "out", "--json").value
    assert (value["path"], value["file"]) == (str(path), str(tmp_path / "out"))


def test_an_exported_file_has_ordinary_permissions(
    aurolog_command: Any, volume: Path, tmp_path: Path
) -> None:
    ordinary, target = tmp_path / "ordinary", tmp_path / "target"
    ordinary.touch()
    assert aurolog_command("export", volume, target).status == 0
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


def test_export_of_more_than_there_is_is_refused(
    aurolog_command: Any, volume: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    assert aurolog_command("export", volume, target, "--size", 4 * 4096 + 1).status == 2
    assert aurolog_command("export", volume, target, "--page", 3, "--size", 4097).status == 2
    assert aurolog_command("export", volume, target, "--at", 0, "--size", 1).status == 2
    assert not target.exists()
    assert aurolog_command("export", volume, target, "--page", 9).status == 0
    assert target.read_bytes() == b""


@pytest.mark.parametrize("lsn", [0, 1])
def test_export_as_of_the_time_before_the_first_commit_is_refused(
    aurolog_command: Any, volume: Path, tmp_path: Path, lsn: int
) -> None:
    """LSN 1 is inside the commit of LSN 2: what is there as of LSN 1 is the empty volume."""
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    arguments = ("export", volume, target, "--at", lsn, "--force")
    ran = aurolog_command(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert "empty as of LSN 0; its first commit is LSN 2" in ran.err
    assert target.read_bytes() == b"precious"
    assert aurolog_command(*arguments, "--size", 0).status == 0
    assert target.read_bytes() == b""
    assert aurolog_command("export", volume, target, "--at", 2, "--force").status == 0
    assert target.stat().st_size == 4 * 4096


def test_export_of_a_volume_without_commits_is_an_empty_file(
    aurolog_command: Any, path: Path, tmp_path: Path
) -> None:
    aurolog.open(path).close()
    for number, options in enumerate(((), ("--at", 0))):
        target = tmp_path / f"target{number}"
        assert aurolog_command("export", path, target, *options).status == 0
        assert target.read_bytes() == b""


def test_a_full_disk_leaves_no_half_export(volume: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    code = (
        "import resource, sys; from aurolog.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    arguments = [sys.executable, "-c", code, "export", volume, target]
    ran = subprocess.run(arguments, capture_output=True, check=False, text=True)
    assert ran.returncode == 3
    assert ran.stderr == f"aurolog: {target}: File too large\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == [volume.name]


def test_output_to_a_full_disk_is_an_error(volume: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        arguments = [*MODULE, "info", volume]
        ran = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, check=False)
    assert ran.returncode == 3
    assert ran.stderr == b"aurolog: standard output: No space left on device\n"


def test_a_closed_output_is_no_error(volume: Path) -> None:
    command = f"'{sys.executable}' -m aurolog info '{volume}' >&-"
    subprocess.run(["/bin/sh", "-c", command], check=True)


@pytest.mark.parametrize("kind", ["directory", "fifo", "missing"])
def test_only_a_regular_file_is_imported(
    aurolog_command: Any, path: Path, tmp_path: Path, kind: str
) -> None:
    source = tmp_path / "source"
    if kind == "directory":
        source.mkdir()
    elif kind == "fifo":
        os.mkfifo(source)
    ran = aurolog_command("import", path, source)
    assert ran.status == 2
    assert re.fullmatch(rf"aurolog: {source}: [^\n]+\n", ran.err)
    assert not path.exists()


@pytest.mark.parametrize("change", [+1, -1])
def test_a_file_that_changes_while_it_is_imported_is_noticed(
    aurolog_command: Any, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(transfer.TRANSACTION_BYTES + 10))
    write_pages = transfer._write_pages

    def changing(*arguments: Any) -> int | None:
        os.truncate(source, source.stat().st_size + change)
        return write_pages(*arguments)

    monkeypatch.setattr(transfer, "_write_pages", changing)
    ran = aurolog_command("import", path, source)
    assert ran.status == 2
    assert "grew or shrank while it was imported" in ran.err


@pytest.mark.parametrize("name", ["plain", "ü" * 200, "x" * 300, "\udc80bytes"])
def test_an_import_note_fits_and_keeps_the_size(name: str) -> None:
    note = transfer.import_note(name, 12_345)
    assert len(note.encode()) <= 255
    assert note.startswith(f"import {name[:1]}") or "\udc80" in name
    assert note.endswith(" 12345")


# --- what ends badly -----------------------------------------------------------------------------


def test_wrong_usage_ends_with_two(aurolog_command: Any, volume: Path) -> None:
    for arguments in (
        ("no-such-command",),
        ("info",),
        ("info", volume, "--no-such-option"),
        ("cat", volume, "minus one"),
        ("cat", volume, "--", -1),
        ("cat", volume, 1 << 63),
        ("cat", volume, 0, "--at", 1 << 40),
        ("cat", volume, 0, "--at", "yesterday"),
        ("log", volume, "--from", 3, "--to", 2),
        ("import", volume, Path(__file__), "--page-size", 512),
        ("import", volume.with_name("new"), Path(__file__), "--page-size", 1000),
        ("import", volume, Path(__file__), "--page", 1 << 62),
        ("demo", "--files", 1),
        ("demo", "--threads", 0),
    ):
        ran = aurolog_command(*arguments)
        assert ran.status == 2, arguments
        assert ran.out == ""
        assert ran.err != ""
        assert "Traceback" not in ran.err


def test_wrong_usage_is_told_in_words_of_the_command_line(
    aurolog_command: Any, volume: Path
) -> None:
    ran = aurolog_command("cat", volume, -1)
    assert (ran.status, ran.out) == (2, "")
    assert "PAGE" in ran.err
    assert "No such option" not in ran.err
    assert aurolog_command("cat", volume, 0, "--no-such-option").status == 2
    ran = aurolog_command("import", volume, __file__, "--page-size", 512)
    assert ran.status == 2
    assert "has pages of 4096 bytes, not 512: leave --page-size out" in ran.err


def test_no_volume_ends_with_three(aurolog_command: Any, tmp_path: Path) -> None:
    empty, file, other = tmp_path / "empty", tmp_path / "file", tmp_path / "other"
    empty.mkdir()
    file.write_bytes(b"not a volume")
    other.mkdir()
    (other / "something").write_bytes(b"else")
    target = tmp_path / "target"
    for path in (tmp_path / "missing", empty, file, other):
        for command in (
            ("info", path),
            ("log", path),
            ("cat", path, 0),
            ("verify", path),
            ("export", path, target),
        ):
            ran = aurolog_command(*command)
            assert (ran.status, ran.out) == (3, ""), command
            assert re.fullmatch(r"aurolog: [^\n]+\n", ran.err)
            assert str(path) in ran.err
    assert not (tmp_path / "missing").exists()
    assert not target.exists()
    assert list(empty.iterdir()) == []
    for path in (file, other):
        assert aurolog_command("import", path, __file__).status == 3


def test_a_volume_in_use_ends_an_import_with_three(aurolog_command: Any, volume: Path) -> None:
    with aurolog.open(volume):
        ran = aurolog_command("import", volume, __file__)
    assert ran.status == 3
    assert str(os.getpid()) in ran.err


def test_a_lack_of_permission_ends_with_three(aurolog_command: Any, volume: Path) -> None:
    commands = (("info", volume), ("log", volume), ("cat", volume, 0), ("verify", volume))
    for command in commands:  # so that all of it is imported when root becomes nobody
        assert aurolog_command(*command).status == 0
    user = os.geteuid()
    volume.chmod(0)
    try:
        for command in commands:
            if user == 0:
                os.seteuid(65534)
            ran = aurolog_command(*command)
            os.seteuid(user)
            assert (ran.status, ran.out) == (3, "")
            assert re.fullmatch(r"aurolog: [^\n]+\n", ran.err)
    finally:
        os.seteuid(user)
        volume.chmod(0o700)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (aurolog.LsnError, status.Status.USAGE),
        (aurolog.InputError, status.Status.USAGE),
        (aurolog.CorruptionError, status.Status.CHECK_FAILED),
        (aurolog.AccessError, status.Status.UNAVAILABLE),
        (aurolog.DiskFullError, status.Status.UNAVAILABLE),
        (aurolog.FormatError, status.Status.UNAVAILABLE),
        (aurolog.NotAVolumeError, status.Status.UNAVAILABLE),
        (aurolog.CommitOutcomeUnknown, status.Status.UNAVAILABLE),
        (aurolog.StorageError, status.Status.UNAVAILABLE),
        (aurolog.VolumeLockedError, status.Status.UNAVAILABLE),
        (aurolog.InternalError, status.Status.BUG),
        (KeyboardInterrupt, status.Status.INTERRUPTED),
        (ZeroDivisionError, status.Status.BUG),
    ],
)
def test_every_kind_of_error_has_its_status(error: type[BaseException], code: int) -> None:
    assert status.status_of(error.__new__(error)) == code


def test_a_bug_shows_its_traceback(
    aurolog_command: Any, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of all things")

    monkeypatch.setattr(check, "open_to_read", broken)
    ran = aurolog_command("verify", volume)
    assert ran.status == 70
    assert "Traceback" in ran.err
    assert ran.err.endswith("aurolog: of all things\n")


# --- drawing -------------------------------------------------------------------------------------

PROGRESS = """
import sys, time
from aurolog.cli import terminal
terminal.PROGRESS_AFTER_SECONDS = float(sys.argv[1])
with terminal.progress("Reading [all] of it") as advance:
    for done in range(10):
        advance(done * 100, 1000)
        time.sleep(0.06)
    advance(1000, 1000)
"""


def test_a_progress_bar_appears_when_it_takes_long() -> None:
    arguments = [sys.executable, "-c", PROGRESS]
    assert "Reading [all] of it" in in_terminal([*arguments, "0.1"])[1]
    assert "Reading [all] of it" in in_terminal([*arguments, "0.1"], errors_only=True)[1]
    assert in_terminal([*arguments, "100"]) == (0, "")


def test_a_progress_bar_is_for_terminals_only() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRESS, "0.1"], capture_output=True, check=True)
    assert (ran.stdout, ran.stderr) == (b"", b"")


def test_colours_are_for_terminals_only(volume: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [*MODULE, "log", str(volume)]
    assert "\x1b[1mLSN" in in_terminal(arguments)[1]
    assert "\x1b" not in in_terminal(["/usr/bin/env", "NO_COLOR=1", *arguments])[1]
    ran = subprocess.run(arguments, capture_output=True, check=True, text=True)
    assert "\x1b" not in ran.stdout


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (99_999, "99,999 B"),
        (100_000, "100.0 kB"),
        (1_234_567, "1.2 MB"),
        (999_949_999, "999.9 MB"),
        (5 * 10**9, "5.0 GB"),
        (3 * 10**15, "3,000.0 TB"),
    ],
)
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert terminal.bytes_text(count) == text
