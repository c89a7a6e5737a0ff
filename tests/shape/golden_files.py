"""Every event as it was first written: files that must decode for ever.

    python -m tests.shape.golden_files     writes the files of types and versions that have none

A file is never changed: logs hold such bytes. Where an example says something new (a field that was
added later), it may have a second file, ``<type>.v<version>.<name>.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

from shared import events
from tests.examples import EXAMPLES

FOLDER = Path(__file__).parent / "golden"


def path_of(event: events.Event) -> Path:
    """The file of an event's type and version."""
    return FOLDER / f"{event.type}.v{event.v}.json"


def text_of(event: events.Event) -> str:
    """The event as a file: the same JSON as in the log, made readable."""
    return json.dumps(json.loads(events.encode(event)), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for made in EXAMPLES.values():
        if not path_of(made).exists():
            path_of(made).write_text(text_of(made))
            print(f"{path_of(made).name} written: commit it, and never change it")
