"""Counters, gauges and histograms as Prometheus reads them."""

from shared.telemetry import LATENCY_BUCKETS_S, Metrics


def lines(metrics: Metrics) -> dict[str, str]:
    """Series → value."""
    text = metrics.render()
    assert text.endswith("\n")
    series = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(line.rsplit(" ", 1) for line in series)


def test_a_counter_counts_for_each_set_of_labels() -> None:
    metrics = Metrics("api")
    for _ in range(3):
        metrics.count("sent_total", "Texts sent", kind="api")
    metrics.count("sent_total", "Texts sent", by=2.5, kind="campaign")
    assert lines(metrics) == {
        'eightms_sent_total{service="api",kind="api"}': "3",
        'eightms_sent_total{service="api",kind="campaign"}': "2.5",
    }
    assert "# HELP eightms_sent_total Texts sent\n# TYPE eightms_sent_total counter" in (
        metrics.render()
    )


def test_a_gauge_is_read_when_somebody_looks() -> None:
    metrics, now = Metrics("api"), [1.0]
    metrics.gauge("position", "Where we are", lambda: now[0])
    assert lines(metrics) == {'eightms_position{service="api"}': "1"}
    now[0] = 7
    assert lines(metrics) == {'eightms_position{service="api"}': "7"}


def test_a_histogram_is_cumulative_and_ends_with_everything() -> None:
    metrics = Metrics("api")
    for seconds in (0.0005, 0.001, 0.004, 3.0, 99.0):
        metrics.observe("http_seconds", "Time to answer", seconds, route="/x")
    found = lines(metrics)

    def bucket(edge: str) -> str:
        return found[f'eightms_http_seconds_bucket{{service="api",route="/x",le="{edge}"}}']

    assert [bucket(e) for e in ("0.001", "0.0025", "0.005", "1.0", "5.0", "+Inf")] == list("223345")
    assert found['eightms_http_seconds_count{service="api",route="/x"}'] == "5"
    assert found['eightms_http_seconds_sum{service="api",route="/x"}'] == "102.005"
    counts = [int(bucket(str(edge))) for edge in LATENCY_BUCKETS_S]
    assert counts == sorted(counts)


def test_nothing_counted_is_nothing_told() -> None:
    assert Metrics("api").render() == "\n"
