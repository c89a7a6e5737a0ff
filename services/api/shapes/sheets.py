"""What an import and an export of contacts are asked."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from services.api.shapes.fields import Flag, Query, Tag

Encoding = Literal[
    "utf-8", "utf-16", "windows-1250", "windows-1251", "windows-1252", "iso-8859-1", "iso-8859-2",
    "iso-8859-15", "mac-roman", "shift_jis", "gb18030", "big5", "euc-kr",
]  # fmt: skip
Delimiter = Literal[",", ";", "\t", "|"]
MAPPING_MAX_BYTES: Final = 64 * 1024

# A multipart form is no JSON body, so this is how it is documented.
FORM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {
            "type": "string",
            "format": "binary",
            "maxLength": 64 * 1024 * 1024,
            "description": "The CSV file, at most 64 MiB.",
            "examples": ["phone,first_name\n+14155550123,Ada\n"],
        },
        "mapping": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": (
                "What columns mean, where their names do not tell: a JSON object of column names "
                "to `phone`, `first_name`, `last_name`, `name`, `email`, `company`, `tags`, "
                "`timezone`, `do_not_contact`, `custom_fields.…`, or null to leave one out."
            ),
            "example": '{"Main no.": "phone", "Internal": null}',
        },
    },
    "additionalProperties": False,
}


class ImportQuery(Query):
    dry_run: Flag = Field(False, description="Say what would happen, and save nothing.")
    encoding: Encoding | None = Field(None, description="Found out if not given.")
    delimiter: Delimiter | None = Field(None, description="Found out if not given.")


class ExportQuery(Query):
    format: Literal["csv", "jsonl"] = Field(
        "csv", description="`jsonl` is one contact per line, as the API shows it."
    )
    tag: Tag | None = None
    opted_out: Annotated[Flag, Field()] | None = None
