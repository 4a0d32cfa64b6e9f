"""One picture of a run: a panel per workload, a bar per contestant, quartiles as whiskers."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bench.compare.catalogue import WORKLOADS
from bench.compare.figures import Samples, spread
from bench.compare.report import Result, number_form
from bench.compare.workloads import Workload

if TYPE_CHECKING:
    from pathlib import Path

COLORS = {"aurolog": "#1f6f8b", "floor": "#b8b8b8"}
PEER_COLOR = "#dba858"
PANEL_INCHES = (7.2, 0.9, 0.27)
"""Width of a panel, its height without bars, height of a bar."""


def draw(result: Result, path: Path) -> None:
    """Write the picture as PNG."""
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    panels = [(WORKLOADS[name], samples) for name, samples in result.samples.items() if samples]
    if not panels:
        return
    width, base, bar = PANEL_INCHES
    heights = [base + bar * len(samples) for _, samples in panels]
    figure, axes = pyplot.subplots(
        len(panels),
        1,
        figsize=(width, sum(heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axis, (workload, samples) in zip(axes[:, 0], panels, strict=True):
        _panel(axis, workload, samples)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _panel(axis: Any, workload: Workload, samples: Samples) -> None:
    found = [(who, spread(rounds, workload.figure)) for who, rounds in samples.items()]
    bars = [(engine, way, value) for (engine, way), value in found if value]
    labels = [f"{engine}: {way}" for engine, way, _ in bars]
    medians = [value.median for _, _, value in bars]
    whiskers = (
        [value.median - value.lower for _, _, value in bars],
        [value.upper - value.median for _, _, value in bars],
    )
    colors = [COLORS.get(engine, PEER_COLOR) for engine, _, _ in bars]
    drawn = axis.barh(
        labels, medians, xerr=whiskers, color=colors, height=0.72, ecolor="#444", capsize=2
    )
    form = number_form(workload)
    axis.bar_label(drawn, [" " + form.format(value) for value in medians], fontsize=7, padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.16)
    axis.set_xlim(left=0)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    if not workload.more_is_better:
        axis.set_xscale("log")
        axis.set_xlim(left=min(medians) / 2, right=max(medians) * 4)
        axis.xaxis.set_major_formatter("{x:g}")
    better = "more" if workload.more_is_better else "less"
    axis.set_title(workload.title, fontsize=9, loc="left", fontweight="bold")
    axis.set_xlabel(f"{workload.unit} ({better} is better)", fontsize=7)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
