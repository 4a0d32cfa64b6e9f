"""What the demonstration proves. A proof that fails says what it found, and the others go on."""

import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aurolog
from aurolog.cli.demo import files
from aurolog.cli.demo.files import Entry, Source
from aurolog.cli.demo.follower import Seen
from aurolog.cli.demo.loader import Loaded

PAGES_AT_ONCE = 1024

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


def differing_pages(left: Source, right: Source, end: int) -> Iterator[int]:
    """The pages below `end` whose bytes differ, found by reading them all."""
    for first in range(0, end, PAGES_AT_ONCE):
        pages = range(first, min(first + PAGES_AT_ONCE, end))
        one, other = left.read_many(pages), right.read_many(pages)
        if files.digest_of(one) == files.digest_of(other):
            continue
        for index, page in enumerate(pages):
            place = slice(index * files.PAGE_BYTES, (index + 1) * files.PAGE_BYTES)
            if one[place] != other[place]:
                yield page


def reads_the_same(
    claim: str, source: aurolog.Volume | aurolog.View, then: aurolog.View, *others: Proof
) -> Proof:
    """Every page is what it was then, and whatever else the claim rests on holds too."""
    with proof(claim) as result:
        for other in others:
            result.checked += other.checked
            for fault in other.told:
                result.fail(fault)
        end = max(len(source), len(then))
        result.check(len(source) == len(then), f"{len(source)} pages, and then {len(then)}")
        result.checked += end
        for page in differing_pages(source, then, end):
            result.fail(f"page {page} is another one")
    return result


def diff_is_exact(
    named: Sequence[int], before: aurolog.View, after: aurolog.View, written: Container[int]
) -> Proof:
    """Every page whose bytes differ is named, and no page that nobody wrote to."""
    with proof("the pages that diff names are those that changed, and no others") as result:
        differing = set(differing_pages(before, after, max(len(before), len(after))))
        for page in differing.difference(named):
            result.check(False, f"page {page} differs and is not named")
        for page in named:
            result.check(page in written, f"page {page} is named, and nobody wrote to it")
        ascending = all(a < b for a, b in itertools.pairwise(named))
        result.check(ascending, "pages are named out of order, or twice")
    return result


def every_commit_was_seen(seen: Sequence[Seen], lsns: Sequence[int]) -> Proof:
    """A follower in another process saw what the log has, each commit once, in order."""
    with proof("another process saw every commit once, in order, rewinds too") as result:
        found = [one.lsn for one in seen]
        for lsn in sorted(set(lsns) - set(found)):
            result.check(False, f"LSN {lsn} was not seen")
        for lsn in sorted(set(found) - set(lsns)):
            result.check(False, f"LSN {lsn} was seen and is no commit")
        result.checked += len(found)
        if result.faults == 0 and found != list(lsns):
            result.fail("commits were seen out of order, or twice")
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
