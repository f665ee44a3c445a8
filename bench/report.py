"""What the benchmarks share: metrics with goals, spreads, the machine, the report's sections."""

from __future__ import annotations

import os
import platform
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

__all__ = [
    "MIB",
    "REPORT",
    "ROOT",
    "Metric",
    "Results",
    "in_turns",
    "machine",
    "spread",
    "write_section",
]

ROOT: Final = Path(__file__).resolve().parent.parent
REPORT: Final = ROOT / "docs" / "benchmarks.md"
MIB: Final = 1 << 20
_Peer = TypeVar("_Peer")


@dataclass(frozen=True, slots=True)
class Metric:
    """What is measured, in which unit, and the goal."""

    title: str
    unit: str
    goal: float
    at_least: bool
    absolute: bool = False
    """The goal is for our figure itself, not for the ratio."""

    def goal_text(self) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.goal:g}{' ' + self.unit if self.absolute else '×'}"


@dataclass(slots=True)
class Results:
    """Figures by metric and server, one for each round; `ours` is compared with `theirs`."""

    metrics: Mapping[str, Metric]
    theirs: str
    ours: str = "sampan"
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, metric: str, peer: str, figure: float) -> None:
        """Keep one round's figure and print it."""
        self.figures.setdefault(metric, {}).setdefault(peer, []).append(figure)
        print(f"  {metric:18} {peer:8} {figure:12,.2f} {self.metrics[metric].unit}", flush=True)

    def rows(self) -> list[list[str]]:
        """One row a metric: theirs, ours, the ratio within a round, the goal, the verdict."""
        rows = []
        for name, metric in self.metrics.items():
            figures = self.figures.get(name)
            if figures:
                theirs, ours = figures.get(self.theirs), figures[self.ours]
                ratios = [o / t for o, t in zip(ours, theirs, strict=True)] if theirs else []
                judged = statistics.median(ours if metric.absolute else ratios)
                met = judged >= metric.goal if metric.at_least else judged <= metric.goal
                rows.append(
                    [
                        f"{metric.title} ({metric.unit})",
                        spread(theirs) if theirs else "",
                        spread(ours),
                        spread(ratios) + " ×" if ratios else "",
                        metric.goal_text(),
                        "met" if met else "**missed**",
                    ]
                )
        return rows

    def table(self) -> str:
        """The rows as a Markdown table."""
        ratio = f"ratio {self.ours} / {self.theirs}"
        head = ["what", self.theirs, self.ours, ratio, "goal", ""]
        rows = [head, ["---"] * len(head), *self.rows()]
        return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def in_turns(round_: int, peers: Sequence[_Peer]) -> Sequence[_Peer]:
    """Who goes first changes with every round."""
    return peers if round_ % 2 == 0 else peers[::-1]


def spread(figures: Sequence[float]) -> str:
    """Median, and least to greatest."""

    def short(figure: float) -> str:
        return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"

    least, most = short(min(figures)), short(max(figures))
    return f"{short(statistics.median(figures))} ({least} to {most})"


def machine() -> str:
    """The machine in one line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} × {model}, {pages / (1 << 30):.0f} GiB, Linux {platform.release()}, "
        f"Python {platform.python_version()}; load average at the end {load:.1f}"
    )


def write_section(title: str, text: str) -> None:
    """Replace the report's section of that title, or add it at the end."""
    section = f"## {title}\n\n{text.strip()}\n"
    page = REPORT.read_text() if REPORT.exists() else "# Benchmarks\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.M | re.S)
    if pattern.search(page):
        page = pattern.sub(lambda _: section + "\n", page)
    else:
        page = page.rstrip() + "\n\n" + section
    REPORT.write_text(page.rstrip() + "\n")
    print(f"\nwritten to {REPORT.relative_to(ROOT)}")
