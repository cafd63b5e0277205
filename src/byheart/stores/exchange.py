"""Export and import: JSON lines that any store reads, checked line by line.

The first line says what it is; then one line an item, link or cube::

    {"byheart": "memory", "version": 1, "scope": "acme/ana"}
    {"item": {"id": "01J...", "content": "...", "digest": "..."}, "state": "Activated"}
    {"link": {"from": "01J...", "to": "01J...", "label": "", "weight": 1.0}}
    {"cube": {"name": "trip", "versions": [...], ...}}

Recorded times are those of the store that records, so an importing store's history begins at the
import; valid times travel. Content is text and JSON: nothing in a file is ever executed.
"""

from __future__ import annotations

from byheart.stores._exchange_export import export_lines
from byheart.stores._exchange_import import import_lines
from byheart.stores._exchange_json import VERSION, parse_json

__all__ = ["VERSION", "export_lines", "import_lines", "parse_json"]
