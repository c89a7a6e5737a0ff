"""What the handsets keep, in one SQLite file: schema, statements, loading. Blocking calls only.

Rows of a batch travel into SQLite as one JSON array per statement. One statement for many rows
means one release of the interpreter lock per statement instead of one per row: the writer thread
would otherwise wait for a busy event loop after every single row.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from clients.simphone.protocol import Paired, PairingLink, PhoneConfig, Sim

SCHEMA_VERSION = 1
CACHE_KIB = 16 * 1024  # enough to keep the open end of every table of ten thousand phones

# State of a command. The first three are open: a restart has something to do about them.
ACCEPTED, SUBMITTED, AWAITING = "accepted", "submitted", "awaiting_receipt"
SENT, DELIVERED, FAILED, CANCELLED, UNKNOWN = "sent", "delivered", "failed", "cancelled", "unknown"

SCHEMA = """
-- A handset exists before it is paired, so that a crash while pairing makes no second handset.
CREATE TABLE device (
    device_id TEXT PRIMARY KEY,
    phone_id  TEXT UNIQUE
) WITHOUT ROWID;

-- credential NULL: unpaired. next_seq is past every heartbeat, which has no journal row: a number
-- above acked_seq and below next_seq without a row is a heartbeat, made anew when sent. It may be
-- behind the newest journal row (see load).
CREATE TABLE phone (
    phone_id      TEXT PRIMARY KEY,
    device_id     TEXT NOT NULL UNIQUE,
    label         TEXT NOT NULL,
    endpoint      TEXT NOT NULL,
    stream_url    TEXT NOT NULL,
    credential    TEXT,
    config        TEXT NOT NULL,
    sims          TEXT NOT NULL,
    next_seq      INTEGER NOT NULL DEFAULT 1 CHECK (next_seq > acked_seq),
    acked_seq     INTEGER NOT NULL DEFAULT 0,
    last_event_id TEXT,
    online        INTEGER NOT NULL DEFAULT 1,
    battery       INTEGER NOT NULL DEFAULT 100 CHECK (battery BETWEEN 0 AND 100),
    charging      INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;

-- Facts the gateway has not acknowledged yet.
CREATE TABLE journal (
    phone_id   TEXT NOT NULL,
    seq        INTEGER NOT NULL CHECK (seq > 0),
    command_id TEXT,
    entry      TEXT NOT NULL,
    PRIMARY KEY (phone_id, seq)
) WITHOUT ROWID;

-- Every command ever seen, so that none is sent twice; also what the handset shows as sent.
CREATE TABLE command (
    n               INTEGER PRIMARY KEY,
    phone_id        TEXT NOT NULL,
    command_id      TEXT NOT NULL,
    message_id      TEXT NOT NULL,
    to_number       TEXT NOT NULL,
    body            TEXT NOT NULL,
    subscription_id INTEGER,
    expires_at      TEXT,
    state           TEXT NOT NULL,
    at              TEXT NOT NULL,
    UNIQUE (phone_id, command_id)
);
CREATE INDEX command_open ON command (phone_id)
    WHERE state IN ('accepted', 'submitted', 'awaiting_receipt');

-- Texts that arrived.
CREATE TABLE inbox (
    provider_id     INTEGER PRIMARY KEY,
    phone_id        TEXT NOT NULL,
    sender          TEXT NOT NULL,
    body            TEXT NOT NULL,
    subscription_id INTEGER,
    received_at     TEXT NOT NULL
);
CREATE INDEX inbox_of_phone ON inbox (phone_id);

-- What the radio did, one row per simulated call of SmsManager. Nothing reads it but checks, and
-- nothing is unique in it: a text that went out twice must show as two rows.
CREATE TABLE radio (
    phone_id   TEXT NOT NULL,
    command_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    to_number  TEXT NOT NULL,
    body_hash  TEXT NOT NULL,
    at         TEXT NOT NULL
);
"""


# Statements of a batch, in the order they run; each takes its rows as one JSON array of arrays.
WRITES: dict[str, str] = {
    "inbox": """
        INSERT INTO inbox (provider_id, phone_id, sender, body, subscription_id, received_at)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?)
        """,
    "command": """
        INSERT INTO command (phone_id, command_id, message_id, to_number, body, subscription_id,
                             expires_at, state, at)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5,
               value->>6, value->>7, value->>8 FROM json_each(?)
        """,
    "state": """
        UPDATE command SET state = fact.value->>2 FROM json_each(?) AS fact
        WHERE phone_id = fact.value->>0 AND command_id = fact.value->>1
        """,
    "journal": """
        INSERT INTO journal (phone_id, seq, command_id, entry)
        SELECT value->>0, value->>1, value->>2, value->>3 FROM json_each(?)
        """,
    "radio": """
        INSERT INTO radio (phone_id, command_id, message_id, to_number, body_hash, at)
        SELECT value->>0, value->>1, value->>2, value->>3, value->>4, value->>5 FROM json_each(?)
        """,
    "acked": """
        DELETE FROM journal WHERE (phone_id, seq) IN (
            SELECT done.phone_id, done.seq FROM json_each(?) AS ack JOIN journal AS done
            ON done.phone_id = ack.value->>0 AND done.seq <= ack.value->>1)
        """,
    "phone": """
        UPDATE phone SET next_seq = p.value->>1, acked_seq = p.value->>2,
            last_event_id = p.value->>3, online = p.value->>4, battery = p.value->>5,
            charging = p.value->>6, config = p.value->>7, credential = p.value->>8
        FROM json_each(?) AS p WHERE phone_id = p.value->>0
        """,
}
# A range of phone ids: all of them, or (one, one).
ALL = ("", "\U0010ffff")

Rows = list[Sequence[Any]]
Pending = tuple[int, bytes | None, str | None]  # seq, entry (None: a heartbeat), command_id
Job = Callable[[sqlite3.Connection], Any]


@dataclass(frozen=True, slots=True)
class StoredCommand:
    command_id: str
    message_id: str
    to: str
    body: str
    subscription_id: int | None
    expires_at: str | None
    state: str


@dataclass(frozen=True, slots=True)
class StoredPhone:
    """A phone as it was when the process ended; `pending` has None where a heartbeat belongs."""

    phone_id: str
    device_id: str
    label: str
    endpoint: str
    stream_url: str
    credential: str | None
    config: PhoneConfig
    sims: list[Sim]
    next_seq: int
    acked_seq: int
    last_event_id: str | None
    online: bool
    battery: int
    charging: bool
    pending: list[Pending]
    commands: list[StoredCommand]


def connect(path: Path, *, fsync: bool) -> sqlite3.Connection:
    """Open the file, create or check its schema. A newer schema is refused."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'NORMAL'}")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"phones.db has schema {version}, this is {SCHEMA_VERSION}")
    except sqlite3.Error:
        db.close()
        raise
    return db


def write(db: sqlite3.Connection, rows: dict[str, Rows], jobs: list[Job]) -> list[Any]:
    """One transaction: every statement that has rows, then the jobs; returns the jobs' results."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for name, statement in WRITES.items():
            if some := rows.get(name):
                db.execute(statement, (msgspec.json.encode(some).decode(),))
        results = [job(db) for job in jobs]
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return results


def seen(db: sqlite3.Connection, phone_id: str, command_id: str) -> bool:
    """Whether this phone ever had this command (as far as it is committed)."""
    found = db.execute(
        "SELECT 1 FROM command WHERE phone_id = ? AND command_id = ?", (phone_id, command_id)
    )
    return found.fetchone() is not None


def reserve_device(db: sqlite3.Connection, fresh: str, taken: list[str]) -> str:
    """A handset without a pairing and not in `taken`: left over from a crash, else `fresh`."""
    left = db.execute(
        "SELECT device_id FROM device WHERE phone_id IS NULL"
        " AND device_id NOT IN (SELECT value FROM json_each(?)) LIMIT 1",
        (msgspec.json.encode(taken).decode(),),
    ).fetchone()
    if left:
        return left[0]
    db.execute("INSERT INTO device (device_id) VALUES (?)", (fresh,))
    return fresh


def save_pairing(
    db: sqlite3.Connection, *, device_id: str, link: PairingLink, paired: Paired, sims: list[Sim]
) -> StoredPhone:
    """Write a new pairing and read the phone back. One that was paired before keeps its history,
    its place in the stream, whose ids never repeat, and its untold facts, numbered again from 1:
    the journal begins anew with every pairing."""
    phone_id = paired.phone_id
    before = db.execute(
        "SELECT last_event_id FROM phone WHERE phone_id = ?", (phone_id,)
    ).fetchone()
    db.execute("UPDATE device SET phone_id = NULL WHERE phone_id = ?", (phone_id,))
    db.execute(
        "INSERT INTO device VALUES (?1, ?2) ON CONFLICT (device_id) DO UPDATE SET phone_id = ?2",
        (device_id, phone_id),
    )
    facts = db.execute(
        "DELETE FROM journal WHERE phone_id = ? RETURNING seq, command_id, entry", (phone_id,)
    ).fetchall()
    db.execute("DELETE FROM phone WHERE phone_id = ? OR device_id = ?", (phone_id, device_id))
    db.execute(
        "INSERT INTO phone (phone_id, device_id, label, endpoint, stream_url, credential, config,"
        " sims, next_seq, last_event_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            phone_id,
            device_id,
            link.label,
            link.endpoint,
            paired.stream_url,
            paired.credential,
            msgspec.json.encode(paired.config).decode(),
            msgspec.json.encode(sims).decode(),
            len(facts) + 1,
            before[0] if before else None,
        ),
    )
    for seq, (_, command_id, entry) in enumerate(sorted(facts), start=1):
        renumbered = msgspec.json.encode({**msgspec.json.decode(entry), "seq": seq}).decode()
        db.execute(
            "INSERT INTO journal VALUES (?, ?, ?, ?)", (phone_id, seq, command_id, renumbered)
        )
    return next(load(db, (phone_id, phone_id)))


def load(db: sqlite3.Connection, phones: tuple[str, str] = ALL) -> Iterator[StoredPhone]:
    """The phones of a range of ids, with their unacknowledged facts and their open commands."""
    facts: dict[str, dict[int, Pending]] = {}
    for owner, seq, command_id, entry in db.execute(
        "SELECT phone_id, seq, command_id, entry FROM journal WHERE phone_id BETWEEN ? AND ?",
        phones,
    ):
        facts.setdefault(owner, {})[seq] = (seq, entry.encode(), command_id)
    commands: dict[str, list[StoredCommand]] = {}
    for owner, *fields in db.execute(
        "SELECT phone_id, command_id, message_id, to_number, body, subscription_id, expires_at,"
        " state FROM command WHERE state IN ('accepted', 'submitted', 'awaiting_receipt')"
        " AND phone_id BETWEEN ? AND ? ORDER BY n",
        phones,
    ):
        commands.setdefault(owner, []).append(StoredCommand(*fields))
    for row in db.execute(
        "SELECT phone_id, device_id, label, endpoint, stream_url, credential, config, sims,"
        " next_seq, acked_seq, last_event_id, online, battery, charging FROM phone"
        " WHERE phone_id BETWEEN ? AND ?",
        phones,
    ):
        (phone_id, device_id, label, endpoint, stream_url, credential, config, sims) = row[:8]
        (next_seq, acked_seq, last_event_id, online, battery, charging) = row[8:]
        known = facts.get(phone_id, {})
        next_seq = max(next_seq, max(known, default=0) + 1)
        unacked = range(acked_seq + 1, next_seq)
        yield StoredPhone(
            phone_id=phone_id,
            device_id=device_id,
            label=label,
            endpoint=endpoint,
            stream_url=stream_url,
            credential=credential,
            config=msgspec.json.decode(config, type=PhoneConfig),
            sims=msgspec.json.decode(sims, type=list[Sim]),
            next_seq=next_seq,
            acked_seq=acked_seq,
            last_event_id=last_event_id,
            online=bool(online),
            battery=battery,
            charging=bool(charging),
            pending=[known.get(seq, (seq, None, None)) for seq in unacked],
            commands=commands.get(phone_id, []),
        )


def last_provider_id(db: sqlite3.Connection) -> int:
    """The number of the newest text that ever arrived at any phone of this file; 0 if none."""
    return db.execute("SELECT coalesce(max(provider_id), 0) FROM inbox").fetchone()[0]


def texts(db: sqlite3.Connection, phone_id: str, limit: int) -> list[dict[str, Any]]:
    """What the handset shows: the newest `limit` texts, sent and received, newest first."""
    rows = db.execute(
        "SELECT * FROM (SELECT 'out' AS direction, command_id AS id, to_number, body, at,"
        " subscription_id, state FROM command WHERE phone_id = ?1 AND to_number <> ''"
        " ORDER BY n DESC LIMIT ?2)"
        " UNION ALL SELECT * FROM (SELECT 'in', provider_id, sender, body, received_at,"
        " subscription_id, 'received' FROM inbox WHERE phone_id = ?1"
        " ORDER BY provider_id DESC LIMIT ?2)"
        " ORDER BY at DESC LIMIT ?2",
        (phone_id, limit),
    )
    return [
        {
            "direction": direction,
            "id": str(ref),
            "number": number,
            "body": body,
            "at": at,
            "subscription_id": subscription_id,
            "state": SENT if state == AWAITING else state,
        }
        for direction, ref, number, body, at, subscription_id, state in rows
    ]
