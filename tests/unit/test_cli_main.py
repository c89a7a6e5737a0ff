"""The command line itself: what `--help` tells, what a mistake costs."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.__main__ import COMMANDS, main, make_parser
from cli.errors import CommandError, UsageError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "NATS_URL", "EIGHTMS_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_help_names_every_command_with_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    out = " ".join(capsys.readouterr().out.split())
    for name, (_, sentence) in COMMANDS.items():
        assert name in out
        assert sentence in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: eightms {command}" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["fly"], ["up", "--wings"], ["workspace"], ["trace"]])
def test_what_is_not_understood_is_2(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2


def test_nothing_said_is_help_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().out


def test_without_an_8ms_the_next_step_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lag", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "There is no 8ms here" in said
    assert "eightms up" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["workspace", "create", "--email", "nobody"], "e-mail"),
        (["workspace", "create", "--email", "a@b.co", "--timezone", "Mars/Base"], "time zone"),
        (["workspace", "create", "--email", "a@b.co", "--region", "Mars"], "country code"),
        (["trace", "phn_1"], "message"),
        (["events", "tail", "--subject", "sms.flown"], "There is no"),
        (["events", "import", "/nowhere/at/all"], "cannot be read"),
        (["replay"], "Name a service"),
        (["up", "--port-base", "70000"], "--port-base"),
        (["up", "--only", "cook"], "Services:"),
        (["up", "--simulated-phones", "-1"], "--simulated-phones"),
        (["phone", "simulate", "--count", "0"], "--count"),
        (["phone", "simulate", "eightms://pair?e=http://g&t=x", "--count", "2"], "works once"),
    ],
)
def test_a_wrong_argument_is_2_and_named(
    argv: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*argv, "--data", str(tmp_path)]) == 2
    assert word in capsys.readouterr().err


def test_an_unreachable_database_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:hush@127.0.0.1:1/x")
    monkeypatch.setenv("NATS_URL", "nats://ops:hush@127.0.0.1:1")
    monkeypatch.setattr("cli.stack.CONNECT_TIMEOUT_S", 0.3)
    assert main(["lag", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "127.0.0.1:1 does not answer" in said
    assert "hush" not in said


def test_an_unexpected_failure_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cli.events.run_tail", broken)
    with pytest.raises(ZeroDivisionError):
        main(["events", "tail"])


def test_only_the_wanted_command_is_imported() -> None:
    code = "import sys; sys.argv = ['eightms', '--help']; import runpy\n"
    code += "try: runpy.run_module('cli', run_name='__main__')\n"
    code += "except SystemExit: print('asyncpg' in sys.modules, 'nats' in sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert out.splitlines()[-1] == "False False"


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    piped = subprocess.run(
        f"{sys.executable} -m cli events tail --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "Traceback" not in piped.stderr


def test_errors_carry_their_exit_codes() -> None:
    assert (CommandError("x").exit_code, UsageError("x").exit_code) == (1, 2)
    assert make_parser().prog == "eightms"
