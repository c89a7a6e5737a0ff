"""What `eightms up` decides and says, before and beside its processes."""

import json
import socket
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import greeting
from cli.children import notable
from cli.embedded import free_port
from cli.errors import CommandError, UsageError
from cli.plan import Plan, check_ports, simulator_environment
from services.scheduler import policy
from shared import numbers

DATA = Path("/data")


def test_ports_follow_each_other_from_the_base() -> None:
    plan = Plan.make(DATA, 9000, None, {})
    assert plan.ports["api"] == 9000
    assert plan.ports["gateway"] == 9001
    assert plan.ports["scheduler"] == 9002
    assert plan.ports["inbound"] == 9003
    assert plan.ports["webhooks"] == 9004
    assert plan.ports["simphone"] == 9006
    assert plan.public_url == "http://127.0.0.1:9000"
    assert plan.gateway_url == "http://127.0.0.1:9001"


def test_only_keeps_ports_as_they_are() -> None:
    plan = Plan.make(DATA, 9000, "scheduler, inbound", {})
    assert plan.ports == {"scheduler": 9002, "inbound": 9003}
    assert plan.simulator_url == ""


@pytest.mark.parametrize("only", ["", "cook", "api,cook"])
def test_only_takes_services_that_exist(only: str) -> None:
    with pytest.raises(UsageError, match="no service"):
        Plan.make(DATA, 9000, only, {})


def test_embedded_servers_are_for_development_and_others_for_production() -> None:
    assert Plan.make(DATA, 9000, None, {}).environment == "development"
    assert Plan.make(DATA, 9000, None, {"NATS_URL": "nats://x"}).environment == "production"
    assert Plan.make(DATA, 9000, None, {"EIGHTMS_ENV": "production"}).environment == "production"


def test_only_what_faces_outward_listens_outward() -> None:
    plan = Plan.make(DATA, 9000, None, {"EIGHTMS_HOST": "0.0.0.0"})
    hosts = {
        name: plan.environment_of(name, "d", "n", "k")["EIGHTMS_HOST"] for name in plan.services
    }
    assert hosts["api"] == hosts["gateway"] == "0.0.0.0"
    assert {hosts[name] for name in ("scheduler", "inbound", "webhooks")} == {"127.0.0.1"}


def test_each_service_is_itself_on_a_nats_of_ones_own() -> None:
    plan = Plan.make(DATA, 9000, None, {"NATS_GATEWAY_PASSWORD": "p@ss"})
    url = "nats://ops:secret@nats.example.com:4222"
    assert plan.nats_url_of("gateway", url) == "nats://gateway:p%40ss@nats.example.com:4222"
    assert plan.nats_url_of("api", url) == url


def test_simulated_phones_see_no_secret() -> None:
    seen = simulator_environment({"EIGHTMS_SECRET_KEY": "k", "DATABASE_URL": "d", "PATH": "/bin"})
    assert set(seen) == {"PATH", "PYTHONPATH"}


def test_a_taken_port_is_named_with_what_needs_it() -> None:
    base = free_port()
    with socket.create_server(("127.0.0.1", base + 2)):
        plan = Plan.make(DATA, base, "api,scheduler", {})
        with pytest.raises(CommandError, match=rf"Port {base + 2} .*scheduler.* is not free"):
            check_ports(plan)


@given(st.integers(0, 3 * 365 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes)))
def test_the_example_number_is_awake_at_any_hour_of_any_day(since_2025: timedelta) -> None:
    now = datetime(2025, 1, 1, tzinfo=UTC) + since_2025
    zones = numbers.timezones(greeting.daytime_number(now))
    for minutes in (0, 59):
        at = now + timedelta(minutes=minutes)
        assert policy.quiet_until(at, zones, time(21), time(8)) is None


def greet(**more: object) -> str:
    facts: dict[str, object] = {
        "public_url": "http://127.0.0.1:8080",
        "gateway_url": "http://127.0.0.1:8081",
        "environment": "development",
        "data": Path(".data"),
        "services": ["api", "gateway"],
        "api_key": "8ms_live_x",
        "sign_in_url": "http://127.0.0.1:8080/auth/v1/verify?token=x",
        "phones": ["phn_1"],
        "now": datetime(2026, 11, 23, 18, tzinfo=UTC),
    }
    return greeting.text(**(facts | more))  # type: ignore[arg-type]


def test_the_greeting_has_a_curl_a_key_and_the_reason_for_waiting() -> None:
    text = greet()
    assert "curl -s http://127.0.0.1:8080/v1/sms/send" in text
    assert "Bearer 8ms_live_x" in text
    assert "every 4 minutes" in text
    assert "eightms phone receive phn_1" in text
    body = text[text.index("-d '") + 4 : text.index("}'") + 1]
    assert set(json.loads(body)) == {"to", "body"}


def test_the_greeting_pretends_nothing() -> None:
    assert "simulated" not in greet(phones=[])
    assert "curl" not in greet(services=["scheduler"])
    assert "workspace create" in greet(api_key=None)
    assert "EIGHTMS_GATEWAY_URL" not in greet(gateway_url="https://g.example.com")


@pytest.mark.parametrize(
    ("line", "warnings", "told"),
    [
        ('{"level": "info", "event": "serving"}', True, None),
        ('{"level": "warning", "event": "waiting for NATS"}', False, None),
        ('{"level": "warning", "event": "waiting for NATS"}', True, "waiting for NATS"),
        (
            '{"level": "error", "event": "stopped", "reason": "x", "timestamp": "t"}',
            False,
            "stopped reason=x",
        ),
        ('{"level": "error", "event": "failed", "exception": "Traceback"}', True, "failed"),
        ("Traceback (most recent call last):", True, None),
        ("[1]", True, None),
        ("", True, None),
    ],
)
def test_the_terminal_gets_only_what_somebody_should_know(
    line: str, warnings: bool, told: str | None
) -> None:
    assert notable(line, warnings=warnings) == told
