"""A run's result: as JSON, and as tables for a terminal.

The JSON holds every figure of every round, so that everything else (tables, picture, document)
can be made from it again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from bench.compare.catalogue import WORKLOADS
from bench.compare.engines import FLOOR, adapter
from bench.compare.figures import TARGETS, Samples, Spread, Target, ratios, spread
from bench.compare.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

FORMAT = 1
COLUMNS: Mapping[str, tuple[str, str]] = {
    "p50_us": ("p50 µs", "{:,.0f}"),
    "p99_us": ("p99 µs", "{:,.0f}"),
    "stall_p99_us": ("stall p99 µs", "{:,.0f}"),
    "changes_per_s_with_preparing": ("with preparing", "{:,.0f}"),
    "syncs_per_commit": ("syncs/commit", "{:.4f}"),
    "disk_write_bytes_per_commit": ("bytes written/commit", "{:,.0f}"),
    "log_bytes_per_commit": ("log bytes/commit", "{:,.0f}"),
    "log_bytes_per_byte": ("log bytes/byte", "{:.4f}"),
    "device_write_bytes_per_commit": ("device bytes/commit", "{:,.0f}"),
    "device_write_bytes_per_byte": ("device bytes/byte", "{:.2f}"),
    "device_flushes_per_commit": ("device flushes/commit", "{:.2f}"),
    "stored_mb": ("files, MB", "{:,.0f}"),
    "scanned_mb": ("scanned, MB", "{:,.1f}"),
}
"""Figures beside the main one, in the order of their columns: heading and form."""


@dataclass(frozen=True, slots=True)
class Result:
    """A run, or as much of it as is done."""

    date: str
    """To the minute, UTC."""
    command: str
    smoke: bool
    size: float
    seed: int
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    samples: Mapping[str, Samples]
    """By workload."""
    failures: Sequence[str] = ()

    def save(self, path: Path) -> None:
        """Write as JSON."""
        fields: dict[str, Any] = {
            "format": FORMAT,
            **{name: getattr(self, name) for name in self.__slots__ if name != "samples"},
            "workloads": {name: _plain(samples) for name, samples in self.samples.items()},
        }
        path.write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Result:
        """What `save` wrote."""
        fields = json.loads(path.read_text("utf-8"))
        if fields.pop("format") != FORMAT:
            raise ValueError(f"{path}: not a result of this program's format {FORMAT}")
        found = fields.pop("workloads")
        return cls(samples={name: _samples(rows) for name, rows in found.items()}, **fields)


def _plain(samples: Samples) -> list[dict[str, Any]]:
    return [
        {"engine": engine, "way": way, "rounds": list(rounds)}
        for (engine, way), rounds in samples.items()
    ]


def _samples(rows: Sequence[Mapping[str, Any]]) -> Samples:
    return {(row["engine"], row["way"]): row["rounds"] for row in rows}


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant of one workload, as a table shows it."""

    engine: str
    way: str
    value: str
    ratio: str
    others: tuple[str, ...]


def rows(workload: Workload, samples: Samples) -> tuple[tuple[str, ...], list[Row]]:
    """The headings of the further columns, and a row per contestant."""
    present = {figure for rounds in samples.values() for sample in rounds for figure in sample}
    columns = [(figure, *COLUMNS[figure]) for figure in COLUMNS if figure in present]
    against = reference(workload, samples)
    table = []
    for contestant, rounds in samples.items():
        theirs = samples[against] if against else ()
        others = tuple(shown(spread(rounds, figure), form) for figure, _, form in columns)
        table.append(
            Row(
                *contestant,
                value=shown(spread(rounds, workload.figure), number_form(workload)),
                ratio=ranged(ratios(rounds, theirs, workload.figure), "{:.2f}"),
                others=others,
            )
        )
    return tuple(heading for _, heading, _ in columns), table


def reference(workload: Workload, samples: Samples) -> tuple[str, str] | None:
    """The contestant that ratios are made to."""
    return next((who for who in samples if who[0] == workload.reference), None)


def number_form(workload: Workload) -> str:
    """How this workload's main figure is written."""
    return "{:,.1f}" if workload.unit == "ms" else "{:,.0f}"


def shown(value: Spread | None, form: str) -> str:
    """The median alone."""
    return form.format(value.median) if value else "–"


def ranged(value: Spread | None, form: str) -> str:
    """The median and, in brackets, the quartiles."""
    if value is None:
        return "–"
    return f"{form} ({form}–{form})".format(value.median, value.lower, value.upper)


def extent(value: Spread, form: str) -> str:
    """Least, quartiles and greatest."""
    return " – ".join(
        form.format(v) for v in (value.least, value.lower, value.upper, value.greatest)
    )


def verdicts(result: Result) -> list[tuple[Target, Spread]]:
    """The targets that the run says something about."""
    found = []
    for target in TARGETS:
        measured = target.measured(result.samples.get(target.workload, {}))
        if measured:
            found.append((target, measured))
    return found


def durability(engine: str) -> str:
    """What a durable commit is to this contestant."""
    if engine == FLOOR:
        return "fdatasync, in C, no engine"
    return adapter(engine).durability


def print_workload(console: Console, name: str, samples: Samples) -> None:
    """One workload's table."""
    workload = WORKLOADS[name]
    against = reference(workload, samples)
    headings, body = rows(workload, samples)
    table = Table(title=workload.title, title_justify="left", title_style="bold")
    table.add_column("engine")
    table.add_column("way")
    table.add_column(workload.unit, justify="right")
    table.add_column(f"× {against[0]}" if against else "ratio", justify="right")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in body:
        style = "bold" if row.engine == "aurolog" else None
        table.add_row(row.engine, escape(row.way), row.value, row.ratio, *row.others, style=style)
    console.print(table)


def print_verdicts(console: Console, result: Result) -> None:
    """The targets' table."""
    found = verdicts(result)
    if not found:
        return
    table = Table(title="Targets", title_justify="left", title_style="bold")
    for heading in ("work", "must reach", "median", "least – quartiles – greatest", "reached"):
        table.add_column(heading)
    for target, measured in found:
        table.add_row(
            WORKLOADS[target.workload].title,
            escape(target.must),
            shown(measured, target.form),
            extent(measured, target.form),
            "[green]yes" if target.reached(measured) else "[red]no",
        )
    console.print(table)
