"""What must never be in a log is not, however it gets there."""

import json
import subprocess
import sys
from typing import Any

import pytest

from shared.logs import _scrubbed, scrub

NUMBERS = ["+14155550123", "+1 (415) 555-0123", "415-555-0123", "0049 30 1234567", "14155550123"]
SECRETS = [
    "8ms_live_abcDEF123",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "sk_live_51H8nLkJ2eZvKYlo2C",
    "rk_test_51H8nLkJ2eZvKYlo2C",
    "cred_0123456789abcdefghijklmnop",
    "Bearer eyJhbGciOiJIUzI1NiJ9.e30.abc",
    "nats://api:hunter2@127.0.0.1:4222",
    "eightms://pair?e=https&t=0123456789abcdef&l=x",
    "https://api.example.com/auth/v1/verify?token=8ms_link_0123456789abcdef&type=email",
    "https://app.example.com/?code=8ms_code_0123456789abcdef",
    "eyJhbGciOiJFUzI1NiJ9.e30_0123456789abcdef.0123456789abcdef",
    "8ms_refresh_0123456789abcdef",
    "re_0123456789abcdef",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_phone_number_is_blotted_out(number: str) -> None:
    for text in (number, f"to {number}.", f"({number})", f'{{"to": "{number}"}}'):
        assert "555" not in scrub(text)
        assert "1234567" not in scrub(text)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_blotted_out(secret: str) -> None:
    cleaned = scrub(f"failed with {secret} today")
    for part in ("abcDEF123", "MfKQ9", "51H8n", "0123456789abcdef", "eyJh", "hunter2"):
        assert part not in cleaned
    assert cleaned.startswith("failed with ")


@pytest.mark.parametrize(
    "text",
    [
        "msg_01M84KWEEHWZ1A8XXJDESW8HWJ",
        "scheduler is at 4711 of the log created 2026-11-23 17:35:26.429923+00:00",
        "2026-11-23T17:35:26Z",
        "127.0.0.1:54321",
        "position=1234567",
        "events 12–40",
    ],
)
def test_what_people_look_for_in_a_log_stays(text: str) -> None:
    assert scrub(text) == text


def test_private_fields_are_never_written_whatever_they_hold() -> None:
    event: dict[str, Any] = {
        "event": "sent",
        "body": "Hello",
        "to": 14155550123,
        "detail": {"token": "x", "deep": ["+14155550123", {"email": "a@b.c"}]},
        "count": 3,
        "timestamp": "2026-11-23T17:35:26Z",
    }
    assert _scrubbed(None, "info", event) == {
        "event": "sent",
        "body": "[private]",
        "to": "[private]",
        "detail": {"token": "[private]", "deep": ["[number]", {"email": "[private]"}]},
        "count": 3,
        "timestamp": "2026-11-23T17:35:26Z",
    }


PROGRAM = """
import logging, structlog
from shared import logs
logs.configure("api", "info")
log = structlog.get_logger()
log.debug("not shown")
log.info("sent", to="+14155550123", position=7)
try:
    raise ValueError("cannot send to +14155550123")
except ValueError:
    log.exception("failed")
logging.getLogger("library").warning("peer +14155550123 gone")
logging.getLogger("library").info("not shown either")
"""


def test_lines_are_json_with_service_level_and_time_and_nothing_private() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert "4155550123" not in done.stderr
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["sent", "failed", "peer [number] gone"]
    assert {line["service"] for line in lines} == {"api"}
    assert [line["level"] for line in lines] == ["info", "error", "warning"]
    assert lines[0]["position"] == 7
    assert "ValueError: cannot send to [number]" in lines[1]["exception"]
    assert lines[2]["library"] == "library"
    assert all("timestamp" in line for line in lines)
