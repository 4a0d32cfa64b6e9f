"""The steps in which the volume goes back to before the changes, and forth again."""

import time

import aurolog
from aurolog.cli.demo import files, proofs
from aurolog.cli.demo.figures import Example, RewindFigures
from aurolog.cli.demo.state import Run
from aurolog.cli.terminal import plural

NAME = "before the edits"

WRITTEN_BETWEEN = "written between back and forth.txt"


def go_back_and_forth(
    this: Run,
    volume: aurolog.Volume,
    before: dict[str, bytes],
    before_lsn: int,
    example: Example,
) -> RewindFigures:
    """Find what changed, go back, write something there, and go forth again."""
    with volume.at(before_lsn) as then, volume.at(volume.visible_lsn) as now:
        pages, diff_seconds = _diff(this, volume, then, now)
        volume.restore_point(NAME, at=before_lsn)
        this.tell.step(f"rewound to the restore point '{NAME}', in place")
        plan = volume.backtrack(NAME, dry_run=True)
        this.tell.fact(
            f"a dry run says: {plural(plan.commits, 'commit')} would be left behind, "
            f"{plural(plan.pages or 0, 'page')} would change"
        )
        back, back_seconds = _backtrack(this, volume, NAME, example)
        claim = f"everything reads as before the edits: {plural(len(before), 'file')}, every page"
        this.prove(proofs.reads_the_same(claim, volume, then, proofs.files_are("", volume, before)))
        between = dict(before)
        with volume.transaction(note="between back and forth") as tx:
            added = files.add(tx, WRITTEN_BETWEEN, b"A rewind begins a run of its own.\n")
        between[added.name] = added.digest
        left = volume.visible_lsn
        this.acknowledge(left)

        this.tell.step(f"and forth again, to LSN {back.from_lsn:,}")
        _, forth_seconds = _backtrack(this, volume, back.from_lsn, example)
        claim = f"the edits are back: {plural(len(this.expected), 'file')}, every page"
        there = proofs.files_are("", volume, this.expected)
        this.prove(proofs.reads_the_same(claim, volume, now, there))
        claim = f"what was written between is still readable, as of LSN {left:,}"
        with volume.at(left) as view:
            this.prove(proofs.files_are(claim, view, between))
    return RewindFigures(
        from_lsn=back.from_lsn,
        to_lsn=back.to_lsn,
        commits=back.commits,
        pages=len(pages),
        diff_seconds=diff_seconds,
        back_seconds=back_seconds,
        forth_seconds=forth_seconds,
    )


def _diff(
    this: Run, volume: aurolog.Volume, then: aurolog.View, now: aurolog.View
) -> tuple[list[int], float]:
    this.tell.step("what changed since before the edits?")
    began = time.perf_counter()
    pages = list(volume.diff(then.lsn, now.lsn))
    seconds = time.perf_counter() - began
    this.tell.fact(
        f"{plural(len(pages), 'page')} of {len(now):,} differ between LSN {then.lsn:,} and LSN "
        f"{now.lsn:,}, found in {seconds * 1000:.1f} ms"
    )
    written = {
        record.page for batch in volume.log(then.lsn + 1, now.lsn) for record in batch.records
    }
    this.prove(proofs.diff_is_exact(pages, then, now, written))
    return pages, seconds


def _backtrack(
    this: Run, volume: aurolog.Volume, when: aurolog.When, example: Example
) -> tuple[aurolog.Rewind, float]:
    began = time.perf_counter()
    done = volume.backtrack(when)
    assert done.lsn is not None, "there are edits between"
    this.acknowledge(done.lsn)
    volume[example.page]
    seconds = time.perf_counter() - began
    this.tell.fact(
        f"from LSN {done.from_lsn:,} to LSN {done.to_lsn:,}: {seconds * 1000:.1f} ms with the "
        f"first read of a changed page; {plural(done.commits, 'commit')} left behind"
    )
    return done, seconds
