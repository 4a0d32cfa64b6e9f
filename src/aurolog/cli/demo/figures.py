"""What the demonstration measures and hands out; all of it is measured in the run itself."""

from dataclasses import asdict, dataclass
from typing import Any

from aurolog.cli.demo.proofs import Proof


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """Loading, each file in a durable transaction; `commits_per_sync` shows the group commit."""

    files: int
    bytes: int
    seconds: float
    commits_per_second: float
    commits_per_sync: float | None


@dataclass(frozen=True, slots=True)
class KillFigures:
    """What the killed process had been given and had acknowledged; of the rest, what is there."""

    handed_out: int
    acknowledged: int
    unacknowledged_whole: int
    unacknowledged_absent: int


@dataclass(frozen=True, slots=True)
class RecoveryFigures:
    """Opening after the kill; `open_seconds` is what the caller waits, `seconds` the library's."""

    open_seconds: float
    seconds: float
    scanned_bytes: int
    resecured_records: int
    last_lsn: int
    cut_lsn: int | None
    cut_bytes: int


@dataclass(frozen=True, slots=True)
class ChangeFigures:
    """Edits and deletions, each in a durable transaction of its own from one thread.

    `bytes_changed` counts the bytes that differ before and after the edits, in files and directory;
    `log_bytes` is how much log the edits took; `page_bytes` is what the pages they touched hold.
    """

    before_lsn: int
    edited: int
    deleted: int
    edits_per_second: float
    bytes_changed: int
    log_bytes: int
    page_bytes: int
    log_bytes_per_byte_changed: float


@dataclass(frozen=True, slots=True)
class RewindFigures:
    """Back to before the changes and forth again; seconds include the first read of a changed page.

    `pages` differ between the two, which it took `diff_seconds` to find out; `commits` were left
    behind by the rewind.
    """

    from_lsn: int
    to_lsn: int
    commits: int
    pages: int
    diff_seconds: float
    back_seconds: float
    forth_seconds: float


@dataclass(frozen=True, slots=True)
class FollowFigures:
    """What another process saw of all this; how long after a commit had returned to the writer it
    saw it (below zero: before)."""

    commits: int
    rewinds: int
    lag_seconds_median: float
    lag_seconds_p99: float


@dataclass(frozen=True, slots=True)
class VerifyFigures:
    """`Volume.verify` over the whole volume."""

    bytes: int
    records: int
    seconds: float
    bytes_per_second: float


@dataclass(frozen=True, slots=True)
class Example:
    """One edited file to look at: page and offset of the edit, the LSNs of both versions."""

    name: str
    page: int
    offset: int
    before_lsn: int
    edit_lsn: int


@dataclass(frozen=True, slots=True)
class Result:
    """Everything that was measured and proved."""

    python: str
    root: str
    files: int
    bytes: int
    threads: int
    volume: str
    filesystem: str | None
    killed_load: LoadFigures
    kill: KillFigures
    recovery: RecoveryFigures
    load: LoadFigures
    change: ChangeFigures
    rewind: RewindFigures
    follow: FollowFigures
    verify: VerifyFigures
    seconds: float
    example: Example
    proofs: list[Proof]

    @property
    def ok(self) -> bool:
        """Whether every proof held."""
        return all(proof.ok for proof in self.proofs)

    def value(self) -> dict[str, Any]:
        """For JSON."""
        plain = asdict(self)
        for value, proof in zip(plain["proofs"], self.proofs, strict=True):
            value["ok"] = proof.ok
        return {"ok": self.ok, **plain}
