"""Metrics in Prometheus' text format 0.0.4.

Source: prometheus.io/docs/instrumenting/exposition_formats, "Text-based format".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sampan.base.histogram import Histogram

__all__ = [
    "CONTENT_TYPE",
    "Family",
    "Labels",
    "Number",
    "counter",
    "gauge",
    "histogram",
    "histograms",
    "render",
]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Number = int | float | bool
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one metric; a sample is (suffix of the name, labels, value)."""

    name: str
    type: str
    help: str
    samples: tuple[tuple[str, Labels, Number], ...]


Value = Number | Iterable[tuple[Labels, Number]] | None
"""One value, the labels and value of each series, or None for what is not known."""


def counter(name: str, text: str, value: Value) -> Family:
    """Return a counter."""
    return _simple("counter", name, text, value)


def gauge(name: str, text: str, value: Value) -> Family:
    """Return a gauge."""
    return _simple("gauge", name, text, value)


def _simple(kind: str, name: str, text: str, value: Value) -> Family:
    if value is None:
        return Family(name, kind, text, ())
    pairs = [({}, value)] if isinstance(value, int | float) else value
    return Family(name, kind, text, tuple(("", labels, number) for labels, number in pairs))


def histogram(name: str, text: str, values: Histogram | None) -> Family:
    """Return a histogram with its buckets, sum and count."""
    return histograms(name, text, () if values is None else [({}, values)])


def histograms(name: str, text: str, series: Iterable[tuple[Labels, Histogram]]) -> Family:
    """Return a histogram of several series."""
    samples: list[tuple[str, Labels, Number]] = []
    for labels, values in series:
        samples += [
            ("_bucket", {**labels, "le": _number(bound)}, count)
            for bound, count in values.cumulative()
        ]
        samples += [
            ("_bucket", {**labels, "le": "+Inf"}, values.count),
            ("_sum", labels, values.total),
            ("_count", labels, values.count),
        ]
    return Family(name, "histogram", text, tuple(samples))


def render(families: Iterable[Family]) -> bytes:
    """Return the text of all families that have samples, in the order of their names."""
    lines: list[str] = []
    for family in sorted(families, key=lambda family: family.name):
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escape(family.help)}")
        lines.append(f"# TYPE {family.name} {family.type}")
        for suffix, labels, value in family.samples:
            lines.append(f"{family.name}{suffix}{_labels(labels)} {_number(value)}")
    return ("\n".join(lines) + "\n").encode()


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escape(value, quote=True)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quote else text


def _number(value: Number) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(int(value))
