"""How often may be called: buckets that fill all the time, and what is said of them."""

from datetime import UTC, datetime

import pytest

from services.api.access import AccessLog, network
from services.api.callers import Caller
from services.api.limits import BURST_S, ENTRIES_MAX, Buckets, RateLimits
from shared.events import Actor
from shared.problems import Problem
from shared.telemetry import Metrics

NOW_S = 1000.0


def caller(key: str = "key_1", workspace: str = "ws_1") -> Caller:
    return Caller(workspace, Actor("api_key", key), "live", frozenset(), datetime.now(UTC))


def test_a_bucket_gives_two_seconds_at_once_and_then_as_many_as_fill_it() -> None:
    limits = RateLimits(10, 0)
    for left in range(19, -1, -1):
        said = limits.take(caller(), NOW_S)
        assert said.startswith(f'"key";r={left};')
    with pytest.raises(Problem) as refused:
        limits.take(caller(), NOW_S)
    assert refused.value.status == 429
    assert refused.value.code == "rate_limited"
    assert refused.value.headers == {"Retry-After": "1", "RateLimit": '"key";r=0;t=1'}
    limits.take(caller("key_2"), NOW_S)
    limits.take(caller(), NOW_S + 0.101)
    with pytest.raises(Problem):
        limits.take(caller(), NOW_S + 0.15)
    assert limits.take(caller(), NOW_S + 60).startswith('"key";r=19;t=1')


def test_keys_of_a_workspace_share_its_bucket() -> None:
    limits = RateLimits(10, 10)
    for n in range(20):
        limits.take(caller(f"key_{n % 2}"), NOW_S)
    with pytest.raises(Problem) as refused:
        limits.take(caller("key_0"), NOW_S)
    assert refused.value.extra == {"violated_policies": ["workspace"]}
    limits.take(caller("key_0", "ws_2"), NOW_S)


def test_no_limit_is_never_reached() -> None:
    limits = RateLimits(0, 0)
    for _ in range(10_000):
        limits.take(caller(), NOW_S)
    assert not limits.look(caller(), NOW_S)


def test_guessing_is_slow_and_only_for_the_one_who_guesses() -> None:
    limits = RateLimits(10, 10)
    with pytest.raises(Problem):
        for _ in range(100_000):
            limits.take_stranger("192.0.2.7", NOW_S)
    limits.take_stranger("192.0.2.8", NOW_S)
    assert limits.stranger("192.0.2.7", NOW_S).startswith('"address";r=0;')


def test_what_is_remembered_is_bounded_and_full_buckets_go_first() -> None:
    buckets = Buckets("key", 1)
    for n in range(ENTRIES_MAX):
        buckets.take(f"old_{n}", NOW_S)
    later_s = NOW_S + BURST_S + 1
    for _ in range(2):
        buckets.take("new", later_s)
    assert buckets.look("new", later_s).left == 0
    assert len(buckets._full_at_s) == 1


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"),
        ("::ffff:203.0.113.77", "203.0.113.0/24"),
        ("", ""),
        ("unix", ""),
    ],
)
def test_of_an_address_only_the_network_is_kept(address: str, kept: str) -> None:
    assert network(address) == kept


def test_a_busy_workspace_is_sampled_and_hides_neither_errors_nor_others() -> None:
    from datetime import timedelta

    log = AccessLog(None, None, Metrics("test"), timedelta(days=1))  # type: ignore[arg-type]
    wanted = [log.wants("ws_1", 200, NOW_S) for _ in range(100)]
    assert sum(wanted) == 20
    assert log.wants("ws_1", 422, NOW_S)
    assert log.wants("ws_2", 200, NOW_S)
    assert log.wants("ws_1", 200, NOW_S + 1)
    off = AccessLog(None, None, Metrics("test"), timedelta())  # type: ignore[arg-type]
    assert not off.wants("ws_1", 500, NOW_S)
