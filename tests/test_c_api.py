"""The C core as other C code may use it, where Python does not: without an error to fill in; and
what Python makes of statuses that nothing brings about.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Child, contents, copy, flip, frames, segments

import aurolog
from aurolog._core import ffi, lib, raise_error


def open_status(path: Path, error: Any, read_only: bool = False) -> int:
    """How `aul_open` goes; what it opens is given back, as a process that dies would leave it."""
    options = ffi.new("aul_options *")
    options.read_only = read_only
    cell = ffi.new("aul_store **")
    status = int(lib.aul_open(os.fsencode(path), options, cell, error))
    if status == lib.AUL_OK:
        lib.aul_free(cell[0])
    return status


def _no_manifest(path: Path) -> None:
    (path / "MANIFEST").unlink()


def _short_manifest(path: Path) -> None:
    os.truncate(path / "MANIFEST", 100)


def _damaged_manifest(path: Path) -> None:
    flip(path / "MANIFEST", 40)


def _newer_manifest(path: Path) -> None:
    flip(path / "MANIFEST", 12, 0xFF)


def _a_segment_is_missing(path: Path) -> None:
    segments(path)[0].unlink()


def _a_segment_is_a_directory(path: Path) -> None:
    first = segments(path)[0]
    first.unlink()
    first.mkdir()


def _a_frame_is_damaged(path: Path) -> None:
    flip(segments(path)[0], frames(segments(path)[0])[1].offset + 70)


def _a_header_is_damaged(path: Path) -> None:
    for offset in (20, 2048 + 20):
        flip(segments(path)[0], offset)


def _log_is_missing(path: Path) -> None:
    shutil.rmtree(path / "log")


def _log_is_a_file(path: Path) -> None:
    shutil.rmtree(path / "log")
    (path / "log").touch()


DAMAGES = [value for name, value in sorted(globals().items()) if name.startswith("_a_")]
DAMAGES += [_no_manifest, _short_manifest, _damaged_manifest, _newer_manifest]
DAMAGES += [_log_is_missing, _log_is_a_file]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("state", ["closed", "killed"])
def test_opening_fails_alike_without_an_error(
    path: Path, tmp_path: Path, state: str, damage: Callable[[Path], None]
) -> None:
    with aurolog.open(path) as db:
        for number in range(5):
            with db.transaction() as tx:
                tx.write(number, 0, b"commit")
        killed = copy(path, tmp_path / "killed")
    victim = killed if state == "killed" else path
    damage(victim)
    before = contents(victim)
    for read_only in (True, False):
        error = ffi.new("aul_error *")
        status = open_status(victim, error, read_only)
        assert status == error.code
        if state == "killed":  # of a closed one the log is not read by opening
            assert status != lib.AUL_OK
            assert ffi.string(error.text)
        assert open_status(victim, ffi.NULL, read_only) == status
    assert contents(victim) == before


def test_a_lock_is_refused_alike_without_an_error(path: Path) -> None:
    with Child("hold", path) as child:
        assert child.line() == "open"
        assert open_status(path, ffi.NULL) == lib.AUL_LOCKED
        child.end()
    with aurolog.open(path):
        assert open_status(path, ffi.NULL) == lib.AUL_LOCKED


@pytest.mark.parametrize(
    ("name", "value"), [("retention_ns", 2**63), ("page_size", 513), ("page_size", 1 << 17)]
)
def test_options_that_no_volume_can_have_are_refused(path: Path, name: str, value: int) -> None:
    options = ffi.new("aul_options *", {"create": 1, name: value})
    cell, error = ffi.new("aul_store **"), ffi.new("aul_error *")
    assert lib.aul_open(os.fsencode(path), options, cell, error) == lib.AUL_INPUT
    assert ffi.string(error.text)
    assert lib.aul_open(os.fsencode(path), options, cell, ffi.NULL) == lib.AUL_INPUT
    assert not path.exists()


def test_a_path_longer_than_any_is_refused(tmp_path: Path) -> None:
    assert open_status(tmp_path / "/".join(["long" * 50] * 30), ffi.NULL) == lib.AUL_INPUT


def test_a_note_longer_than_any_is_refused(db: aurolog.Volume) -> None:
    tx, outcome = ffi.new("aul_tx **"), ffi.new("aul_outcome *")
    note = ffi.new("uint8_t[300]")
    options = ffi.new("aul_commit_options *", {"note": note, "note_bytes": 256})
    assert lib.aul_tx_begin(db._store.handle, ffi.NULL, 0, tx, ffi.NULL) == lib.AUL_OK
    changes = aurolog.pack_changes([(0, 0, b"x")])
    assert lib.aul_tx_apply(tx[0], changes, len(changes), ffi.NULL) == lib.AUL_OK
    assert lib.aul_tx_commit(tx[0], options, 1000, outcome, ffi.NULL) == lib.AUL_INPUT
    assert not outcome.logged
    options.note_bytes = 255
    assert lib.aul_tx_commit(tx[0], options, 60000, outcome, ffi.NULL) == lib.AUL_OK
    assert outcome.logged
    lib.aul_tx_free(tx[0])


def test_calls_fail_alike_without_an_error(db: aurolog.Volume) -> None:
    handle, null = db._store.handle, ffi.NULL
    view, tx, pin = ffi.new("aul_view **"), ffi.new("aul_tx **"), ffi.new("aul_pin **")
    data, page = ffi.new("uint8_t **"), ffi.new("uint8_t[4096]")
    far = 2**60
    assert lib.aul_view_open(handle, far, view, null) == lib.AUL_LSN
    assert lib.aul_read(handle, null, far, page, null) == lib.AUL_INPUT
    assert lib.aul_pin_page(handle, null, far, data, pin, null) == lib.AUL_INPUT
    assert lib.aul_wait(handle, far, lib.AUL_DURABILITY_SYNC, 0, null) != lib.AUL_OK
    assert lib.aul_changes_check(4096, b"short", 5, null, null) == lib.AUL_INPUT
    assert lib.aul_tx_begin(handle, null, 0, tx, null) == lib.AUL_OK
    assert lib.aul_tx_put(tx[0], far, page, null) == lib.AUL_INPUT
    assert lib.aul_tx_read(tx[0], far, page, null) == lib.AUL_INPUT
    assert lib.aul_tx_apply(tx[0], b"short", 5, null) == lib.AUL_INPUT
    lib.aul_tx_free(tx[0])
    db.close()
    assert lib.aul_check(handle, 0, null) == lib.AUL_CLOSED
    assert lib.aul_sync(handle, 0, ffi.new("uint64_t *"), null) == lib.AUL_CLOSED


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (lib.AUL_BUG, aurolog.InternalError),
        (lib.AUL_NO_MEMORY, MemoryError),
        (99, aurolog.InternalError),
    ],
)
def test_every_status_is_an_exception(status: int, wanted: type[BaseException]) -> None:
    with pytest.raises(wanted, match=f"status {status}"):
        raise_error(status, ffi.new("aul_error *"), "/volume")


def test_damage_without_a_place_is_told_as_the_volumes() -> None:
    with pytest.raises(aurolog.CorruptionError) as told:
        raise_error(lib.AUL_CORRUPT, ffi.new("aul_error *"), "/volume")
    assert "/volume" in str(told.value)


def test_names_that_no_restore_point_can_have_are_refused(db: aurolog.Volume) -> None:
    """With or without words; nothing is logged, and the writer's place is free."""
    store, info = db._store.handle, ffi.new("aul_restore_point_info *")
    outcome, error = ffi.new("aul_outcome *"), ffi.new("aul_error *")
    options = ffi.new("aul_commit_options *")
    for name in (b"", b"x" * 256, b"a\0b"):
        for words in (error, ffi.NULL):
            made = lib.aul_restore_point_make(
                store, name, len(name), lib.AUL_NEWEST, options, 0, info, outcome, words
            )
            assert made == lib.AUL_INPUT
            deleted = lib.aul_restore_point_delete(
                store, name, len(name), options, 0, outcome, words
            )
            assert deleted == lib.AUL_INPUT
    note = ffi.new("uint8_t[]", 256)
    options.note, options.note_bytes = note, 256
    make = lib.aul_restore_point_make
    assert make(store, b"x", 1, lib.AUL_NEWEST, options, 0, info, outcome, error) == lib.AUL_INPUT
    rewind = ffi.new("aul_rewind_info *")
    assert lib.aul_backtrack(store, 0, 0, options, 0, rewind, outcome, error) == lib.AUL_INPUT
    assert (db.visible_lsn, outcome.logged) == (0, 0)
    with db.transaction() as tx:
        tx.write(0, 0, b"goes on")


def test_who_names_waits_for_the_writers_place_and_who_rewinds_takes_it(
    db: aurolog.Volume,
) -> None:
    store, info = db._store.handle, ffi.new("aul_restore_point_info *")
    outcome, error = ffi.new("aul_outcome *"), ffi.new("aul_error *")
    options = ffi.new("aul_commit_options *")
    with db.transaction() as tx:
        tx.write(0, 0, b"one")
    tx = db.transaction()
    assert tx[0][:3] == b"one"
    make = lib.aul_restore_point_make
    assert make(store, b"x", 1, lib.AUL_NEWEST, options, 5, info, outcome, error) == lib.AUL_BUSY
    assert make(store, b"x", 1, 9, options, 5, info, outcome, error) == lib.AUL_BUSY
    delete = lib.aul_restore_point_delete
    assert delete(store, b"x", 1, options, 5, outcome, error) == lib.AUL_BUSY
    assert not outcome.logged
    options.durability = lib.AUL_DURABILITY_LOGGED
    rewind = ffi.new("aul_rewind_info *")
    assert lib.aul_backtrack(store, 0, 0, options, 5, rewind, outcome, error) == lib.AUL_PENDING
    assert outcome.lsn == rewind.lsn == 2
    with pytest.raises(aurolog.ConflictError):
        tx.commit()
    assert make(store, b"x", 1, 9, options, 5, info, outcome, error) == lib.AUL_LSN
    assert db.restore_points == {}
