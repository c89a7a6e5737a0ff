"""What the simulated phones keep: group commit, acknowledgement, numbering."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from clients.simphone import StorageFailed, storage
from clients.simphone.journal import Journal
from clients.simphone.protocol import Paired, PairingLink, Sim

LINK = PairingLink("https://a.example", "token", "Front desk")
SIMS = [Sim(0, 1, "Test")]


class Notebook:
    """An owner of entries that remembers what it was told."""

    def __init__(self, phone_id: str) -> None:
        self.phone_id, self.next_seq, self.acked_seq = phone_id, 1, 0
        self.durable: list[tuple[int, bytes | None, str | None]] = []

    def row(self) -> Sequence[Any]:
        return (self.phone_id, self.next_seq, self.acked_seq, "7", True, 50, False, "{}", "cred")

    def journaled(self, seq: int, entry: bytes | None, command_id: str | None) -> None:
        self.durable.append((seq, entry, command_id))

    def write(self, journal: Journal, command_id: str | None = None) -> None:
        seq, self.next_seq = self.next_seq, self.next_seq + 1
        entry = None if command_id is None else json.dumps({"seq": seq}).encode()
        journal.entry(self, seq, entry, command_id)


async def paired(journal: Journal, phone_id: str = "phn_1") -> Notebook:
    answer = Paired(phone_id, "cred")
    save = partial(
        storage.save_pairing, device_id=f"dev_{phone_id}", link=LINK, paired=answer, sims=SIMS
    )
    await journal.run(save)
    return Notebook(phone_id)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = Journal(tmp_path / "phones.db", fsync=True)
    journal.open()
    yield journal
    await journal.close()


def read(tmp_path: Path, query: str) -> list[Any]:
    db = sqlite3.connect(tmp_path / "phones.db")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


async def test_an_effect_comes_after_its_row(journal: Journal, tmp_path: Path):
    notebook = await paired(journal)
    rows: list[Any] = []
    notebook.write(journal, "cmd_1")
    journal.after(lambda: rows.extend(read(tmp_path, "SELECT seq, command_id FROM journal")))
    assert rows == []
    await journal.settle()
    assert rows == [(1, "cmd_1")]
    assert notebook.durable == [(1, b'{"seq": 1}', "cmd_1")]


async def test_writes_of_many_phones_share_a_transaction(journal: Journal, tmp_path: Path):
    notebooks = [await paired(journal, f"phn_{n}") for n in range(50)]
    before = journal.commits
    for notebook in notebooks:
        for n in range(4):
            notebook.write(journal, f"cmd_{n}")
    await journal.settle()
    assert journal.commits == before + 1
    assert read(tmp_path, "SELECT count(*), count(DISTINCT phone_id) FROM journal") == [(200, 50)]


async def test_what_waits_for_a_commit_may_write_again(journal: Journal):
    notebook = await paired(journal)
    seen: list[int] = []

    def again(n: int) -> None:
        seen.append(n)
        if n < 3:
            notebook.write(journal, f"cmd_{n}")
            journal.after(again, n + 1)

    journal.after(again, 0)
    await journal.settle()
    assert seen == [0, 1, 2, 3]
    assert [seq for seq, _, _ in notebook.durable] == [1, 2, 3]


async def test_only_what_is_acknowledged_is_deleted(journal: Journal, tmp_path: Path):
    one, other = await paired(journal, "phn_1"), await paired(journal, "phn_2")
    for n in range(5):
        one.write(journal, f"cmd_{n}")
        other.write(journal, f"cmd_{n}")
    await journal.settle()
    one.acked_seq = 3
    journal.acked(one, 3)
    await journal.settle()
    left = read(tmp_path, "SELECT phone_id, group_concat(seq) FROM journal GROUP BY 1 ORDER BY 1")
    assert left == [("phn_1", "4,5"), ("phn_2", "1,2,3,4,5")]


async def test_a_heartbeat_keeps_its_number_without_a_row(journal: Journal, tmp_path: Path):
    notebook = await paired(journal)
    notebook.write(journal, "cmd_1")
    notebook.write(journal)
    notebook.write(journal, "cmd_2")
    await journal.settle()
    assert read(tmp_path, "SELECT seq FROM journal") == [(1,), (3,)]
    (phone,) = storage.load(journal.reader)
    assert phone.next_seq == 4
    assert [(seq, entry is None) for seq, entry, _ in phone.pending] == [
        (1, False),
        (2, True),
        (3, False),
    ]


async def test_the_last_state_of_a_batch_counts(journal: Journal, tmp_path: Path):
    journal.put("command", ("phn_1", "cmd_1", "m", "+1", "b", 1, None, storage.ACCEPTED, "now"))
    journal.state("phn_1", "cmd_1", storage.SUBMITTED)
    journal.state("phn_1", "cmd_1", storage.DELIVERED)
    await journal.settle()
    assert read(tmp_path, "SELECT state FROM command") == [("delivered",)]
    assert journal.seen("phn_1", "cmd_1")
    assert not journal.seen("phn_2", "cmd_1")


async def test_a_new_pairing_numbers_untold_facts_from_one(journal: Journal):
    notebook = await paired(journal)
    for n in range(5):
        notebook.write(journal, f"cmd_{n}")
    notebook.acked_seq = 2
    journal.acked(notebook, 2)
    await journal.settle()
    await paired(journal)
    (phone,) = storage.load(journal.reader)
    assert (phone.next_seq, phone.acked_seq) == (4, 0)
    assert [(seq, command_id) for seq, _, command_id in phone.pending] == [
        (1, "cmd_2"),
        (2, "cmd_3"),
        (3, "cmd_4"),
    ]
    assert [json.loads(entry or b"")["seq"] for _, entry, _ in phone.pending] == [1, 2, 3]


async def test_an_interrupted_pairing_leaves_its_handset_to_the_next(journal: Journal):
    def reserve(fresh: str, taken: list[str]) -> asyncio.Future[str]:
        return journal.run(lambda db: storage.reserve_device(db, fresh, taken))

    assert await reserve("sim-a", []) == "sim-a"
    assert await reserve("sim-b", ["sim-a"]) == "sim-b"
    assert await reserve("sim-c", ["sim-b"]) == "sim-a"


async def test_texts_with_every_character_survive(journal: Journal):
    body = '“quotes” "plain" \\ 😀 \n\t \' ; --'
    journal.put("inbox", (1, "phn_1", "+1", body, 1, "2030-01-01T00:00:00.000Z"))
    await journal.settle()
    assert storage.texts(journal.reader, "phn_1", 5)[0]["body"] == body


async def test_a_disk_that_refuses_is_told_and_nothing_goes_on(journal: Journal):
    went_on: list[int] = []
    journal.put("journal", ("phn_1", -1, None, "{}"))  # breaks a CHECK, as a full disk would fail
    journal.after(lambda: went_on.append(1))
    waiting = journal.run(lambda _: None)
    for future in (journal.failed, waiting, journal.run(lambda _: None)):
        with pytest.raises(StorageFailed):
            await future
    assert went_on == []


async def test_a_newer_file_is_refused(tmp_path: Path):
    path = tmp_path / "phones.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(sqlite3.DatabaseError, match="schema 99"):
        storage.connect(path, fsync=True)
