"""`eightms deploy`: what operations run before the services, on a NATS of their own."""

from __future__ import annotations

from base64 import b64encode

import pytest

from cli.__main__ import main
from shared.log import Log

KEY, OTHER = (b64encode(byte * 32).decode() for byte in (b"k", b"x"))


@pytest.fixture
def deployed(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> pytest.CaptureFixture[str]:
    monkeypatch.setenv("NATS_URL", nats_url)
    monkeypatch.setenv("EIGHTMS_SECRET_KEY", KEY)
    assert main(["deploy"]) == 0
    return capsys


def test_deploying_again_does_no_harm(deployed: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy"]) == 0
    assert "are there" in deployed.readouterr().err


def test_another_key_is_refused(
    deployed: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EIGHTMS_SECRET_KEY", OTHER)
    assert main(["deploy"]) == 1
    assert "not the one this log began with" in deployed.readouterr().err


def test_without_a_server_named_it_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NATS_URL", raising=False)
    assert main(["deploy"]) == 1
    assert "NATS_URL and EIGHTMS_SECRET_KEY must be set" in capsys.readouterr().err


async def test_the_stream_is_there(deployed: pytest.CaptureFixture[str], nats_url: str) -> None:
    log = await Log.connect(nats_url, "test")
    assert (await log.state()).last_seq == 0
    await log.close()
