"""`eightms events`: the log watched, taken out, put in again."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from cli.verify import verify
from services.scheduler.project import PROJECTION
from shared.log import Log
from tests.conftest import new_nats
from tests.integration import ops_story as story


@pytest_asyncio.fixture
async def log(nats_url: str) -> AsyncIterator[Log]:
    log = await Log.connect(nats_url, "test")
    await log.ensure_stream()
    yield log
    await log.close()


@pytest_asyncio.fixture
async def other(tmp_path: Path) -> AsyncIterator[str]:
    """Another NATS, empty: its URL as ops."""
    server = new_nats(tmp_path / "other")
    await server.start()
    yield server.url()
    await server.stop()


@pytest.fixture
def command(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> story.Command:
    return story.Command(database_url, monkeypatch, capfdbinary)


async def test_an_export_imported_into_an_empty_log_is_the_same_export(
    log: Log, nats_url: str, other: str, command: story.Command, tmp_path: Path
) -> None:
    await story.append(log, list(story.beginning()))
    await story.tell(log, 0, 500)
    _, exported, _ = await command(nats_url, "events", "export")
    file = tmp_path / "log.ndjson"
    file.write_text(exported)

    code, _, said = await command(other, "events", "import", str(file))
    assert (code, "3,006 events imported." in said) == (0, True)

    _, again, _ = await command(other, "events", "export")
    first, second = (
        [json.loads(line) | {"stored_at": ""} for line in text.splitlines()]
        for text in (exported, again)
    )
    assert first == second
    assert len(first) == 3006
    assert set(first[0]) == {"seq", "stored_at", "subject", "id", "data"}


async def test_an_imported_log_gives_the_same_state(
    log: Log, nats_url: str, other: str, command: story.Command, tmp_path: Path, database_url: str
) -> None:
    await story.append(log, list(story.beginning()))
    await story.tell(log, 0, 300)
    assert (await command(nats_url, "replay", "scheduler"))[0] == 0
    (tmp_path / "log.ndjson").write_text((await command(nats_url, "events", "export"))[1])

    code, _, said = await command(other, "events", "import", str(tmp_path / "log.ndjson"))

    assert code == 0
    assert "eightms replay --all" in said  # the tables are of the first log
    copy = await Log.connect(other, "test")
    assert (await verify(database_url, copy, PROJECTION)).found == []
    await copy.close()


async def test_an_import_that_was_cut_short_goes_on(
    log: Log, nats_url: str, other: str, command: story.Command, tmp_path: Path
) -> None:
    await story.append(log, list(story.beginning()))
    await story.tell(log, 0, 50)
    exported = (await command(nats_url, "events", "export"))[1]
    whole, half = tmp_path / "whole", tmp_path / "half"
    whole.write_text(exported)
    half.write_text("".join(exported.splitlines(keepends=True)[:100]))
    assert (await command(other, "events", "import", str(half)))[0] == 0

    code, _, said = await command(other, "events", "import", str(whole))
    assert (code, "206 events imported" in said, "100 events were there" in said) == (0, True, True)
    code, _, said = await command(other, "events", "import", str(whole))
    assert (code, "0 events imported" in said) == (0, True)
    _, again, _ = await command(other, "events", "export")
    assert len(again.splitlines()) == 306


async def test_a_log_with_other_events_is_left_alone_without_force(
    log: Log, nats_url: str, other: str, command: story.Command, tmp_path: Path
) -> None:
    await story.append(log, list(story.beginning()))
    exported = (await command(nats_url, "events", "export"))[1]
    (tmp_path / "all").write_text(exported)
    (tmp_path / "rest").write_text("".join(exported.splitlines(keepends=True)[3:]))
    assert (await command(other, "events", "import", str(tmp_path / "rest")))[0] == 0

    code, _, said = await command(other, "events", "import", str(tmp_path / "all"))
    assert (code, "not empty" in said) == (1, True)

    code, _, said = await command(other, "events", "import", "--force", str(tmp_path / "all"))
    assert (code, "3 events imported" in said, "3 events had an id" in said) == (0, True, True)


async def test_nothing_is_imported_under_running_services(
    log: Log, nats_url: str, nats_urls: dict[str, str], command: story.Command, database_url: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    await story.append(log, list(story.beginning()))
    (tmp_path / "all").write_text((await command(nats_url, "events", "export"))[1])
    async with story.service("scheduler", database_url, nats_urls["scheduler"]):
        code, _, said = await command(nats_url, "events", "import", str(tmp_path / "all"))
    assert (code, "services run: scheduler" in said) == (1, True)


@pytest.mark.parametrize(
    ("break_line", "word"),
    [
        (lambda line: line[:-10], "Line 2 is not an exported event"),
        (lambda line: line.replace('"type":"phone.paired"', '"type":"phone.eaten"'), "Event 2"),
        (lambda line: line.replace('"id":"evt_', '"id":"evt_X', 1), "Event 2 of the file was"),
    ],
)
async def test_a_damaged_file_changes_nothing(
    log: Log, nats_url: str, other: str, command: story.Command, tmp_path: Path,
    break_line: Callable[[str], str], word: str,
) -> None:  # fmt: skip
    await story.append(log, list(story.beginning()))
    lines = (await command(nats_url, "events", "export"))[1].splitlines()
    lines[1] = break_line(lines[1])
    (tmp_path / "bad").write_text("\n".join(lines))

    code, _, said = await command(other, "events", "import", str(tmp_path / "bad"))

    assert code in (1, 2)
    assert word in said
    copy = await Log.connect(other, "test")
    await copy.ensure_stream()
    assert (await copy.state()).messages == 0
    await copy.close()


async def test_the_tail_is_the_end_of_what_was_asked_for(
    log: Log, nats_url: str, command: story.Command
) -> None:
    await story.append(log, list(story.beginning()))
    await story.tell(log, 0, 400)
    _, out, _ = await command(nats_url, "events", "tail", "--no-follow", "--subject", "sms.sent")
    lines = out.splitlines()
    assert len(lines) == 10
    assert all(" sms.sent " in line for line in lines)
    assert story.message_id(399) in lines[-1]

    _, out, _ = await command(
        nats_url, "events", "tail", "--no-follow", "--since", "1", "--subject", "workspace"
    )
    assert len(out.splitlines()) == 1


async def test_the_tail_shows_no_text_and_no_number_unless_asked(
    log: Log, nats_url: str, command: story.Command
) -> None:
    await story.tell(log, 0, 3)
    tail = ("events", "tail", "--no-follow", "--subject", "send.requested")
    _, masked, _ = await command(nats_url, *tail)
    assert "bread" not in masked
    assert story.number(1) not in masked
    _, shown, _ = await command(nats_url, *tail, "--private")
    assert "bread" in shown
    assert story.number(1) in shown


async def test_the_tail_of_one_workspace_holds_no_other(
    log: Log, nats_url: str, command: story.Command
) -> None:
    await story.tell(log, 0, 3)
    none = "ws_" + "0" * 26
    _, out, _ = await command(nats_url, "events", "tail", "--no-follow", "--workspace", none)
    assert out == ""
    _, out, _ = await command(
        nats_url, "events", "tail", "--no-follow", "--workspace", story.WORKSPACE, "--json"
    )
    assert len(out.splitlines()) == 10
    assert {json.loads(line)["data"]["workspace_id"] for line in out.splitlines()} == {
        story.WORKSPACE
    }


async def test_a_following_tail_shows_what_comes(
    log: Log, nats_url: str, database_url: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *story.eightms("events", "tail", "--subject", "send.requested", "--json"),
        env=story.environment(database_url, nats_url),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(story.PATIENCE_S):
        seen: list[str] = []
        n = 0
        while not seen:
            await story.tell(log, n, n + 1)
            n += 1
            try:
                line = await asyncio.wait_for(process.stdout.readline(), 0.3)
            except TimeoutError:
                continue
            seen.append(json.loads(line)["data"]["type"])
    process.terminate()
    await process.wait()
    assert seen == ["send.requested"]
