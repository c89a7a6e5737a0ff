"""Counters, gauges and histograms of one process in Prometheus' text format.

A registry per process, passed where it is needed; nothing global.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.008, 0.015, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """What a process counts. Names are prefixed ``eightms_``."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._help: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[Labels, float]] = {}
        self._buckets: dict[str, dict[Labels, list[int]]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}

    def count(self, name: str, help_text: str, by: float = 1, **labels: str) -> None:
        """Add ``by`` to a counter."""
        self._help.setdefault(name, ("counter", help_text))
        series = self._values.setdefault(name, {})
        key = tuple(labels.items())
        series[key] = series.get(key, 0.0) + by

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Register a gauge that is read when somebody scrapes."""
        self._help[name] = ("gauge", help_text)
        self._gauges[name] = read

    def observe(self, name: str, help_text: str, seconds: float, **labels: str) -> None:
        """Put a duration into a histogram."""
        self._help.setdefault(name, ("histogram", help_text))
        key = tuple(labels.items())
        counts = self._buckets.setdefault(name, {}).setdefault(
            key, [0] * (len(LATENCY_BUCKETS_S) + 1)
        )
        counts[bisect.bisect_left(LATENCY_BUCKETS_S, seconds)] += 1
        sums = self._values.setdefault(name, {})
        sums[key] = sums.get(key, 0.0) + seconds

    def render(self) -> str:
        """Everything, in Prometheus' text format."""
        out: list[str] = []
        for name, (kind, help_text) in sorted(self._help.items()):
            full = f"eightms_{name}"
            out.append(f"# HELP {full} {help_text}\n# TYPE {full} {kind}")
            if kind == "gauge":
                out.append(f"{full}{self._labels(())} {self._gauges[name]():g}")
            elif kind == "counter":
                out += [f"{full}{self._labels(k)} {v:g}" for k, v in self._values[name].items()]
            else:
                out += self._histogram(name, full)
        return "\n".join(out) + "\n"

    def _histogram(self, name: str, full: str) -> list[str]:
        out: list[str] = []
        for key, counts in self._buckets[name].items():
            total = 0
            for edge, count in zip((*map(str, LATENCY_BUCKETS_S), "+Inf"), counts, strict=True):
                total += count
                out.append(f"{full}_bucket{self._labels((*key, ('le', edge)))} {total}")
            out.append(f"{full}_sum{self._labels(key)} {self._values[name][key]:g}")
            out.append(f"{full}_count{self._labels(key)} {total}")
        return out

    def _labels(self, labels: Labels) -> str:
        inner = ",".join(f'{k}="{v}"' for k, v in (("service", self._service), *labels))
        return "{" + inner + "}"
