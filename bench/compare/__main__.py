"""`python -m bench.compare`: run the comparison, write JSON, tables and a picture."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from bench.compare import document, machine, plot, report
from bench.compare.catalogue import WORKLOADS
from bench.compare.engines import ADAPTERS, FLOOR
from bench.compare.run import Settings, known_engines, run_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.status import Status

ENGINES = (FLOOR, *ADAPTERS)
SMOKE_SIZE, SMOKE_ROUNDS = 0.002, 2
TABLE_WIDTH = 180


def names(known: Sequence[str]) -> str:
    """For help texts."""
    return ",".join(known)


def some_of(known: Sequence[str]) -> type:
    """An argument type: a comma-separated choice, kept in the known order."""

    def parse(text: str) -> tuple[str, ...]:
        wanted = [name.strip() for name in text.split(",") if name.strip()]
        for name in wanted:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {names(known)}")
        return tuple(name for name in known if name in wanted)

    return parse  # type: ignore[return-value]


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare",
        description="aurolog beside other engines, on the same work, interleaved in one run.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for option, known in (("--workloads", tuple(WORKLOADS)), ("--engines", ENGINES)):
        parser.add_argument(
            option, type=some_of(known), default=names(known), help="comma-separated"
        )
    parser.add_argument("--rounds", type=int, default=15, help="each runs every engine once")
    parser.add_argument("--size", type=float, default=1.0, help="times the full amount of work")
    parser.add_argument("--seed", type=int, default=1, help="round n uses seed + n")
    parser.add_argument(
        "--directory", type=Path, default=Path("/var/tmp"), help="on the disk to measure"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/bench"), help="gets compare.json, .txt, .png"
    )
    parser.add_argument("--document", type=Path, help="also write this page of documentation")
    parser.add_argument(
        "--smoke", action="store_true", help="seconds: tiny sizes, whose figures mean nothing"
    )
    return parser


def command(options: argparse.Namespace) -> str:
    """The command line that repeats this run; where it ran and wrote is nobody's business."""
    parser, words = arguments(), ["python", "-m", "bench.compare"]
    for name in ("workloads", "engines", "rounds", "size", "seed"):
        value = getattr(options, name)
        if value != getattr(parser.parse_args([]), name):
            words += [f"--{name}", names(value) if isinstance(value, tuple) else str(value)]
    return shlex.join([*words, *(["--smoke"] if options.smoke else [])])


def main() -> int:
    """Run; the exit status is 1 when a contestant failed."""
    options = arguments().parse_args()
    console = Console()
    if not console.is_terminal:
        console = Console(width=TABLE_WIDTH)
    options.directory.mkdir(parents=True, exist_ok=True)
    if machine.file_system(options.directory) in machine.MEMORY_FILE_SYSTEMS:
        console.print(f"{options.directory} is memory, not a disk: say --directory", style="red")
        return 2
    versions, missing = known_engines(options.engines)
    for name, why in missing.items():
        message = f"without {name}: {why} (pip install 'aurolog[bench]')"
        console.print(message, style="yellow", markup=False)
    settings = Settings(
        engines=tuple(versions),
        rounds=SMOKE_ROUNDS if options.smoke else options.rounds,
        size=SMOKE_SIZE if options.smoke else options.size,
        seed=options.seed,
        directory=options.directory,
    )
    result = report.Result(
        date=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        command=command(options),
        smoke=options.smoke,
        size=settings.size,
        seed=settings.seed,
        machine=machine.describe(options.directory),
        versions=versions,
        samples={},
    )
    result = run_all(options.workloads, settings, result, options.output, console)
    if options.document:
        document.write(result, options.document)
    for failure in result.failures:
        console.print(failure, style="red", markup=False)
    return 1 if result.failures else 0


def run_all(
    wanted: Sequence[str],
    settings: Settings,
    result: report.Result,
    output: Path,
    console: Console,
) -> report.Result:
    """Run the workloads one by one; what is done is on the disk after each."""
    output.mkdir(parents=True, exist_ok=True)
    with (output / "compare.txt").open("w", encoding="utf-8") as text:
        plain = Console(file=text, width=TABLE_WIDTH)
        for name in wanted:
            failures = list(result.failures)
            with console.status(name) as status:
                samples = run_workload(
                    WORKLOADS[name],
                    settings,
                    partial(_tell, status, name),
                    failures.append,
                )
            if not samples:
                continue
            result = replace(result, samples={**result.samples, name: samples}, failures=failures)
            result.save(output / "compare.json")
            for place in (console, plain):
                report.print_workload(place, name, samples)
        for place in (console, plain):
            report.print_verdicts(place, result)
    plot.draw(result, output / "compare.png")
    return result


def _tell(status: Status, workload: str, step: str) -> None:
    status.update(f"{workload}, {step}")


if __name__ == "__main__":
    sys.exit(main())
