"""The demonstration itself: what is done, measured and proved, in order.

Nothing here prints; a `Teller` is told what happens as it happens.
"""

import operator
import platform
import random
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aurolog
from aurolog.cli import terminal
from aurolog.cli.demo import files, loader, proofs, rewind
from aurolog.cli.demo.figures import (
    ChangeFigures,
    Example,
    FollowFigures,
    KillFigures,
    LoadFigures,
    RecoveryFigures,
    Result,
    VerifyFigures,
)
from aurolog.cli.demo.files import Entry
from aurolog.cli.demo.loader import Loaded
from aurolog.cli.demo.process import FollowingProcess, following_process, loading_process
from aurolog.cli.demo.sources import Sources, filesystem_of
from aurolog.cli.demo.state import Run, Teller
from aurolog.cli.terminal import bytes_text, plural

EDITED_MAX = 200
DELETED_MAX = 100

EDIT_BYTES = 100
"""What an edit replaces inside a file."""

AHEAD_PER_THREAD = 16
"""How many names the loading process may be ahead of its acknowledgements: there is always work
in flight when it is killed, and never so much that it could be done before."""

POINTS_IN_TIME = 64
"""How many commits are looked at one by one, as of their LSN and as of the one before."""


def run(path: Path, sources: Sources, threads: int, tell: Teller) -> Result:
    """Everything, in order. A proof that fails is in the result; what makes going on impossible
    raises."""
    began = time.perf_counter()
    this = Run(path, sources, threads, tell)
    killed_load, handed_out, acknowledged = _load_and_kill(this)
    recovery, volume = _reopen(this)
    with volume:
        kill = _prove_after_kill(this, volume, handed_out, acknowledged)
        load = _load_the_rest(this, volume)
        since = volume.durable_lsn
        with following_process(path, since) as follower:
            change, example, before = _change(this, volume)
            _prove_the_past(this, volume, before, change.before_lsn)
            rewound = rewind.go_back_and_forth(this, volume, before, change.before_lsn, example)
            follow = _prove_what_was_followed(this, volume, follower, since)
        verify = _verify(this, volume)
    _prove_after_close(this)
    return Result(
        python=platform.python_version(),
        root=str(sources.root),
        files=len(sources.names),
        bytes=sources.bytes,
        threads=threads,
        volume=str(path.absolute()),
        filesystem=filesystem_of(path),
        killed_load=killed_load,
        kill=kill,
        recovery=recovery,
        load=load,
        change=change,
        rewind=rewound,
        follow=follow,
        verify=verify,
        seconds=time.perf_counter() - began,
        example=example,
        proofs=this.proofs,
    )


def _rate(count: float, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


# ---- load, kill, reopen ----


def _load_and_kill(this: Run) -> tuple[LoadFigures, list[str], list[Loaded]]:
    names = this.sources.names
    ahead = max(min(AHEAD_PER_THREAD * this.threads, len(names) // 4), 1)
    this.tell.step(
        f"a child process loads them, one durable transaction each, {this.threads} at a time"
    )
    with (
        loading_process(this.path, this.sources.root, this.threads) as child,
        terminal.progress("Loading", unit="files") as progress,
    ):
        child.load(names, len(names) // 2, ahead, progress)
        child.kill()
    acknowledged = child.acknowledged
    seconds = child.ended - child.began
    # The first acknowledgement starts the clock, so its commit is not among those counted.
    figures = LoadFigures(
        files=len(acknowledged),
        bytes=sum(loaded.length for loaded in acknowledged),
        seconds=seconds,
        commits_per_second=_rate(len(acknowledged) - 1, seconds),
        commits_per_sync=None,
    )
    this.tell.fact(
        f"killed with SIGKILL, {len(acknowledged):,} of {len(names):,} files acknowledged: "
        f"{bytes_text(figures.bytes)}, {figures.commits_per_second:,.0f} commits/s"
    )
    return figures, child.handed_out, acknowledged


def _reopen(this: Run) -> tuple[RecoveryFigures, aurolog.Volume]:
    this.tell.step("opened again")
    began = time.perf_counter()
    volume = aurolog.open(this.path, create=False)
    seconds = time.perf_counter() - began
    found = volume.recovery
    cut = "no torn tail"
    if found.cut_lsn is not None:
        cut = f"cut {bytes_text(found.cut_bytes)} of torn tail from LSN {found.cut_lsn:,} on"
    this.tell.fact(
        f"ready after {seconds * 1000:.1f} ms: read {bytes_text(found.scanned_bytes)} of log, "
        f"re-secured {plural(found.resecured_records, 'record')}, {cut}"
    )
    figures = RecoveryFigures(
        open_seconds=seconds,
        seconds=found.seconds,
        scanned_bytes=found.scanned_bytes,
        resecured_records=found.resecured_records,
        last_lsn=found.last_lsn,
        cut_lsn=found.cut_lsn,
        cut_bytes=found.cut_bytes,
    )
    return figures, volume


def _prove_after_kill(
    this: Run, volume: aurolog.Volume, handed_out: Sequence[str], acknowledged: Sequence[Loaded]
) -> KillFigures:
    directory = files.read_directory(volume)
    this.expected = {name: entry.digest for name, entry in directory.items()}
    this.prove(proofs.acknowledged_files_are_intact(volume, directory, acknowledged))
    this.prove(proofs.nothing_is_there_in_part(volume, directory, handed_out, this.sources.root))
    sample = acknowledged[:: max(len(acknowledged) // POINTS_IN_TIME, 1)]
    this.prove(proofs.commits_are_points_in_time(volume, directory, sample))
    unacknowledged = set(handed_out) - {loaded.name for loaded in acknowledged}
    whole = len(unacknowledged & directory.keys())
    figures = KillFigures(
        handed_out=len(handed_out),
        acknowledged=len(acknowledged),
        unacknowledged_whole=whole,
        unacknowledged_absent=len(unacknowledged) - whole,
    )
    this.tell.fact(
        f"of {plural(len(unacknowledged), 'file')} in the child's hands and not acknowledged, "
        f"{figures.unacknowledged_whole} are there and whole, "
        f"{figures.unacknowledged_absent} are absent"
    )
    return figures


# ---- go on ----


def _load_the_rest(this: Run, volume: aurolog.Volume) -> LoadFigures:
    present = files.read_directory(volume).keys()
    names = [name for name in this.sources.names if name not in present]
    this.tell.step("loading goes on")
    counting = threading.Lock()
    loaded_files: list[Loaded] = []
    stats = volume.stats()
    began = time.perf_counter()
    with terminal.progress("Loading", unit="files") as progress:

        def loaded(one: Loaded) -> None:
            with counting:
                loaded_files.append(one)
                progress(len(loaded_files), len(names))

        loader.load(volume, this.sources.root, iter(names), this.threads, loaded)
    seconds = time.perf_counter() - began
    syncs = volume.stats().disk_syncs - stats.disk_syncs
    this.expected |= {one.name: one.digest for one in loaded_files}
    figures = LoadFigures(
        files=len(loaded_files),
        bytes=sum(one.length for one in loaded_files),
        seconds=seconds,
        commits_per_second=_rate(len(loaded_files), seconds),
        commits_per_sync=len(loaded_files) / syncs if syncs else None,
    )
    shared = f", {figures.commits_per_sync:.1f} commits a sync" if figures.commits_per_sync else ""
    this.tell.fact(
        f"{plural(figures.files, 'file')} more: {bytes_text(figures.bytes)}, "
        f"{figures.commits_per_second:,.0f} commits/s{shared}"
    )
    return figures


@dataclass(frozen=True, slots=True)
class Edit:
    """A file's new bytes; `EDIT_BYTES` of them, from `offset` on, are other than before."""

    entry: Entry
    offset: int
    data: bytes
    bytes_changed: int

    @property
    def pages(self) -> range:
        """The pages of the file that change."""
        first = self.entry.first_page
        end = self.offset + EDIT_BYTES
        return range(first + self.offset // files.PAGE_BYTES, first + files.pages_of(end))


def _make_edit(volume: aurolog.Volume, entry: Entry, offset: int, text: str) -> Edit:
    old = bytes(files.read_bytes(volume, entry))
    line = f"# {text} ".encode()[: EDIT_BYTES - 1].ljust(EDIT_BYTES - 1, b"-") + b"\n"
    new = old[:offset] + line + old[offset + EDIT_BYTES :]
    differing = sum(map(operator.ne, old[offset : offset + EDIT_BYTES], line))
    differing += sum(map(operator.ne, entry.digest, files.digest_of(new)))
    return Edit(entry, offset, new, differing)


def _change(this: Run, volume: aurolog.Volume) -> tuple[ChangeFigures, Example, dict[str, bytes]]:
    """Edit and delete files; returns also what the store held before."""
    before = dict(this.expected)
    before_lsn = volume.visible_lsn
    directory = files.read_directory(volume)
    choose = random.Random(len(directory))  # noqa: S311 - which files does not matter, only that
    # the same run again takes the same ones
    editable = [entry for entry in directory.values() if entry.length >= EDIT_BYTES]
    chosen = choose.sample(editable, min(EDITED_MAX, -(-len(editable) // 2)))
    edits = []
    for i, entry in enumerate(chosen):
        offset = choose.randrange(entry.length - EDIT_BYTES + 1)
        edits.append(_make_edit(volume, entry, offset, f"edit {i}: {entry.name}"))
    others = [entry for name, entry in directory.items() if name not in {e.name for e in chosen}]
    deleted = choose.sample(others, min(DELETED_MAX, -(-len(others) // 2)))
    this.tell.step(
        f"{len(edits)} files are edited, {len(deleted)} deleted, one transaction each, and another "
        "process follows"
    )

    lsns: list[int] = []
    log_bytes = volume.stats().log_bytes
    began = time.perf_counter()
    for edit in edits:
        with volume.transaction(note=f"edit {edit.entry.name}") as tx:
            changed = files.overwrite(tx, edit.entry, edit.data)
        lsns.append(volume.visible_lsn if tx.lsn is None else tx.lsn)
        this.acknowledge(lsns[-1])
        this.expected[changed.name] = changed.digest
    seconds = time.perf_counter() - began
    log_bytes = volume.stats().log_bytes - log_bytes
    for entry in deleted:
        with volume.transaction(note=f"delete {entry.name}") as tx:
            files.remove(tx, entry)
        del this.expected[entry.name]

    bytes_changed = sum(edit.bytes_changed for edit in edits)
    pages = sum(len(edit.pages) + 1 for edit in edits)  # and the one of the directory
    figures = ChangeFigures(
        before_lsn=before_lsn,
        edited=len(edits),
        deleted=len(deleted),
        edits_per_second=_rate(len(edits), seconds),
        bytes_changed=bytes_changed,
        log_bytes=log_bytes,
        page_bytes=pages * files.PAGE_BYTES,
        log_bytes_per_byte_changed=_rate(log_bytes, bytes_changed),
    )
    this.tell.fact(
        f"the edits changed {bytes_text(bytes_changed)} on {pages:,} pages; "
        f"{bytes_text(log_bytes)} were logged: {figures.log_bytes_per_byte_changed:.2f} per byte "
        "changed"
    )
    first = edits[0]
    example = Example(
        first.entry.name, first.pages[0], first.offset % files.PAGE_BYTES, before_lsn, lsns[0]
    )
    return figures, example, before


def _prove_the_past(
    this: Run, volume: aurolog.Volume, before: dict[str, bytes], before_lsn: int
) -> None:
    claim = f"now, the edits and deletions are there: {len(this.expected):,} files"
    this.prove(proofs.files_are(claim, volume, this.expected))
    claim = f"as of LSN {before_lsn:,}, nothing is edited or deleted: {len(before):,} files"
    with volume.at(before_lsn) as view:
        this.prove(proofs.files_are(claim, view, before))


def _prove_what_was_followed(
    this: Run, volume: aurolog.Volume, follower: FollowingProcess, since: int
) -> FollowFigures:
    """What the other process saw from the first edit on."""
    this.tell.step("what the other process saw of all that")
    follower.wait_for(volume.durable_lsn)
    follower.kill()
    lsns = [batch.lsn for batch in volume.log(since + 1, volume.durable_lsn)]
    this.prove(proofs.every_commit_was_seen(follower.seen, lsns))
    lags = sorted(
        (seen.at_ns - this.returned[seen.lsn]) / 1e9
        for seen in follower.seen
        if seen.lsn in this.returned
    )
    figures = FollowFigures(
        commits=len(follower.seen),
        rewinds=sum(seen.kind == "rewind" for seen in follower.seen),
        lag_seconds_median=statistics.median(lags) if lags else 0.0,
        lag_seconds_p99=lags[len(lags) * 99 // 100] if lags else 0.0,
    )
    this.tell.fact(
        f"{plural(figures.commits, 'commit')}, {plural(figures.rewinds, 'rewind')} among them; "
        f"half of them seen within {figures.lag_seconds_median * 1000:.2f} ms of their return to "
        f"the writer, 99 in 100 within {figures.lag_seconds_p99 * 1000:.2f} ms"
    )
    return figures


def _verify(this: Run, volume: aurolog.Volume) -> VerifyFigures:
    this.tell.step("verified: every byte, every checksum, every index entry")
    with terminal.progress("Verifying") as progress:
        began = time.perf_counter()
        report = volume.verify(progress=progress)
        seconds = time.perf_counter() - began
    this.prove(proofs.volume_is_undamaged(report))
    figures = VerifyFigures(
        bytes=report.bytes,
        records=report.records,
        seconds=seconds,
        bytes_per_second=_rate(report.bytes, seconds),
    )
    this.tell.fact(
        f"{bytes_text(report.bytes)}, {plural(report.records, 'record')}: "
        f"{bytes_text(round(figures.bytes_per_second))}/s"
    )
    return figures


def _prove_after_close(this: Run) -> None:
    this.tell.step("closed, and opened once more")
    with aurolog.open(this.path, read_only=True) as volume:
        claim = f"closed cleanly, and all is there: {len(this.expected):,} files"
        proof = proofs.files_are(claim, volume, this.expected)
        proof.check(volume.recovery.clean, "the volume does not say that it was closed cleanly")
    this.prove(proof)
