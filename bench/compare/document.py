"""`python -m bench.compare.document RESULT PAGE`: a run's JSON as a page of the documentation.

The page is made from figures alone: nothing in it is written by hand, so nothing in it can be
kinder than the run was. The picture goes beside it, under the same name.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bench.compare import plot
from bench.compare.catalogue import WORKLOADS
from bench.compare.report import (
    Result,
    durability,
    extent,
    reference,
    rows,
    shown,
    verdicts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.compare.figures import Samples

INTRODUCTION = """\
Made by `python -m bench.compare` (`make bench`), not by hand; what each piece of work is and how to
run it is in [bench/README.md](../bench/README.md).

**Read this first.** A disk's speed drifts, and a shared machine's more: the same write may cost
twice as much a minute later. All engines take turns in every round, and only ratios of figures of
the same round count. What is shown is the median of these ratios with their spread; the absolute
figures are only there to give the size of things. Whether the device keeps what it calls synced
cannot be seen from a program."""

SMOKE = """\
**This page is of a smoke run: sizes are tiny and the figures mean nothing.**"""


def write(result: Result, page: Path) -> None:
    """Write the page, and the picture beside it."""
    picture = page.with_suffix(".png")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(_lines(result, picture.name)) + "\n", "utf-8")
    plot.draw(result, picture)


def _lines(result: Result, picture: str) -> Iterator[str]:
    yield from ("# Benchmarks", "", INTRODUCTION, "")
    if result.smoke:
        yield from (SMOKE, "")
    yield from ("## What had to be reached", "")
    yield from _targets(result)
    yield from ("", f"![Medians and quartiles of all contestants]({picture})", "")
    yield from ("## Where and how", "")
    yield from _circumstances(result)
    for name, samples in result.samples.items():
        yield ""
        yield from _workload(name, samples)


def _table(headings: Sequence[str], body: Sequence[Sequence[str]], texts: int) -> Iterator[str]:
    """A Markdown table, its first `texts` columns to the left and the others to the right."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{'|'.join([' --- '] * texts + [' ---: '] * (len(headings) - texts))}|"
    for cells in body:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _targets(result: Result) -> Iterator[str]:
    headings = ("work", "must reach", "reached", "median", "least – quartiles – greatest", "rounds")
    body = []
    for target, measured in verdicts(result):
        title = WORKLOADS[target.workload].title
        reached = "yes" if target.reached(measured) else "**no**"
        values = shown(measured, target.form), extent(measured, target.form), str(measured.count)
        body.append((title, target.must, reached, *values))
    yield from _table(headings, body, texts=3)


def _circumstances(result: Result) -> Iterator[str]:
    facts = [("date", result.date), ("command", f"`{result.command}`")]
    facts += list(result.machine.items())
    yield from _table(("", ""), facts, texts=2)
    yield ""
    engines = [(name, version, durability(name)) for name, version in result.versions.items()]
    yield from _table(("engine", "version", "a durable commit is"), engines, texts=3)
    for failure in result.failures:
        yield from ("", f"Failed: `{failure.splitlines()[0]}`")


def _workload(name: str, samples: Samples) -> Iterator[str]:
    workload = WORKLOADS[name]
    against = reference(workload, samples)
    headings, body = rows(workload, samples)
    yield from (f"## {workload.title}", "", workload.what, "")
    ratio = f"× {against[0]}" if against else "ratio"
    cells = []
    for row in body:
        engine = f"**{row.engine}**" if row.engine == "aurolog" else row.engine
        cells.append((engine, f"`{row.way}`", row.value, row.ratio, *row.others))
    yield from _table(("engine", "way", workload.unit, ratio, *headings), cells, texts=2)


def main() -> None:
    """From a result of any run to a page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("result", type=Path, help="compare.json of a run")
    parser.add_argument("page", type=Path, help="for example docs/benchmarks.md")
    options = parser.parse_args()
    write(Result.load(options.result), options.page)


if __name__ == "__main__":
    main()
