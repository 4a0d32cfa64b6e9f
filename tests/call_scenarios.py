"""Small programs over the public API, in which one call of the disk table fails.

Run by `call_failures.py` as `call_scenarios.py MODULE DIRECTORY`, with the build of the engine that
has failing calls (`csrc/faultdisk/`). It reads one request a line and answers with one line. Each
request is a child of its own: it may crash or hang, and shares nothing.

What a program did stands in a plain model. Whatever failed, the volume is opened again on a healed
disk afterwards and compared with it, page by page and at every commit.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import gc
import importlib.util
import itertools
import json
import os
import pickle
import random
import select
import shutil
import signal
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

if __name__ == "__main__":
    _spec = importlib.util.spec_from_file_location("aurolog._native", sys.argv[1])
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["aurolog._native"] = _module
    _spec.loader.exec_module(_module)

import support

import aurolog
from aurolog._native import ffi, lib  # type: ignore[import-not-found,unused-ignore]

PAGE_SIZE = 512
PAGES = 24
VIEWS_MAX = 12
CACHE_BYTES = 16 * PAGE_SIZE
STACK_CAPACITY = 8192
TOO_MANY = 8500  # pages whose images are more than the segments that one transaction may fill

Changes = list[tuple[Any, ...]]

#: what a failing disk, or no memory, may be told as
TELLING = (
    aurolog.StorageError,
    aurolog.DiskFullError,
    aurolog.CommitOutcomeUnknown,
    MemoryError,
)
#: words of the message that say what to do, or that nothing is to be done but to look at the disk
ADVICE = {
    aurolog.StorageError: ("failed: ",),
    aurolog.DiskFullError: ("make room",),
    aurolog.CommitOutcomeUnknown: ("reopen", "look whether"),
    MemoryError: ("no memory", "Cannot allocate memory"),
}


@dataclass
class Commit:
    """A commit of the model."""

    lsn: int
    state: support.State
    sure: bool  # acknowledged; otherwise it is there or not, but never in part
    kind: str = "pages"  # or "rewind", "name", "delete"
    parent: int = 0  # what it goes on from
    name: str = ""
    named: int = 0


@dataclass
class History:
    """All commits of a volume in their order, the uncertain ones last."""

    commits: list[Commit] = field(
        default_factory=lambda: [Commit(0, support.State(0, {}, 0, PAGE_SIZE), True)]
    )
    lost: set[int] = field(default_factory=set)  # LSNs that were found not to be there
    number: int = 0  # of the attempts: each leaves another mark in page 0

    def at(self, lsn: int) -> Commit:
        """The last commit at or below the LSN."""
        return [commit for commit in self.commits if commit.lsn <= lsn][-1]

    def path(self, lsn: int) -> list[Commit]:
        """Those that lead to the LSN, oldest first."""
        commit = self.at(lsn)
        return [*self.path(commit.parent), commit] if commit.lsn else [commit]

    def names(self, lsn: int) -> dict[str, int]:
        """What the restore points name as of an LSN."""
        there: dict[str, int] = {}
        for commit in self.commits:
            if commit.kind == "name" and commit.lsn <= lsn:
                there[commit.name] = commit.named
            elif commit.kind == "delete" and commit.lsn <= lsn:
                del there[commit.name]
        return there

    def append(self, draft: support.Draft, lsn: int, sure: bool, **what: Any) -> Commit:
        """One more."""
        assert lsn > self.commits[-1].lsn, f"LSN {lsn} after {self.commits[-1].lsn}"
        assert lsn > max(self.lost, default=0), f"LSN {lsn} was assigned before and lost"
        state = support.State(lsn, draft.pages, draft.length, PAGE_SIZE)
        what = {"parent": self.commits[-1].lsn, **what}
        self.commits.append(Commit(lsn, state, sure, **what))
        if sure:
            self.confirm(lsn)
        return self.commits[-1]

    def confirm(self, lsn: int) -> None:
        """This one is acknowledged, and so all before it."""
        for commit in self.commits:
            commit.sure = commit.sure or commit.lsn <= lsn


class Run:
    """One program, with or without a fault."""

    def __init__(
        self, directory: Path, threads: bool, fault: dict[str, Any] | None, seed: str
    ) -> None:
        self.path = directory / "volume"
        self.threads = threads
        self.fault = fault
        self.history = History()
        self.problems: list[str] = []
        self.told: list[str] = []
        self.random = random.Random(seed)
        self.may_refuse: tuple[type[BaseException], ...] = ()
        self.more_stacks: list[list[Any]] = []  # of other processes
        self.failed_at_open = 0
        self.failed_as_told = 0  # of the failed calls: those before the last commit that failed
        self.last_look: list[Callable[[aurolog.Volume], None]] = []  # in place of the model

    # What must hold

    def problem(self, text: str) -> None:
        """Something that must not be."""
        self.problems.append(text)

    @property
    def failed(self) -> int:
        """How many calls were made to fail."""
        return int(count().failed)

    @property
    def failing(self) -> bool:
        """Whether a call was made to fail, of a disk that is not healed yet."""
        return self.fault is not None and self.failed > 0

    def failed_before(self, durability: str | None) -> int:
        """How many of them a commit that begins now has to heed. An `os` commit waits for no sync:
        it may pass while another thread is about to tell the log of its failed one."""
        return self.failed_as_told if self.threads and durability == "os" else self.failed

    def judge(self, what: str, error: BaseException) -> None:
        """Whether this is how a failing call is to be told."""
        self.told.append(type(error).__name__)
        text = f"{what}: {type(error).__name__}: {error}"
        if isinstance(error, self.may_refuse):
            return
        refused = self.fault is not None and self.fault["error"] == errno.EPERM
        if isinstance(error, aurolog.AccessError) and refused:
            return
        if not isinstance(error, TELLING) or isinstance(error, aurolog.CorruptionError):
            self.problem(text + "".join(traceback.format_tb(error.__traceback__)[-2:]))
            return
        if not self.failing:
            self.problem(f"{text}: while the disk is sound")
        elif self.fault and self.fault["harmless"]:
            self.problem(f"{text}: for what is no failure")
        if isinstance(error, MemoryError) and self.fault and not self.fault["memory"]:
            self.problem(f"{text}: no memory, where there was some")
        kind = next(kind for kind in ADVICE if isinstance(error, kind))
        if not any(words in str(error) for words in ADVICE[kind]):
            self.problem(f"{text}: does not say what to do")
        if isinstance(error, OSError) and (
            error.errno is None or os.strerror(error.errno) not in str(error)
        ):
            self.problem(f"{text}: does not say why")
        places = (self.path.name, "MANIFEST", ".log", "LOCK")
        if not isinstance(error, MemoryError) and not any(at in str(error) for at in places):
            self.problem(f"{text}: does not say where")

    def acknowledged(self, what: str, before: int, sync: bool = True) -> None:
        """Whether it may be, of a commit that began when `before` calls had failed."""
        if self.fault is None or (self.threads and not self.fault["final"]):
            return
        if self.fault["final"] and before > self.failed_at_open:
            self.problem(f"{what} acknowledged after a sync or a write of the log had failed")
        elif self.fault["sync"] and sync and not self.threads and self.failed > before:
            self.problem(f"{what} acknowledged though a sync failed meanwhile")

    def attempt(self, what: str, call: Callable[[], Any], default: Any = None) -> Any:
        """The call's result; the default when it failed as it may."""
        try:
            return call()
        except AssertionError as error:
            self.problem(f"{what}: {str(error) or traceback.format_exc()}")
        except Exception as error:
            self.judge(what, error)
        return default

    # Steps of programs

    def open(self, *, read_only: bool = False, again: bool = True) -> aurolog.Volume | None:
        """The volume; a failure that does not last is gone the second time."""
        before = self.failed
        for _ in range(2 if again else 1):
            self.failed_at_open = self.failed
            db: aurolog.Volume | None = self.attempt(
                "opening",
                lambda: aurolog.open(
                    self.path, page_size=PAGE_SIZE, cache_bytes=CACHE_BYTES, read_only=read_only
                ),
            )
            if db is not None and self.settle(db):
                return db
            self.close(db)
        if again and self.fault and not self.fault["kinds"] and not self.may_refuse:
            self.problem(f"opening failed a second time ({before} calls failed before)")
        return None

    def settle(self, db: aurolog.Volume) -> bool:
        """Finds which of the uncertain commits are there; all that is sure has to be."""
        history = self.history
        known = max(commit.lsn for commit in history.commits if commit.sure)
        if db.visible_lsn < known and not db.read_only:
            self.problem(f"the log ends at LSN {db.visible_lsn}, {known} was acknowledged")
        if db.read_only or history.commits[-1].sure:
            return True
        mark = self.attempt("reading", lambda: db[0][:8])
        logged = self.attempt("the log", lambda: {batch.lsn for batch in db.log(known + 1)})
        if mark is None or logged is None:
            return False
        there = [one for one in history.commits if one.lsn <= known or one.lsn in logged]
        if there != history.commits[: len(there)] or there[-1].state.page(0)[:8] != mark:
            self.problem(f"page 0 has the mark {mark.hex()}, {known} was acknowledged")
            return False
        history.lost |= {commit.lsn for commit in history.commits[len(there) :]}
        history.commits = there
        history.confirm(history.commits[-1].lsn)
        return True

    def close(self, db: aurolog.Volume | None) -> None:
        """Closed, whatever it says."""
        if db is None:
            return
        self.attempt("closing", db.close)
        if not db.closed:
            self.problem("not closed by close()")
        self.attempt("closing once more", db.close)

    def commit(
        self,
        db: aurolog.Volume,
        changes: Changes | None = None,
        durability: Literal["sync", "os"] | None = None,
        put: bool = False,
    ) -> bool:
        """One transaction; whether it was acknowledged."""
        history, before = self.history, self.failed_before(durability)
        draft, changes = self.draft(changes or self.small())
        tx = db.transaction(durability=durability, note=f"{history.number}")
        try:
            if put:
                sofar = support.Draft(history.commits[-1].state)
                for change in changes:
                    support.perform(tx, change)
                    sofar.apply([change])
                    if tx[change[1]] != sofar.page(change[1]):
                        self.problem(f"a transaction does not read what it wrote: {change[:2]}")
            else:
                tx.apply(changes)
            tx.commit()
        except Exception as error:
            self.judge("a commit", error)
            self.failed_as_told = self.failed
            self.refused(tx, draft, error)
            return False
        assert tx.lsn is not None
        self.acknowledged("a commit was", before, durability != "os")
        history.append(draft, tx.lsn, True)
        return True

    def draft(self, changes: Changes) -> tuple[support.Draft, Changes]:
        """The changes with a mark that no other attempt has, and the state after them."""
        history = self.history
        history.number += 1
        changes = [("write", 0, 0, history.number.to_bytes(8, "little")), *changes]
        draft = support.Draft(history.commits[-1].state)
        draft.apply(changes)
        return draft, changes

    def refused(self, tx: Any, draft: support.Draft, error: BaseException) -> None:
        """Keeps what may have become of a commit that was not acknowledged."""
        if tx.outcome == "open":
            tx.rollback()
        unknown = isinstance(error, aurolog.CommitOutcomeUnknown)
        if unknown != (tx.outcome == "unknown"):
            self.problem(f"{type(error).__name__} for an outcome {tx.outcome!r}")
        if unknown:
            assert isinstance(error, aurolog.CommitOutcomeUnknown)
            if error.lsn != tx.lsn or not tx.lsn:
                self.problem(f"unknown at LSN {error.lsn}, and the transaction says {tx.lsn}")
            else:
                self.history.append(draft, tx.lsn, False)

    def rewind(self, db: aurolog.Volume, lsn: int) -> bool:
        """To a commit; whether it was acknowledged."""
        target = self.history.at(lsn)
        what = {"kind": "rewind", "parent": target.lsn}
        lsn = self.control(
            db, "a rewind", target, lambda: db.backtrack(lsn, note="back").lsn, **what
        )
        return lsn > 0

    def name(self, db: aurolog.Volume, name: str, at: int | None = None) -> None:
        """A restore point is made."""

        def make() -> int:
            db.restore_point(name, at=at)
            return db.visible_lsn

        newest = self.history.commits[-1]
        named = db.visible_lsn if at is None else self.history.at(at).lsn  # a close's mark, too
        self.control(db, "a name", newest, make, kind="name", name=name, named=named)

    def delete(self, db: aurolog.Volume, name: str) -> None:
        """And deleted, where it is there."""

        def delete() -> int:
            db.delete_restore_point(name)
            return db.visible_lsn

        newest = self.history.commits[-1]
        if name in self.history.names(newest.lsn):
            self.control(db, "a deletion", newest, delete, kind="delete", name=name)

    def control(
        self,
        db: aurolog.Volume,
        told: str,
        target: Commit,
        call: Callable[[], int | None],
        **what: Any,
    ) -> int:
        """A control batch after which all is as after the target; its LSN where it was
        acknowledged, or 0. A refusal leaves everything as it was.
        """
        before = self.failed_before(None)
        draft = support.Draft(target.state)
        try:
            lsn = call()
        except Exception as error:
            self.judge(told, error)
            self.failed_as_told = self.failed
            if isinstance(error, aurolog.CommitOutcomeUnknown):
                self.history.append(draft, error.lsn, False, **what)
            self.past(db)
            return 0
        if lsn is None:  # nothing to do
            assert target is self.history.commits[-1], f"{told}: nothing is logged"
            return 0
        self.acknowledged(f"{told} was", before)
        self.history.append(draft, lsn, True, **what)
        self.past(db)
        return lsn

    def log_one(self, db: aurolog.Volume) -> int:
        """Logs one transaction that nobody waits for, and nobody writes to a file yet; its LSN, or
        0 where it was refused."""
        draft, changes = self.draft(self.small())
        outcome = ffi.new("aul_outcome *")
        packed = aurolog.pack_changes(changes)
        if self.attempt(
            "logging", lambda: db._store.log_changes(packed, db._store.run, b"", 0, outcome, 0)
        ):
            self.history.append(draft, outcome.lsn, False)
        return int(outcome.lsn)

    def sync(self, db: aurolog.Volume) -> bool:
        """All that was committed is durable, or it says why not."""
        before = self.failed
        lsn = self.attempt("sync", db.sync)
        if lsn is None:
            return False
        sure = [commit.lsn for commit in self.history.commits if commit.sure]
        if lsn < sure[-1]:
            self.problem(f"a sync up to {lsn}, {sure[-1]} was acknowledged")
        if lsn > sure[-1]:  # after a failure, too, what is durable already is so without another
            self.acknowledged("a sync was", before)
        return True

    def small(self) -> Changes:
        """A few changes of every kind."""
        return [
            support.random_change(self.random, PAGE_SIZE, PAGES, first=1)
            for _ in range(self.random.randint(1, 6))
        ]

    def images(self, count: int) -> Changes:
        """Whole pages."""
        return [
            ("image", 1 + n % (PAGES - 1), self.random.randbytes(PAGE_SIZE)) for n in range(count)
        ]

    def check(self, db: aurolog.Volume | aurolog.View, lsn: int | None = None) -> None:
        """The pages are the model's as of what is visible."""
        for _ in range(5):
            seen = (db.visible_lsn if isinstance(db, aurolog.Volume) else lsn) or 0
            commit = self.history.at(seen)
            try:
                support.assert_same(db, commit.state, also=(PAGES, PAGES + 7))
            except AssertionError as error:
                if isinstance(db, aurolog.Volume) and db.visible_lsn != seen:
                    continue  # the disk failed meanwhile, and what was visible is no longer
                self.problem(f"a wrong read: {error}")
            return

    def read(self, db: aurolog.Volume) -> None:
        """Everything that can be read, in all ways."""
        self.attempt("reading", lambda: self.check(db))
        for commit in self.history.commits[:: max(1, len(self.history.commits) // 4)]:
            if commit.lsn <= db.visible_lsn:
                self.attempt("a view", partial(self.view, db, commit.lsn))
        self.attempt("versions", lambda: self.versions(db))
        self.attempt("pinning", lambda: self.pin(db))
        self.attempt("differences", lambda: self.differences(db))
        self.past(db)

    def view(self, db: aurolog.Volume, lsn: int) -> None:
        """Of a past state."""
        self.check(db.at(lsn), lsn)

    def versions(self, db: aurolog.Volume) -> None:
        """The commits that changed page 0 are all that there are."""
        seen = db.visible_lsn
        lsns = [version.lsn for version in db.versions(0)]
        wanted = [c.lsn for c in self.history.path(seen)[1:] if c.kind == "pages"]
        assert lsns == wanted or db.visible_lsn != seen, f"versions {lsns}, not {wanted}"

    def pin(self, db: aurolog.Volume) -> None:
        """A page held in the cache."""
        seen = db.visible_lsn
        with db.view_page(0) as page:
            wanted = self.history.at(seen).state.page(0)
            assert bytes(page) == wanted or db.visible_lsn != seen, "a wrong page is pinned"

    def differences(self, db: aurolog.Volume) -> None:
        """Every page that differs between then and now is told."""
        seen = db.visible_lsn
        commits = [commit for commit in self.history.commits if commit.lsn <= seen]
        now = commits[-1].state
        for commit in commits[:: max(1, len(commits) // 3)]:
            then = commit.state
            told = set(db.diff(then.lsn, seen))
            pages = {*then.pages, *now.pages}
            missing = {page for page in pages if then.page(page) != now.page(page)} - told
            assert not missing or db.visible_lsn != seen, f"nobody tells that {missing} differ"

    def past(self, db: aurolog.Volume) -> None:
        """Names and runs, what a moment means, and where a rewind would lead."""
        self.attempt("restore points", lambda: self.names(db))
        self.attempt("the history", lambda: self.runs(db))
        self.attempt("a moment", lambda: self.moment(db))
        self.attempt("a dry run", lambda: self.dry_run(db))

    def names(self, db: aurolog.Volume) -> None:
        """Those that there are as of what is visible."""
        seen = db.visible_lsn
        found = {name: point.lsn for name, point in db.restore_points.items()}
        wanted = self.history.names(seen)
        assert found == wanted or db.visible_lsn != seen, f"names {found}, not {wanted}"

    def runs(self, db: aurolog.Volume) -> None:
        """Those that rewinds began."""
        seen = db.visible_lsn
        found = [(run.lsn, run.parent_lsn) for run in db.history if run.kind == "rewind"]
        commits = [c for c in self.history.commits if c.kind == "rewind" and c.lsn <= seen]
        wanted = [(commit.lsn, commit.parent) for commit in commits]
        assert found == wanted or db.visible_lsn != seen, f"runs {found}, not {wanted}"

    def moment(self, db: aurolog.Volume) -> None:
        """Now is what is visible now."""
        seen = db.visible_lsn
        if seen:
            view = db.at(timedelta(0))
            assert view.lsn == seen or db.visible_lsn != seen, f"LSN {view.lsn} is now"

    def dry_run(self, db: aurolog.Volume) -> None:
        """It tells where it would lead, and changes nothing."""
        seen = db.visible_lsn
        commits = [commit for commit in self.history.commits if commit.lsn <= seen]
        for target in commits[:: max(1, len(commits) // 2)]:
            then, now = target.state, commits[-1].state
            told = db.backtrack(target.lsn, dry_run=True)
            pages = {*then.pages, *now.pages}
            least = sum(then.page(page) != now.page(page) for page in pages)
            right = (told.lsn, told.from_lsn, told.to_lsn) == (None, seen, target.lsn)
            right = right and told.pages is not None and told.pages >= least
            assert right or db.visible_lsn != seen, f"{told} of a rewind to {target.lsn}"

    def look(self, db: aurolog.Volume) -> None:
        """At the log, and all bytes of it."""
        self.attempt("the log", lambda: self.log(db))
        self.attempt("commits", lambda: self.commits(db))
        self.attempt("verifying", lambda: self.verify(db))

    def log(self, db: aurolog.Volume) -> None:
        """Its commits are the model's, all of them up to what is visible."""
        seen = db.visible_lsn
        sessions = ("clean-close", "branch-point")
        lsns = [
            batch.lsn
            for batch in db.log()
            if batch.records[0].kind not in sessions or batch.note == "back"
        ]
        wanted = [c.lsn for c in self.history.commits if 0 < c.lsn <= seen]
        assert lsns == wanted or db.visible_lsn != seen, f"the log has {lsns}, not {wanted}"

    def commits(self, db: aurolog.Volume) -> None:
        """Each of them tells every page that it changed."""
        seen = db.visible_lsn
        told = {commit.lsn: set(commit.pages) for commit in db.follow(0, timeout=0)}
        for before, after in itertools.pairwise(c.state for c in self.history.commits):
            pages = {*before.pages, *after.pages}
            changed = {page for page in pages if before.page(page) != after.page(page)}
            missing = changed - told.get(after.lsn, set())
            if missing and after.lsn <= db.durable_lsn and db.visible_lsn == seen:
                raise AssertionError(f"commit {after.lsn} does not tell {missing}")

    def verify(self, db: aurolog.Volume) -> None:
        """No damage is found."""
        report = db.verify()
        assert report.ok or self.failing, f"verify: {report}"
        for problem in report.problems:
            assert "failed" in problem.what or "memory" in problem.what, f"verify: {problem}"

    def keep(self, db: aurolog.Volume, seconds: int = 0) -> None:
        """The background thread's work. It is waited for as long as nothing has failed: what a disk
        refuses may never be done."""
        if not self.threads:
            lib.aul_fault_keep(db._store.handle, seconds)
        else:
            support.wait_until(lambda: self.failing or is_kept(db), "full segments are sealed")

    # The end

    def finish(self) -> None:
        """On a disk that works again everything acknowledged is there, and it goes on."""
        gc.collect()
        self.leaks()
        before = self.failed
        heal()
        self.fault, self.may_refuse = None, ()
        for clean in (None, True):
            db = self.open(again=False)
            if db is None:
                self.problem("it does not open again")
                return
            if self.last_look:
                for look in self.last_look:
                    self.attempt("the last look", partial(look, db))
                self.close(db)
                del db
                continue
            if clean is not None and not db.recovery.clean:
                self.problem("unclean after a clean close")
            self.check(db)
            self.past(db)
            for commit in self.history.commits[1:][-VIEWS_MAX:]:
                self.check(db.at(commit.lsn), commit.lsn)
            for lsn in sorted(self.history.lost)[:3]:
                with contextlib.suppress(aurolog.LsnError):
                    db.at(lsn)
                    self.problem(f"LSN {lsn} was lost, and can be viewed")
            self.look(db)
            self.commit(db)
            self.check(db)
            self.close(db)
            del db
        if self.failed != before:
            self.problem("the disk was not healed")
        gc.collect()
        self.leaks()

    def leaks(self) -> None:
        """Nothing is open or in use."""
        now = count()
        for what in ("files", "memory"):
            if getattr(now, what):
                self.problem(f"{getattr(now, what)} {what} left")
        deadline = time.monotonic() + 5
        while (tasks := len(os.listdir("/proc/self/task"))) > 1:  # listed while it ends
            if time.monotonic() > deadline:
                self.problem(f"{tasks - 1} threads left")
                return
            os.sched_yield()


def is_kept(db: aurolog.Volume) -> bool:
    """Whether all segments but the last are sealed."""
    stats = db.stats()
    return stats.sealed_segments + 1 >= stats.segments


# --- programs -------------------------------------------------------------------------------------

Program = Callable[[Run], None]
PROGRAMS: dict[str, tuple[Program | None, Program]] = {}


def program(prepare: Program | None = None) -> Callable[[Program], Program]:
    """One by name, with what comes before any fault."""

    def keep(act: Program) -> Program:
        PROGRAMS[act.__name__] = (prepare, act)
        return act

    return keep


def some_history(run: Run) -> aurolog.Volume:
    """A volume with segments of every kind, open."""
    db = run.open()
    assert db is not None
    for n in range(14):
        assert run.commit(db, durability="os" if n % 5 == 4 else None)
    assert run.commit(db, run.images(90))  # over several segments
    run.keep(db)
    for _ in range(3):
        assert run.commit(db, [*run.images(12), ("truncate", 9), *run.small()])
    run.keep(db)
    for _ in range(4):
        assert run.commit(db)
    return db


def new(run: Run) -> None:
    """A volume without a commit."""
    run.close(run.open())


def closed(run: Run) -> None:
    """A volume with a past, closed."""
    run.close(some_history(run))


def killed(run: Run) -> None:
    """What a killed process leaves: segments that nobody sealed, commits that nobody synced."""
    db = some_history(run)
    run.keep(db)
    assert run.commit(db, run.images(80))
    for n in range(20):
        assert run.commit(db, run.images(n % 7), durability="os")
    leave(run, db)


def rewound(run: Run) -> None:
    """What a killed process leaves that had gone back and forth, and named where it was."""
    db = some_history(run)
    lsns = [commit.lsn for commit in run.history.commits]
    run.name(db, "kept")
    run.name(db, "deleted", at=lsns[3])
    assert run.rewind(db, lsns[9])
    left = run.history.commits[-1].parent
    assert run.commit(db, run.images(30))
    run.keep(db)
    assert run.rewind(db, lsns[-1])
    run.delete(db, "deleted")
    assert run.commit(db, durability="os")
    assert run.rewind(db, left)
    run.name(db, "last")
    leave(run, db)


def just_rewound(run: Run) -> None:
    """The same, where no manifest knows of it yet."""
    db = run.open()
    assert db is not None
    for _ in range(3):
        assert run.commit(db)
    run.name(db, "kept")
    assert run.rewind(db, run.history.commits[1].lsn)
    leave(run, db)


def torn(run: Run) -> None:
    """What is left when the power goes while a bulk batch is written: a hole in it, and more behind
    the hole.
    """
    db = some_history(run)
    assert run.commit(db, run.images(130), durability="os")
    leave(run, db)
    run.history.commits[-1].sure = False
    hole = support.segments(run.path)[-2]
    size = hole.stat().st_size
    with hole.open("r+b") as file:
        file.truncate(size // 2)
        file.truncate(size)


def headless(run: Run) -> None:
    """The same, where the last segment of the batch has lost its header."""
    torn(run)
    with support.segments(run.path)[-1].open("r+b") as file:
        file.write(bytes(4096))


def headless_first(run: Run) -> None:
    """A session's first segment, which the manifest lists, without its header and never synced."""
    run.close(some_history(run))
    db = run.open()
    assert db is not None
    for _ in range(3):
        assert run.commit(db, durability="os")
    leave(run, db)
    for commit in run.history.commits[-3:]:
        commit.sure = False
    with support.segments(run.path)[-1].open("r+b") as file:
        file.write(bytes(4096))


def half_sealed(run: Run) -> None:
    """What is left of a process that died while it sealed: a footer, and no trailer."""
    db = some_history(run)
    for n in range(16):
        assert run.commit(db, run.images(n % 9))
    before = set(filter(support.is_sealed, support.segments(run.path)))
    there = copy_left(run)
    run.keep(db)
    sealed = set(filter(support.is_sealed, support.segments(run.path))) - before
    assert sealed
    newest = max(sealed)
    data = newest.read_bytes()
    (there / "log" / newest.name).write_bytes(data[:-512] + bytes(512))
    run.close(db)
    shutil.rmtree(run.path)
    there.rename(run.path)


def leave(run: Run, db: aurolog.Volume) -> None:
    """The files as they are, without the handle."""
    there = copy_left(run)
    run.close(db)
    shutil.rmtree(run.path)
    there.rename(run.path)


def copy_left(run: Run) -> Path:
    """A copy of the files as they are now."""
    return support.copy(run.path, run.path.with_name("left"))


@program()
def create(run: Run) -> None:
    """A volume is made, used and closed."""
    db = run.open()
    if db is not None:
        run.commit(db)
        run.read(db)
        run.commit(db, durability="os")
        run.close(db)


def begun(run: Run) -> None:
    """What an interrupted creation leaves."""
    (run.path / "log").mkdir(parents=True)
    (run.path / "MANIFEST.new").write_bytes(b"half")
    (run.path / "RESERVE").write_bytes(b"")


@program(begun)
def create_again(run: Run) -> None:
    """A creation that was interrupted goes on."""
    create(run)


@program()
def refuse(run: Run) -> None:
    """No volume, strangers, a log without its manifest, a lock that another has."""
    run.may_refuse = (aurolog.NotAVolumeError, aurolog.CorruptionError, aurolog.VolumeLockedError)
    run.attempt("no volume", lambda: aurolog.open(run.path, create=False))
    run.path.mkdir()
    (run.path / "stranger").write_bytes(b"")
    run.open()
    (run.path / "stranger").unlink()
    (run.path / "log").mkdir()
    name = run.path / "log" / "0000000000000001-0000000000000001.log"
    name.write_bytes(b"")
    run.open()
    run.open(read_only=True)
    name.unlink()
    with (run.path / "LOCK").open("w+b") as file:
        lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        fcntl.fcntl(file, 37, lock)  # F_OFD_SETLK: as another process would hold it
        run.open()
    (run.path / "LOCK").unlink()
    (run.path / "log").rmdir()
    run.path.rmdir()
    run.path.symlink_to(run.path.with_name("nothing"))
    run.open()
    run.path.unlink()
    run.may_refuse = ()


@program(closed)
def clean(run: Run) -> None:
    """Opened after a clean close, read cold and warm, written to, closed."""
    db = run.open()
    if db is None:
        return
    run.read(db)
    run.look(db)
    run.commit(db)
    run.read(db)
    run.commit(db, put=True)
    run.keep(db)
    run.close(db)


@program(killed)
def recover(run: Run) -> None:
    """Opened after a kill, read, written to, sealed, closed."""
    clean(run)


@program(torn)
def recover_torn(run: Run) -> None:
    """Opened after a cut of power."""
    db = run.open()
    if db is None:
        return
    run.read(db)
    run.keep(db)
    run.commit(db)
    run.close(db)


@program(headless)
def recover_headless(run: Run) -> None:
    """Opened after a cut of power that cost a header."""
    recover_torn(run)


@program(headless_first)
def recover_headless_first(run: Run) -> None:
    """Opened after a cut of power that cost the header of a segment that is listed."""
    recover_torn(run)


@program(half_sealed)
def recover_half_sealed(run: Run) -> None:
    """Opened after a crash in the middle of sealing."""
    recover_torn(run)


@program(killed)
def recover_and_drop(run: Run) -> None:
    """Opened after a kill, changed retention, dropped without a close, opened once more."""
    from datetime import timedelta

    db = run.attempt(
        "opening",
        lambda: aurolog.open(run.path, cache_bytes=CACHE_BYTES, retention=timedelta(days=2)),
    )
    if db is not None and run.settle(db):
        run.read(db)
        run.commit(db)
    del db
    gc.collect()
    run.close(run.open())


@program(killed)
def reader_alone(run: Run) -> None:
    """A read-only open of what a killed writer left."""
    db = run.open(read_only=True)
    if db is not None:
        run.read(db)
        run.look(db)
        run.close(db)


def damaged(run: Run) -> None:
    """A volume with a damaged frame in the middle of a bulk batch, or where it begins."""
    db = run.open()
    assert db is not None
    for _ in range(2):
        assert run.commit(db)
        assert run.commit(db, run.images(130))
    assert run.commit(db)
    run.close(db)
    segments = support.segments(run.path)
    assert len(segments) > 6
    for segment in (segments[1], segments[2], segments[-3]):
        support.flip(segment, 4096 + 100)


@program(damaged)
def verify_damaged(run: Run) -> None:
    """Damage is told of the files that have it, and of no other."""
    segments = support.segments(run.path)
    names = {segment.name for segment in (segments[1], segments[2], segments[-3])}

    def look(db: aurolog.Volume) -> None:
        found = {problem.file for problem in db.verify().problems}
        assert found == names, f"damage told of {found}, not of {names}"

    def look_meanwhile(db: aurolog.Volume) -> None:
        for problem in db.verify().problems:
            assert problem.file in names or "failed" in problem.what, f"{problem}"

    db = run.open(read_only=True)
    if db is not None:
        run.attempt("verifying", partial(look_meanwhile, db))
        run.close(db)
    run.last_look = [look]


@program(closed)
def reader_beside(run: Run) -> None:
    """A read-only open beside a writer, of the same process and then of another."""
    db = run.open()
    if db is None:
        return
    for n in range(3):
        run.commit(db, run.images(n))
    reader = run.open(read_only=True)
    run.commit(db)
    if reader is not None:
        run.read(reader)
        run.look(reader)
        run.close(reader)
    run.close(db)


@program(closed)
def reader_moves_on(run: Run) -> None:
    """A reader follows its writer over segments, a close and another session."""

    def move_on(reader: aurolog.Volume, db: aurolog.Volume) -> None:
        before = db.durable_lsn  # the keeper may sync meanwhile
        lsn = reader.refresh()
        moved = before <= lsn <= db.durable_lsn
        assert moved or run.failing, f"moved on to {lsn}, not {before} to {db.durable_lsn}"

    def follow(reader: aurolog.Volume) -> None:
        seen = reader.visible_lsn
        lsns = [c.lsn for c in reader.follow(0, timeout=0) if c.kind == "pages"]
        wanted = [c.lsn for c in run.history.commits if 0 < c.lsn <= reader.visible_lsn]
        assert lsns == wanted or reader.visible_lsn != seen, f"followed {lsns}, not {wanted}"

    def wait(reader: aurolog.Volume) -> None:
        behind = reader.visible_lsn < run.history.commits[-1].lsn  # it could not move on
        assert not list(reader.follow(timeout=0.01)) or behind, "nobody has committed"

    reader = run.open(read_only=True)
    for images in (9, 40):
        db = run.open()
        if db is None or reader is None:
            break
        for n in range(7):
            run.commit(db, run.images(n * images), durability="os" if n % 3 == 2 else None)
            if n % 2:
                run.keep(db)
            run.attempt("moving on", partial(move_on, reader, db))
            run.attempt("reading", partial(run.check, reader))
        run.attempt("following", partial(follow, reader))
        run.close(db)
        run.attempt("moving on", reader.refresh)
        run.attempt("waiting", partial(wait, reader))
        run.read(reader)
    run.close(reader)


@program(new)
def commits(run: Run) -> None:
    """Commits of every kind and size over some segments, with the keeper's work between."""
    db = run.open()
    if db is None:
        return
    for n in range(6):
        run.commit(db, run.images(n), durability="os" if n % 2 else None)
        run.commit(db, put=n % 2 == 0)
    run.keep(db)
    run.commit(db, run.images(70))
    run.commit(db, [("write", PAGES + 3, 7, b"x"), ("truncate", PAGES)])
    run.keep(db)
    for n in range(12):
        run.commit(db, run.images(3 + n), durability="os" if n % 3 else None)
        if n % 4 == 3:
            run.keep(db, seconds=1)
            run.keep(db, seconds=1)
    run.read(db)
    run.commit(db, run.images(8), durability="os")
    run.sync(db)
    with contextlib.suppress(aurolog.AurologError, MemoryError), db.transaction() as tx:
        tx.write(1, 1, b"rolled back")
        tx.rollback()
    run.commit(db, run.images(66), durability="os")
    run.commit(db, durability="os")
    run.keep(db, seconds=1)
    run.keep(db, seconds=1)
    run.commit(db, put=True)
    run.close(db)


@program(new)
def rewinds(run: Run) -> None:
    """Forth and back, over many segments and the keeper's work, with names for where it was."""
    db = run.open()
    if db is None:
        return
    run.past(db)
    for n in range(4):
        run.commit(db, run.images(n * 5), durability="os" if n % 2 else None)
        run.name(db, f"at {n}")
    commits = run.history.commits
    for n in range(3):
        run.rewind(db, commits[len(commits) // 2].lsn)
        run.commit(db, run.images(20), put=n == 1)
        run.rewind(db, commits[-2:][0].lsn)
        run.keep(db)
        run.delete(db, f"at {n}")
        run.name(db, f"half {n}", at=commits[len(commits) // 2].lsn)
        run.commit(db, durability="os")
    run.rewind(db, 0)
    run.commit(db)
    run.read(db)
    run.look(db)
    run.close(db)


@program(closed)
def rewind_first(run: Run) -> None:
    """A session that begins with a rewind, and one that begins with a name."""
    for turn in range(2):
        db = run.open()
        if db is None:
            return
        run.past(db)
        if turn == 0:
            run.rewind(db, run.history.commits[5].lsn)  # of what was there before any fault
        else:
            run.name(db, "first")
        run.commit(db)
        run.close(db)


@program(just_rewound)
def recover_just_rewound(run: Run) -> None:
    """Opening what had been rewound and named a moment before."""
    recover_rewound(run)


@program(rewound)
def recover_rewound(run: Run) -> None:
    """Opening what had been rewound; and it goes on being."""
    reader = run.open(read_only=True)
    if reader is not None:
        run.past(reader)
        run.close(reader)
    db = run.open()
    if db is None:
        return
    run.past(db)
    run.rewind(db, run.history.commits[2].lsn)
    run.name(db, "again")
    run.commit(db)
    run.read(db)
    run.close(db)


@program(new)
def bulk_first(run: Run) -> None:
    """A session whose first commit is larger than the segment that it begins with."""
    for count in (70, 40):
        db = run.open()
        if db is None:
            return
        run.commit(db, run.images(count))
        run.commit(db)
        run.read(db)
        run.close(db)


async def logged(tx: aurolog.AsyncTransaction, future: asyncio.Future[int | None]) -> None:
    for _ in itertools.count():  # a thread logs it
        if tx.lsn is not None:
            return
        if future.done():
            future.result()
        await asyncio.sleep(0)


@program(new)
def awaited(run: Run) -> None:
    """Commits that an event loop awaits, several at once."""
    db = run.open()
    if db is None:
        return

    async def one(tx: aurolog.AsyncTransaction, before: int, future: Any) -> None:
        try:
            lsn = await future
        except Exception as error:
            run.judge("awaiting a commit", error)
            if not isinstance(error, aurolog.CommitOutcomeUnknown):
                run.problem(f"{type(error).__name__} for a logged commit, {tx!r}: {error}")
        else:
            run.acknowledged("an awaited commit was", before, sync=False)
            run.history.confirm(lsn)

    async def all_of_them() -> None:
        waiting = []
        for n in range(16):
            durability: Literal["sync", "os"] = "os" if n % 4 == 3 else "sync"
            before = run.failed_before(durability)
            draft, changes = run.draft(run.images(n % 9))
            tx = await db.transaction(durability=durability)
            try:
                tx.apply(changes)
                future = tx.commit()
                await logged(tx, future)
            except Exception as error:
                run.judge("logging a commit", error)
                run.failed_as_told = run.failed
                run.refused(tx, draft, error)
                continue
            if tx.lsn is None:
                run.problem("a commit that is logged has no LSN")
                continue
            run.history.append(draft, tx.lsn, False)
            waiting.append(asyncio.ensure_future(one(tx, before, future)))
            if n % 8 == 7:
                await asyncio.gather(*waiting)
        await asyncio.gather(*waiting)

    asyncio.run(all_of_them())
    run.read(db)
    run.close(db)


@program(new)
def bulk_behind(run: Run) -> None:
    """A large commit behind small ones that are logged and in no file yet; and one too large."""
    db = run.open()
    if db is None:
        return
    for count in (70, 90):
        run.log_one(db)
        if run.commit(db, run.images(count)):
            run.history.confirm(run.history.commits[-1].lsn)
    if tx := run.attempt("beginning", db.transaction):
        try:
            tx.apply([("image", page, bytes(PAGE_SIZE)) for page in range(TOO_MANY)])
            tx.commit()
            run.problem("a commit over more segments than one may have was made")
        except Exception as error:
            if not isinstance(error, aurolog.InputError):
                run.judge("a commit that is too large", error)
            if tx.outcome == "open":
                tx.rollback()
    run.commit(db)
    run.close(db)


@program(new)
def awaited_late(run: Run) -> None:
    """Whoever asks late for a commit that is safe is not told of a disk that fails since."""
    db = run.open()
    if db is None:
        return
    lsn = run.log_one(db)
    if run.sync(db):
        run.history.confirm(lsn)
    for _ in range(5):
        run.commit(db, run.images(12))
    run.keep(db)
    if 0 < lsn <= db.durable_lsn:
        for level in (lib.AUL_DURABILITY_SYNC, lib.AUL_DURABILITY_OS):
            try:
                db._store.wait(lsn, level)
            except Exception as error:
                run.problem(f"{type(error).__name__} for a commit that is durable: {error}")
    run.close(db)


@program(new)
def two_threads(run: Run) -> None:
    """Two threads commit, with their own pages; each sees to its own acknowledgements."""
    db = run.open()
    if db is None:
        return
    both = [Half(run, me) for me in (0, 1)]
    threads = [threading.Thread(target=half.work, args=(db,)) for half in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.close(db)
    run.last_look = [half.look for half in both]


class Half:
    """What one of two threads commits: to the even or to the odd pages."""

    def __init__(self, run: Run, me: int) -> None:
        self.run, self.me = run, me
        self.acked: dict[int, int] = {}
        self.unknown: set[int] = set()

    def work(self, db: aurolog.Volume) -> None:
        """A dozen commits, numbered in each of their pages."""
        for number in range(1, 13):
            image = number.to_bytes(8, "little") * (PAGE_SIZE // 8)
            pages = range(self.me, 2 * (number % 8) + 4, 2)
            durability: Literal["sync", "os"] = "os" if number % 4 == 3 else "sync"
            before = self.run.failed_before(durability)
            tx = db.transaction(durability=durability)
            try:
                tx.apply([("image", page, image) for page in pages])
                lsn = tx.commit()
            except Exception as error:
                self.run.judge("a thread's commit", error)
                self.run.failed_as_told = self.run.failed
                if isinstance(error, aurolog.CommitOutcomeUnknown):
                    self.unknown.add(number)
            else:
                assert lsn is not None
                self.run.acknowledged("a thread's commit was", before, sync=False)
                self.acked[number] = lsn

    def look(self, db: aurolog.Volume) -> None:
        """All that was acknowledged is there, and nothing in part."""
        last = max(self.acked, default=0)
        found = int.from_bytes(db[self.me][:8], "little")
        if found != last and found not in self.unknown:
            self.run.problem(f"thread {self.me} was told {last}, and {found} is there")
        if db[self.me + 2][:8] != db[self.me][:8]:
            self.run.problem(f"a commit of thread {self.me} is there in part")
        for number, lsn in self.acked.items():
            if int.from_bytes(db.at(lsn)[self.me][:8], "little") != number:
                self.run.problem(f"commit {number} of thread {self.me} is not at LSN {lsn}")


@program(new)
def forked(run: Run) -> None:
    """A child of a fork has no handles, and its parent goes on."""
    db = run.open()
    if db is None:
        return
    run.commit(db)
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(aurolog.ClosedError):
            db[0]
            os._exit(1)
        os.write(there, json.dumps(stacks(set())).encode())
        os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as pipe:
        run.more_stacks = json.loads(pipe.read() or b"[]")
    if os.waitpid(child, 0)[1]:
        run.problem("the child was not refused")
    run.commit(db)
    run.close(db)


@program(new)
def used_up(run: Run) -> None:
    """A volume whose reserve was given up takes it back at its close."""
    db = run.open()
    if db is None:
        return
    run.commit(db)
    with contextlib.suppress(FileNotFoundError):
        (run.path / "RESERVE").unlink()
    run.commit(db, run.images(120))
    run.keep(db)
    run.close(db)


# --- the disk table -------------------------------------------------------------------------------


def count() -> Any:
    """What the table has counted."""
    counts = ffi.new("aul_fault_counts *")
    lib.aul_fault_count(counts)
    return counts


def set_fault(fault: dict[str, Any]) -> None:
    """From now on."""
    keys = ("stack", "occurrence", "kinds", "error", "after")
    lib.aul_fault_set(ffi.new("aul_fault *", {key: fault[key] for key in keys}))


def heal() -> None:
    """No call fails any more."""
    lib.aul_fault_set(ffi.new("aul_fault *"))


_found = ffi.new("aul_fault_stack[]", STACK_CAPACITY)


def stacks(known: set[int]) -> list[list[Any]]:
    """The stacks: which, kind, calls, failed ones, and the frames of those not known."""
    total = lib.aul_fault_stacks(_found, STACK_CAPACITY)
    assert total <= STACK_CAPACITY
    rows = []
    for n in range(total):
        one = _found[n]
        stack = int(one.stack)
        if stack not in known or one.failed:
            frames = [] if stack in known else list(one.frames[0 : one.depth])
            rows.append([stack, int(one.kind), int(one.calls), int(one.failed), frames])
    return rows


# --- requests -------------------------------------------------------------------------------------


def perform(request: dict[str, Any], directory: Path, known: set[int]) -> dict[str, Any]:
    """One run; in a process of its own."""
    fault = request.get("fault")
    seed = f"{request['seed']}/{request['program']}"
    run = Run(directory, request["threads"], fault, seed)
    threading.excepthook = lambda args: run.problem(f"a thread ended by {args.exc_value!r}")
    sys.unraisablehook = lambda args: run.problem(f"unraisable: {args.exc_value!r} {args.object}")
    lib.aul_fault_threads(request["threads"])
    template = directory.parent / f"template-{request['program']}"
    prepare, act = PROGRAMS[request["program"]]
    if prepare is not None:
        if not request["prepare"]:
            with (template / "model").open("rb") as file:
                run.history, state = pickle.load(file)
            run.random.setstate(state)
            shutil.copytree(template, directory, dirs_exist_ok=True)
        else:
            lib.aul_fault_threads(0)
            prepare(run)
            with (directory / "model").open("wb") as file:
                pickle.dump((run.history, run.random.getstate()), file)
            gc.collect()
    if request["prepare"]:
        return {"problems": run.problems}
    if fault:
        set_fault(fault)
    act(run)
    failed, found = run.failed, stacks(known) + run.more_stacks
    failed += sum(row[3] for row in run.more_stacks)
    run.finish()
    return {
        "problems": run.problems,
        "told": run.told,
        "failed": failed,
        "stacks": found,
    }


def in_a_child(request: dict[str, Any], base: Path, known: set[int]) -> dict[str, Any]:
    """The answer to a request, or what the child died of."""
    name = f"template-{request['program']}" if request["prepare"] else f"run-{os.getpid()}"
    directory = base / name
    directory.mkdir()
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(here)
        code = 1
        try:
            answer = perform(request, directory, known)
            with os.fdopen(there, "wb") as pipe:
                pipe.write(json.dumps(answer).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            lib.aul_fault_leave()
            os._exit(code)
    os.close(there)
    said = b""
    deadline = time.monotonic() + request["seconds"]
    hung = False
    with os.fdopen(here, "rb", buffering=0) as pipe:
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                hung = True
                os.kill(child, signal.SIGKILL)
                break
            block = pipe.read(1 << 20)
            if not block:
                break
            said += block
    _, status = os.waitpid(child, 0)
    if not request["prepare"]:
        shutil.rmtree(directory, ignore_errors=True)
    if hung:
        return {"problems": [f"hung for {request['seconds']} s"]}
    if status:
        return {"problems": [f"the process died, wait status {status:#x}"]}
    done: dict[str, Any] = json.loads(said)
    return done


def serve(base: Path) -> None:
    """Requests, one a line, until there are no more."""
    known: set[int] = set()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("fault") is None:
            known = set()  # all counts are asked for
        answer = in_a_child(request, base, known)
        known |= {row[0] for row in answer.get("stacks", ())}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def count_calls(base: Path) -> None:
    """An ordinary program with all that a volume's life has in it; prints the calls it made."""
    run = Run(base, True, None, "count")
    for part in (closed, commits, awaited, bulk_first, reader_beside, clean):
        part(run)
    run.leaks()
    assert run.problems == [], run.problems
    counts = count()
    told = {
        "volume": str(run.path),
        "calls": {kind: counts.calls[n] for n, kind in enumerate(kinds())},
        "bytes": {kind: counts.bytes[n] for n, kind in enumerate(kinds()) if counts.bytes[n]},
    }
    sys.stdout.write(json.dumps(told) + "\n")


def kinds() -> Iterator[str]:
    """The names of the table's entries."""
    for kind in range(lib.AUL_FAULT_KINDS):
        yield bytes(ffi.string(lib.aul_fault_kind(kind))).decode()


def main() -> None:
    """The command."""
    if sys.argv[3:] == ["count"]:
        count_calls(Path(sys.argv[2]))
        return
    sys.stdout.write(json.dumps({"kinds": list(kinds()), "programs": list(PROGRAMS)}) + "\n")
    sys.stdout.flush()
    serve(Path(sys.argv[2]))


if __name__ == "__main__":
    main()
