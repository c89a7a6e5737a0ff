"""What the columns of a spreadsheet mean. Pure.

A header is compared without case, accents and punctuation with names that people and programs use
(Google, Outlook, HubSpot, HighLevel; in English, German, French, Spanish, Italian, Portuguese,
Dutch). A column whose header is none of them is a custom field of that name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from services.api.sheets.cells import unescape

COLUMNS_MAX = 200
NAME_MAX_CHARS = 64  # of a custom field, as everywhere (shapes/contacts.py)
CUSTOM = "custom_fields."
IGNORE = "ignore"
FIELDS = (
    "phone", "first_name", "last_name", "name", "email", "company", "tags", "timezone",
    "do_not_contact", "custom_fields",
)  # fmt: skip

# Where several columns mean the same, the one named first here has it: a text goes to a mobile.
ALIASES: Mapping[str, str] = {
    "phone": "phone, mobile, mobile phone, mobile number, mobile no, cell, cell phone, cellphone, "
    "cell number, sms, sms number, phone number, phone no, phonenumber, phone 1 value, phone1, "
    "primary phone, contact phone, contact number, whatsapp, number, msisdn, e164, telephone, "
    "telephone number, tel, tel no, to, recipient, home phone, business phone, work phone, "
    "handy, handynummer, mobil, mobilnummer, mobiltelefon, rufnummer, telefon, telefonnummer, "
    "telephone mobile, portable, numero de telephone, numero, movil, celular, telefono movil, "
    "telefono, cellulare, numero di telefono, telemovel, telefone, mobiel, mobiele nummer, "
    "telefoonnummer, gsm",
    "first_name": "first name, firstname, first, given name, givenname, forename, fname, vorname, "
    "prenom, nombre, nombres, nome, voornaam, primeiro nome",
    "last_name": "last name, lastname, last, surname, family name, familyname, lname, nachname, "
    "familienname, nom, nom de famille, apellido, apellidos, cognome, sobrenome, achternaam",
    "name": "name, full name, fullname, contact name, contact, customer, customer name, client, "
    "client name, display name, vollstandiger name, nom complet, nombre completo, nome completo",
    "email": "email, e mail, email address, e mail address, mail, e mail 1 value, email 1, email1, "
    "primary email, e mail adresse, emailadresse, courriel, adresse email, correo, "
    "correo electronico, posta elettronica",
    "company": "company, company name, organization, organisation, organization name, "
    "organization 1 name, business, business name, account, account name, employer, firma, "
    "unternehmen, societe, entreprise, empresa, azienda, bedrijf",
    "tags": "tags, tag, labels, label, group membership, groups, group, categories, category, "
    "segments, lists, list, schlagworte, gruppen, etiquetas, etiquettes, etichette",
    "timezone": "timezone, time zone, tz, zeitzone, fuseau horaire, zona horaria",
    "do_not_contact": "do not contact, donotcontact, dnc, dnd, opted out, opt out, optout, "
    "optedout, unsubscribed, blacklisted, sms opt out, abgemeldet, keine sms",
    "custom_fields": "custom fields, customfields",
    # What an export has beyond the contact, and what a list of errors has (importing.py).
    IGNORE: "id, contact id, created at, updated at, created, updated, last activity, consent, "
    "error row, error field, error reason",
}
WORDS = ("phone", "mobil", "cell", "tel", "name", "mail", "company", "tags", "firma", "number",
         "numero", "vorname", "nom")  # fmt: skip


class Column(NamedTuple):
    """A column: its header, and the field of the contact it goes to."""

    name: str
    field: str


class BadHeader(Exception):
    """The columns cannot be used. ``code`` and ``detail`` are for the person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


class Ignored(NamedTuple):
    """A column that is left out although nobody asked for that, and why."""

    name: str
    detail: str


def folded(header: str) -> str:
    """A header as it is compared."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", header) if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", " ", bare.casefold()).strip()


def ranks() -> dict[str, tuple[str, int]]:
    """Folded header → its field, and its place among those of that field."""
    return {
        name: (field, place)
        for field, names in ALIASES.items()
        for place, name in enumerate(names.split(", "))
    }


def assign(
    header: Sequence[str], mapping: Mapping[str, str | None]
) -> tuple[list[Column], list[Ignored]]:
    """The meaning of each column; ``mapping`` (header → field, null for none) says otherwise.

    Raises BadHeader: too many columns, a mapping of a column that is not there, no phone column.
    """
    if len(header) > COLUMNS_MAX:
        detail = f"The file has {len(header)} columns, and at most {COLUMNS_MAX} can be read."
        raise BadHeader("too_many_columns", detail)
    names = [" ".join(unescape(cell).split()) for cell in header]
    said = {" ".join(name.split()): field for name, field in mapping.items()}
    unknown = sorted(set(said) - set(names))
    if unknown:
        raise BadHeader("unknown_column", f"The file has no column {unknown[0]!r}.")
    fields: list[str | None] = [(said[name] or IGNORE) if name in said else None for name in names]
    _by_alias(names, fields)
    columns, ignored, used = list[Column](), list[Ignored](), set[str]()
    for place, (name, field) in enumerate(zip(names, fields, strict=True), 1):
        meant = field or _custom(name, used)
        if meant is None:
            why = f"Its name has more than {NAME_MAX_CHARS} characters." if name else "No name."
            ignored.append(Ignored(name[:NAME_MAX_CHARS] or f"column {place}", why))
            meant = IGNORE
        if meant != IGNORE and meant in used:
            raise BadHeader("column_twice", f"Two columns are both {meant}.")
        used.add(meant)
        columns.append(Column(name, meant))
    if "phone" not in used:
        raise BadHeader(
            "no_phone_column",
            "No column of phone numbers was found. Name it phone, or say in mapping which it is.",
        )
    return columns, ignored


def _by_alias(names: Sequence[str], fields: list[str | None]) -> None:
    """Give each field that is still free to the column that fits it best."""
    known = ranks()
    best: dict[str, tuple[int, int]] = {}
    for at, name in enumerate(names):
        field, rank = known.get(folded(name), ("", 0))
        if fields[at] is not None or not field:
            continue
        if field == IGNORE:
            fields[at] = IGNORE
        elif field not in fields and (rank, at) < best.get(field, (len(known), 0)):
            best[field] = (rank, at)
    for field, (_, at) in best.items():
        fields[at] = field


def _custom(name: str, used: set[str]) -> str | None:
    """The custom field of a column's name; another one where it is taken. None: it cannot be."""
    bare = name.removeprefix(CUSTOM)
    bare = "".join(c for c in bare if c.isprintable()).strip()
    if not bare or len(bare) > NAME_MAX_CHARS:
        return None
    field, n = CUSTOM + bare, 1
    while field in used:
        n += 1
        field = f"{CUSTOM}{bare[: NAME_MAX_CHARS - 4]} {n}"
    return field
