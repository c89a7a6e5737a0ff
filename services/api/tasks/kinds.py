"""Every kind of task there is."""

from __future__ import annotations

from collections.abc import Mapping

from services.api.sheets.importing import IMPORT
from services.api.tasks.job import Kind

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (IMPORT,)}
