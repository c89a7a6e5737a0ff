"""What a measure hands back: readings with their targets, and the arithmetic on samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Reading:
    """One number with what it was to be. `reached` None: there is no target, it is for reading."""

    what: str
    value: str
    target: str = ""
    reached: bool | None = None


@dataclass(slots=True)
class Finding:
    """All readings of one measure, in the order to be shown, and remarks on how they came about."""

    measure: str
    readings: list[Reading] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, what: str, value: str, target: str = "", reached: bool | None = None) -> None:
        """Append a reading."""
        self.readings.append(Reading(what, value, target, reached))


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile; ValueError without samples."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def ms(seconds: float) -> str:
    """Seconds as milliseconds, for reading."""
    return f"{seconds * 1000:.1f} ms"


def spread(samples: Sequence[float]) -> str:
    """p50, p95, p99 and the largest of `samples` in seconds."""
    p50, p95, p99 = (percentile(samples, p) for p in (50, 95, 99))
    return f"p50 {ms(p50)} · p95 {ms(p95)} · p99 {ms(p99)} · max {ms(max(samples))}"


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least-squares growth per second of (time in seconds, value) points."""
    if len(points) < 2:
        return 0.0
    n = len(points)
    mean_t = sum(t for t, _ in points) / n
    mean_v = sum(v for _, v in points) / n
    spread_t = sum((t - mean_t) ** 2 for t, _ in points)
    return sum((t - mean_t) * (v - mean_v) for t, v in points) / spread_t if spread_t else 0.0
