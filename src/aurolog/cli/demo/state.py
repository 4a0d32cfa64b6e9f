"""What is known while the demonstration runs, and who is told."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from aurolog.cli.demo.proofs import Proof
from aurolog.cli.demo.sources import Sources


class Teller(Protocol):
    """Is told what happens."""

    def step(self, text: str) -> None:
        """Something begins."""

    def fact(self, text: str) -> None:
        """Something happened."""

    def proof(self, proof: Proof) -> None:
        """Something was proved, or was not."""


@dataclass
class Run:
    """One run of the demonstration: the volume at `path`, and what is known about it so far.

    `expected` is what the store must hold: the digest of each file by its name. `returned` is when
    a commit had returned, by its LSN, on the clock that the machine's processes share.
    """

    path: Path
    sources: Sources
    threads: int
    tell: Teller
    expected: dict[str, bytes] = field(default_factory=dict)
    proofs: list[Proof] = field(default_factory=list)
    returned: dict[int, int] = field(default_factory=dict)

    def acknowledge(self, lsn: int) -> None:
        """A commit has returned just now."""
        self.returned[lsn] = time.monotonic_ns()

    def prove(self, proof: Proof) -> None:
        """Keep a proof and tell it."""
        self.proofs.append(proof)
        self.tell.proof(proof)
