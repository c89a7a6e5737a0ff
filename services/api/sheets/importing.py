"""The task that reads a file of contacts into the log.

Rows go batch by batch: read who is known, merge, write down how far we are and what the batch will
make, append, wait until the batch can be read. So a batch sees what the one before it made, the log
never runs far ahead of the rows, and after a crash the batch under way is done again: what it had
appended has the same ids, and who was merged already needs no event. Counts are those written down.

A dry run does the same without appending, and remembers whom it would have made.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from services.api.routes.contacts import zone_names
from services.api.sheets import people, read, write
from services.api.sheets.cells import escape
from services.api.sheets.columns import WORDS, BadHeader, Column, assign
from services.api.sheets.people import Known, Person, RowError
from services.api.tasks.job import Job, Kind, TaskFailed
from shared import events as e
from shared import ids
from shared.errors import Conflict, NotReady
from shared.log import Guard

BATCH_ROWS = 500
ROWS_MAX = 1_000_000
AGAIN_MAX = 3  # for a contact that others change at the same time
PROJECTED_S = 10.0
COUNTS = ("created", "updated", "unchanged", "opted_out", "failed")
OPT_OUT_NOTE = "Marked in an imported file."
ERROR_COLUMNS = ("error_row", "error_field", "error_reason")


@dataclass(slots=True)
class _Row:
    number: int  # of the file, the header being 1
    cells: list[str]
    person: Person | None = None


@dataclass
class _Run:
    """One run of an import."""

    job: Job
    dry: bool
    region: str
    columns: list[Column] = field(default_factory=list[Column])
    made: set[str] = field(default_factory=set[str])  # by a dry run
    room: int | None = None  # of the plan, at least: it is counted again when that gets tight
    headed: bool = False  # the list of errors has its header

    async def all(self) -> None:
        """The whole file. The last run had counted rows up to one, and maybe not appended them."""
        job = self.job
        if self.dry:
            await job.restart()  # it must have seen all the rows before, to know whom they make
        told = {"dry_run": self.dry, "encoding": job.asked["encoding"]}
        job.summary = dict.fromkeys(COUNTS, 0) | job.summary | told
        begun, counted = (job.state["from"], job.state["to"]) if job.state else (0, 0)
        self.headed = job.result_id is not None
        batch: list[_Row] = []
        number = 0
        async for number, cells in self._rows():
            if number > ROWS_MAX:
                raise TaskFailed("too_many_rows", f"A file has at most {ROWS_MAX:,} rows.")
            if number >= begun and cells:
                batch.append(_Row(number, cells))
            if number == counted:
                await self._append((await self._plan(batch))[0])
                batch = []
            elif len(batch) >= BATCH_ROWS and number > counted:
                await self._batch(batch, number)
                batch = []
            await job.breathe()
        if batch:
            await self._batch(batch, number)
        job.total = job.summary["rows"] = job.done

    async def _rows(self) -> AsyncIterator[tuple[int, list[str]]]:
        """Every row behind the header, empty ones as []; sets the columns before the first."""
        job = self.job
        decoder = read.decoder(job.asked["encoding"])
        records: read.Records | None = None
        text, content = "", job.upload()
        ended = False
        try:
            while not ended:
                piece = await anext(content, None)
                ended = piece is None
                text += decoder.decode(piece or b"", ended)
                if records is None:
                    if len(text) < read.SAMPLE_CHARS and not ended:
                        continue
                    text = text.removeprefix("\ufeff")
                    records = self._begin(text)
                rows = records.feed(text, final=ended)
                text = ""
                for row in rows:
                    if not self.columns and self._header(row):
                        continue
                    yield records.count, _BROKEN if row is None else row if any(row) else []
        except read.TooLong:
            raise TaskFailed("not_a_table", "The file has no lines: it is no CSV file.") from None
        if not self.columns:
            raise TaskFailed("empty_file", "The file has no row.")

    def _begin(self, text: str) -> read.Records:
        job = self.job
        delimiter = job.asked["delimiter"] or read.separator(text, WORDS)
        job.summary["delimiter"] = delimiter
        return read.Records(delimiter)

    def _header(self, row: list[str] | None) -> bool:
        """Whether the row is the header, or stands before it: empty, or Excel's word on which
        separator follows. A file of one column may have none: then it is a list of numbers."""
        if not row or not any(row) or (row[0].lower().startswith("sep=") and len(row[0]) < 6):
            return True
        mapping: dict[str, str | None] = self.job.asked["mapping"]
        try:
            self.columns, ignored = assign(row, mapping)
        except BadHeader as why:
            alone = [Column("phone", "phone")]
            if len(row) > 1 or not isinstance(people.read(row, alone, self.region, ()), Person):
                raise TaskFailed(why.code, why.detail) from None
            self.columns = alone
            return False
        self.job.summary["columns"] = {c.name: c.field for c in self.columns if c.name}
        if self.job.state is None:
            for column in ignored:
                self.job.error("column_ignored", column.detail, row=1, field=column.name)
        return True

    async def _batch(self, rows: list[_Row], to: int) -> None:
        """Write down what these rows, up to number ``to``, make of whom; then do it."""
        job = self.job
        changes, wrong = await self._plan(rows)
        self._count(changes, wrong)
        if self.dry:
            self._took(changes)
        job.done += len(rows)
        job.state = {"from": rows[0].number, "to": to}
        await job.save()
        if not self.dry:
            await self._append(changes)

    def _read(self, row: _Row) -> list[RowError]:
        """What is wrong with a row; if nothing is, it has a person from here on."""
        if row.cells is _BROKEN:
            detail = "The line cannot be read: a quote is opened and not closed, or a cell is huge."
            return [RowError("", "broken_row", detail)]
        found = people.read(row.cells, self.columns, self.region, zone_names())
        if isinstance(found, Person):
            row.person = found
            return []
        return found

    async def _plan(
        self, rows: list[_Row]
    ) -> tuple[list[_Change], list[tuple[_Row, list[RowError]]]]:
        """What the rows change, one entry per number; and the rows that cannot be taken."""
        persons: dict[str, list[_Row]] = {}
        wrong: list[tuple[_Row, list[RowError]]] = []
        for row in rows:
            errors = self._read(row)
            if errors:
                wrong.append((row, errors))
            elif row.person is not None:
                persons.setdefault(row.person.number, []).append(row)
            await self.job.breathe()
        changes, too_much = await self._merge(persons)
        return changes, wrong + too_much

    async def _merge(
        self, persons: dict[str, list[_Row]]
    ) -> tuple[list[_Change], list[tuple[_Row, list[RowError]]]]:
        """The rows of each number with who is known under it."""
        job = self.job
        wrong: list[tuple[_Row, list[RowError]]] = []
        roots = {
            ids.contact_id(job.api.identity_key, job.workspace_id, number, 0): rows
            for number, rows in persons.items()
        }
        async with job.api.db.tenant(job.workspace_id) as db:
            renewed = {row["id"]: row for row in await db.fetch(job.api.sql.renewed, list(roots))}
            whose = {
                root: (renewed[root]["contact_id"], renewed[root]["generation"])
                if root in renewed
                else (root, 0)
                for root in roots
            }
            wanted = [contact_id for contact_id, _ in whose.values()]
            found = await db.fetch(job.api.sql.contacts_by_id, wanted)
        known = {row["id"]: row for row in found}
        room = await self._room(len(roots))
        changes: list[_Change] = []
        for root, rows in roots.items():
            contact_id, generation = whose[root]
            row = known.get(contact_id)
            before = _known(row)
            person = rows[0].person
            for later in rows[1:]:
                person = people.same(person, later.person) if person and later.person else person
            if person is None:
                continue
            after = people.merged(before, person)
            if isinstance(after, list):
                wrong += [(one, after) for one in rows]
                continue
            new = not before.saved and contact_id not in self.made
            if new and room is not None and room > 0:
                room -= 1
            elif new and room == 0:
                if not after.opted_out:
                    wrong += [(one, [_FULL]) for one in rows]
                    continue
                after, new = replace(before, opted_out=True), False  # no plan stops an opt-out
            changes.append(_Change(contact_id, generation, person, before, after, row, rows, new))
            await job.breathe()
        return changes, wrong

    async def _room(self, wanted: int) -> int | None:
        """How many more contacts the plan has room for, enough to know of ``wanted``; None: any."""
        if self.room is None or self.room < wanted:
            room = await self.job.api.billing.room(self.job.workspace_id, "contacts")
            self.room = None if room is None else max(0, room - len(self.made))
        return self.room

    def _took(self, changes: list[_Change]) -> None:
        if self.room is not None:
            self.room = max(0, self.room - sum(change.new for change in changes))

    def _count(self, changes: list[_Change], wrong: list[tuple[_Row, list[RowError]]]) -> None:
        """Put the batch into the summary and the list of errors."""
        job, tally = self.job, self.job.summary
        for change in changes:
            more = len(change.rows) - 1  # rows merged with the first one of their number
            kind = "created" if change.new else "updated" if change.any else "unchanged"
            tally[kind] += 1
            tally["updated" if change.any else "unchanged"] += more
            tally["opted_out"] += change.opts_out
            if self.dry and change.new:
                self.made.add(change.contact_id)
        for row, errors in sorted(wrong, key=lambda entry: entry[0].number):
            tally["failed"] += 1
            for one in errors:
                where = {"row": row.number} | ({"field": one.field} if one.field else {})
                job.error(one.code, one.detail, **where)
            self._report(row, errors)

    def _report(self, row: _Row, errors: list[RowError]) -> None:
        """The row with what is wrong with it: mended, the list can be uploaded as it is."""
        if not self.headed:
            names = [escape(column.name) for column in self.columns]
            self.job.write((write.BOM + write.line([*ERROR_COLUMNS, *names])).encode())
            self.headed = True
        cells = row.cells if row.cells is not _BROKEN else []
        fields = "; ".join(dict.fromkeys(one.field for one in errors if one.field))
        reasons = " ".join(dict.fromkeys(one.detail for one in errors))
        self.job.write(write.line([str(row.number), fields, reasons, *cells]).encode())

    async def _append(self, changes: list[_Change]) -> None:
        """Put the changes into the log, and wait until they can be read."""
        self._took(changes)
        due = [change for change in changes if change.any]
        job, last = self.job, 0
        for attempt in range(AGAIN_MAX + 1):
            events, guards, owners = list[e.Event](), list[Guard | None](), list[_Change]()
            for change in due:
                for data, guard in change.events(job.workspace_id):
                    about = (str(change.rows[0].number), str(attempt))
                    events.append(job.event(data, change.contact_id, *about))
                    guards.append(guard)
                    owners.append(change)
                await job.breathe()
            results = await job.api.log.append_many(events, guards) if events else []
            lost: dict[str, _Change] = {}
            for result, change in zip(results, owners, strict=True):
                if isinstance(result, Conflict):
                    lost[change.contact_id] = change
                    last = max(last, result.last_seq)
                else:
                    last = max(last, result)
            if not await job.api.projector.passed(last, PROJECTED_S):
                raise NotReady("the rows of an import are not projected yet")
            if not lost:
                return
            again = {c.person.number: c.rows for c in lost.values()}
            changes, wrong = await self._merge(again)
            for row, errors in wrong:
                for one in errors:
                    job.error(one.code, one.detail, row=row.number)
            due = [change for change in changes if change.any]
        for change in due:
            detail = "Others kept changing this contact at the same time."
            job.error("changed_meanwhile", detail, row=change.rows[0].number)


@dataclass(slots=True)
class _Change:
    """A contact before and after, with the rows that say so."""

    contact_id: str
    generation: int
    person: Person
    before: Known
    after: Known
    row: Any
    rows: list[_Row]
    new: bool

    @property
    def opts_out(self) -> bool:
        return self.after.opted_out and not self.before.opted_out

    @property
    def saves(self) -> bool:
        b, a = self.before, self.after
        return (b.saved, b.values, b.tags, b.custom_fields) != (
            a.saved, a.values, a.tags, a.custom_fields,
        )  # fmt: skip

    @property
    def any(self) -> bool:
        """Whether there is anything to put on record."""
        return self.saves or self.opts_out

    def events(self, workspace_id: str) -> list[tuple[e.Data, Guard | None]]:
        """What to put on record; a contact that exists is saved as of what was read of it."""
        out: list[tuple[e.Data, Guard | None]] = []
        if self.saves:
            seq = self.row["seq"] if self.row else 0
            subject = f"contact.*.{workspace_id}.{self.contact_id}"
            saved = e.ContactSaved(
                contact_id=self.contact_id,
                number=self.person.number,
                generation=self.generation,
                tags=tuple(self.after.tags),
                custom_fields=self.after.custom_fields,
                source="import",
                **self.after.values,
            )
            out.append((saved, Guard(subject, seq) if seq else None))
        if self.opts_out:
            number = self.person.number
            data = e.ContactOptedOut(
                contact_id=self.contact_id, number=number, source="api", text=OPT_OUT_NOTE
            )
            out.append((data, None))
        return out


_FULL = RowError(
    "", "plan_limit_reached", "The plan has no room for another contact. Take a larger one."
)
_BROKEN = ["\ufffd"]  # stands for a line that cannot be read; compared by identity


def _known(row: Any) -> Known:
    if row is None:
        return Known()
    return Known(
        saved=row["saved"],
        opted_out=row["opted_out"],
        values={name: row[name] for name in people.EDITED if row[name] is not None},
        tags=row["tags"] or [],
        custom_fields=row["custom_fields"] or {},
    )


async def run(job: Job) -> None:
    """Read the file that was uploaded; see the module."""
    workspace = await job.api.workspace(job.workspace_id)
    await _Run(job, job.asked["dry_run"], workspace["region"]).all()


IMPORT = Kind("contacts.import", "contacts:read", run, "contacts-not-imported-{id}.csv", "text/csv")
