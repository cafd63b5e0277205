"""The network of notes as GraphML, DOT or JSON."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from byheart.core.errors import UnknownName
from byheart.notes._linked_note import LinkedNote

__all__ = ["FORMATS", "graph_text"]

FORMATS = ("graphml", "dot", "json")
_FIELDS = ("content", "time", "context", "keywords", "tags", "speaker")
# what XML 1.0 cannot hold even as a reference
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def graph_text(notes: Sequence[LinkedNote], format: str) -> str:
    """Notes as nodes, links as edges from the newer to the older; links to others are left out.

    Raises:
        UnknownName: No such format.
    """
    if format not in FORMATS:
        raise UnknownName("graph format", format, FORMATS)
    there = {n.id for n in notes}
    edges = [(n.id, target) for n in notes for target in n.links if target in there]
    if format == "json":
        nodes = [{k: v for k, v in n.to_dict().items() if k != "links"} for n in notes]
        links = [{"source": a, "target": b} for a, b in edges]
        return json.dumps(
            {"directed": True, "multigraph": False, "graph": {}, "nodes": nodes, "links": links},
            ensure_ascii=False,
            indent=2,
        )
    return _graphml(notes, edges) if format == "graphml" else _dot(notes, edges)


def _cells(note: LinkedNote) -> dict[str, str]:
    return {
        "content": note.content,
        "time": note.time.isoformat() if note.time else "",
        "context": note.context,
        "keywords": ", ".join(note.keywords),
        "tags": ", ".join(note.tags),
        "speaker": note.speaker,
    }


def _graphml(notes: Sequence[LinkedNote], edges: Sequence[tuple[str, str]]) -> str:
    root = ET.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    for name in _FIELDS:
        key = {"id": name, "for": "node", "attr.name": name, "attr.type": "string"}
        ET.SubElement(root, "key", key)
    graph = ET.SubElement(root, "graph", id="notes", edgedefault="directed")
    for note in notes:
        node = ET.SubElement(graph, "node", id=_NO_XML.sub("\ufffd", note.id))
        for name, value in _cells(note).items():
            if value:
                ET.SubElement(node, "data", key=name).text = _NO_XML.sub("\ufffd", value)
    for a, b in edges:
        ends = {"source": _NO_XML.sub("\ufffd", a), "target": _NO_XML.sub("\ufffd", b)}
        ET.SubElement(graph, "edge", ends)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _quoted(text: str) -> str:
    plain = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _dot(notes: Sequence[LinkedNote], edges: Sequence[tuple[str, str]]) -> str:
    lines = ["digraph notes {", "  node [shape=box];"]
    for note in notes:
        told = note.content if len(note.content) <= 80 else note.content[:79] + "…"
        tip = f"{_quoted(note.context)}" if note.context else '""'
        lines.append(f"  {_quoted(note.id)} [label={_quoted(told)}, tooltip={tip}];")
    lines += [f"  {_quoted(a)} -> {_quoted(b)};" for a, b in edges]
    return "\n".join([*lines, "}", ""])
