"""What the demonstration proves. A proof that fails says what it found, and the others go on."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aurolog
from aurolog.cli.demo import files
from aurolog.cli.demo.files import Entry, Source
from aurolog.cli.demo.loader import Loaded

FAULTS_KEPT = 5
"""How many faults of one proof are told in full; the others are counted."""


@dataclass
class Proof:
    """One claim, how many things it was checked on, and what spoke against it."""

    claim: str
    checked: int = 0
    faults: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing spoke against it. A proof that looked at nothing proves nothing."""
        return self.faults == 0 and self.checked > 0

    def check(self, holds: bool, fault: str) -> None:
        """Look at one thing more."""
        self.checked += 1
        if not holds:
            self.fail(fault)

    def fail(self, fault: str) -> None:
        """Something speaks against the claim."""
        self.faults += 1
        if len(self.told) < FAULTS_KEPT:
            self.told.append(fault)


@contextmanager
def proof(claim: str) -> Iterator[Proof]:
    """A proof; an error of the library while proving, such as damage found, is a fault of it."""
    result = Proof(claim)
    try:
        yield result
    except (aurolog.AurologError, ValueError) as error:
        result.fail(f"{type(error).__name__}: {error}")
    if result.checked == 0 and result.faults == 0:
        result.fail("nothing was there to be checked")


def check_file(result: Proof, source: Source, entry: Entry | None, name: str, want: bytes) -> None:
    """The file is in the directory under this digest, and its bytes have it."""
    if entry is None:
        result.check(False, f"{name}: not in the directory")
    elif entry.digest != want:
        result.check(False, f"{name}: the directory has digest {entry.digest.hex()}")
    else:
        found = files.digest_of(files.read_bytes(source, entry))
        result.check(found == want, f"{name}: its bytes have digest {found.hex()}")


def acknowledged_files_are_intact(
    source: Source, directory: Mapping[str, Entry], acknowledged: Iterable[Loaded]
) -> Proof:
    """Durability: what was acknowledged before the kill is there, byte for byte."""
    with proof("every acknowledged file is intact") as result:
        for loaded in acknowledged:
            entry = directory.get(loaded.name)
            check_file(result, source, entry, loaded.name, loaded.digest)
    return result


def nothing_is_there_in_part(
    source: Source, directory: Mapping[str, Entry], handed_out: Iterable[str], root: Path
) -> Proof:
    """Atomicity: each file is whole or absent, and the allocation pointers fit what is there."""
    with proof("no transaction is there in part") as result:
        expected = set(handed_out)
        pages = 0
        for name, entry in directory.items():
            pages += entry.pages
            if name in expected:
                original = files.digest_of((root / name).read_bytes())
                check_file(result, source, entry, name, original)
            else:
                result.check(False, f"{name}: is there, but nobody loaded it")
        next_page, next_number = files.read_header(source)
        result.check(
            next_number == len(directory),
            f"the header counts {next_number} entries, the directory holds {len(directory)}",
        )
        result.check(
            next_page == files.EXTENTS_PAGE + pages,
            f"the header has page {next_page} free next, the entries say "
            f"{files.EXTENTS_PAGE + pages}",
        )
    return result


def commits_are_points_in_time(
    volume: aurolog.Volume, directory: Mapping[str, Entry], sample: Iterable[Loaded]
) -> Proof:
    """Time travel: a file is there as of its commit LSN, and absent as of the LSN before."""
    with proof("each file appears exactly at its commit LSN") as result:
        for loaded in sample:
            entry = directory.get(loaded.name)
            if entry is None:
                result.check(False, f"{loaded.name}: not in the directory")
                continue
            with volume.at(loaded.lsn) as view:
                entry_then = files.read_entry(view, entry.number)
                check_file(result, view, entry_then, loaded.name, loaded.digest)
            with volume.at(loaded.lsn - 1) as view:
                entry_then = files.read_entry(view, entry.number)
                result.check(
                    entry_then is None, f"{loaded.name}: there before LSN {loaded.lsn} already"
                )
    return result


def files_are(claim: str, source: Source, expected: Mapping[str, bytes]) -> Proof:
    """The source holds exactly these files: by name, the digest of each."""
    with proof(claim) as result:
        directory = files.read_directory(source)
        for name, digest in expected.items():
            check_file(result, source, directory.get(name), name, digest)
        for name in directory.keys() - expected.keys():
            result.check(False, f"{name}: is there, and should not be")
    return result


def volume_is_undamaged(report: aurolog.VerifyReport) -> Proof:
    """What `Volume.verify` reports."""
    with proof("every byte of the log passes its checks") as result:
        result.checked = report.bytes
        for problem in report.problems:
            result.fail(f"{problem.file} at {problem.offset}, LSN {problem.lsn}: {problem.what}")
        if not report.ok and not report.problems:
            result.fail("verify reports damage, and no problem")
    return result
