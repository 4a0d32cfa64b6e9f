"""What a type checker has to allow and to refuse. Never run: `mypy` reads it, and a refusal that
does not come is an ignore without use, which is an error too.
"""

from __future__ import annotations

import mmap
from array import array
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aurolog


class Whole:
    """A whole number that is no int."""

    def __index__(self) -> int:
        return 1


def allowed(path: Path) -> None:
    """Every kind of buffer and number that works."""
    db = aurolog.open(path, page_size=Whole(), durability="os")
    aurolog.open(b"bytes").close()
    with db, db.transaction(durability="sync") as tx:
        for data in (b"x", bytearray(b"x"), memoryview(b"x"), array("H", [1]), mmap.mmap(-1, 1)):
            tx.write(0, 0, data)
            tx[Whole()] = data
            tx.apply(data)
            tx.apply([(0, 0, data), ("fill", 1, 2, 3, 4), ("truncate", 5), ("image", 1, data)])
        changes = [("move", 0, 0, 0, 4)]
        tx.apply(changes)
        tx.apply(aurolog.pack_changes((page, 0, b"x") for page in range(3)))
    for buffer in (bytearray(4096), memoryview(bytearray(4096)), array("B"), mmap.mmap(-1, 4096)):
        db.read_into(Whole(), buffer)
    db.read_many(range(3), out=bytearray(4096))
    db.read_many(array("Q", [1]))
    durability: str = db.durability
    print(durability, db[Whole()], db.at(Whole()).lsn)
    moments: list[aurolog.When] = [7, Whole(), "name", datetime.now(UTC), timedelta(hours=1)]
    for when in moments:
        with db.at(when) as view:
            print(view.time)
        rewind: aurolog.Rewind = db.backtrack(when, dry_run=True)
        print(rewind.to_lsn, list(db.diff(when)), list(db.diff(when, 7)))
        db.restore_point("name", at=when)


def refused(db: aurolog.Volume, tx: aurolog.Transaction) -> None:
    """What cannot work."""
    tx.apply(7)  # type: ignore[arg-type]
    tx.apply([(0, 0, "text")])  # type: ignore[list-item]
    tx.apply(["nonsense"])  # type: ignore[list-item]
    tx.write(0, 0, "text")  # type: ignore[arg-type]
    tx.write(0.5, 0, b"x")  # type: ignore[arg-type]
    db.read_into(0, b"not writable")  # type: ignore[arg-type]
    db.transaction(durability="never")  # type: ignore[arg-type]
    aurolog.open("path", durability="never")  # type: ignore[arg-type]
    db.at(1.5)  # type: ignore[arg-type]
    db.backtrack(None)  # type: ignore[arg-type]
    db.backtrack(7, True)  # type: ignore[call-arg]
    db.restore_point(7)  # type: ignore[arg-type]
    db.page_size = 5  # type: ignore[misc]
    for _ in db:  # type: ignore[misc]
        pass
