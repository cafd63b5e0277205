"""A report as one page that stands alone: template and style lie in ``report_html/``."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byheart.core import _report_words as words
from byheart.core._report_marks import clean, marked, plain
from byheart.core._report_plot import (
    Group,
    Scale,
    arms_svg,
    axis_svg,
    gap_svg,
    group_by_unit,
    lanes_svg,
)
from byheart.core.errors import need
from byheart.core.finding import Evidence, Finding

if TYPE_CHECKING:
    from byheart.core.report import Report, SelfTest, SelfTestRow

__all__ = ["page"]

_FOLDER = Path(__file__).parent / "report_html"
_LONG_PROMPT = 420
_MOST_FAILURES = 50
_PNG = re.compile(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}")
"""The only pictures that are shown: bytes within the page, nothing that is fetched or run."""


def page(report: Report) -> str:
    """The whole page.

    Raises:
        MissingExtra: If jinja2 is not installed.
    """
    safe = need("markupsafe", "audit").Markup
    style, script = (
        (_FOLDER / name).read_text(encoding="utf-8") for name in ("style.css", "script.js")
    )
    headline, caveats = words.bottom_line(report)
    meta = report.meta
    groups = [
        {
            "unit": words.unit_name(g.unit)[0],
            "meaning": words.unit_name(g.unit)[1],
            "orientation": _orientation(g),
            "rows": [
                _finding(f) | {"arms_svg": safe(arms_svg(f, g)), "gap_svg": safe(gap_svg(f, g))}
                for f in g.findings
            ],
            "arms_axis": safe(axis_svg(g.arms)),
            "gap_axis": safe(axis_svg(g.gap)),
        }
        for g in group_by_unit(report.findings)
    ]
    return _template().render(
        model=clean(report.model),
        version=meta.get("byheart", ""),
        headline=headline,
        caveats=caveats,
        complete=meta.get("complete", True),
        missing=clean(str(meta.get("missing", ""))),
        tiles=_tiles(report),
        facts=_facts(report),
        level=_level(report.findings),
        groups=groups,
        any_control=any(f.control_gap for f in report.findings),
        audits=[_audit(report, name) for name in report.audits],
        skipped=[{"audit": s.audit, "reason": clean(s.reason)} for s in report.skipped],
        failures=[
            {"audit": f.audit, "id": clean(f.id), "message": clean(f.message)}
            for f in report.failures[:_MOST_FAILURES]
        ],
        failures_title=f"{words.count(len(report.failures), 'question')} that failed",
        more_failures=max(0, len(report.failures) - _MOST_FAILURES),
        self_test=None if report.self_test is None else _self_test(report.self_test, safe),
        packages=", ".join(f"{k} {v}" for k, v in (meta.get("packages") or {}).items()),
        fingerprint=meta.get("fingerprint", ""),
        style=safe(style),
        script=safe(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=safe(_embedded(report.to_json())),
    )


@cache
def _template() -> Any:
    jinja2 = need("jinja2", "audit")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _hash(text: str) -> str:
    """What the content policy names an inline block by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _embedded(data: str) -> str:
    """JSON that no parser of HTML can mistake for a tag; it stays the same JSON."""
    return (
        data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        .replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    )  # fmt: skip


def _tiles(report: Report) -> list[dict[str, str]]:
    verdicts = [f.verdict() for f in report.findings]
    tiles = [
        {"kind": "memorised" if n and kind == "memorised" else "", "value": str(n), "label": label}
        for kind, label in (
            ("memorised", "memorised"),
            ("not shown", "not shown"),
            ("no verdict", "no verdict"),
        )
        for n in [verdicts.count(kind)]
    ]
    if report.skipped:
        n = len(report.skipped)
        tiles.append(
            {"kind": "", "value": str(n), "label": "audits skipped" if n > 1 else "audit skipped"}
        )
    if report.self_test is not None:
        passed = report.self_test.passed
        tiles.append(
            {
                "kind": "good" if passed else "bad",
                "value": "Passed" if passed else "Failed",
                "label": "self-test",
            }
        )
    return tiles


def _facts(report: Report) -> list[tuple[str, str]]:
    meta = report.meta
    known = {
        "byheart", "created", "duration_s", "seed", "limit", "fingerprint", "python", "packages",
        "audits", "complete", "missing",
    }  # fmt: skip
    facts = [
        ("When", words.when(meta.get("created"))),
        ("Took", words.duration(meta.get("duration_s"))),
        ("Seed", str(meta.get("seed", ""))),
        ("Items", "" if "limit" not in meta else f"at most {meta['limit']} an arm" if meta["limit"] else "each audit\u2019s own number"),
    ]  # fmt: skip
    facts += [(k.replace("_", " "), _short(v)) for k, v in meta.items() if k not in known]
    return [(label, clean(value)) for label, value in facts if value]


def _level(findings: Sequence[Finding]) -> str:
    levels = sorted({f.gap.level for f in findings}) or [0.95]
    return " or ".join(f"{100 * x:g}\u202f%" for x in levels)


def _orientation(group: Group) -> str:
    """Heading of a unit's dots: what the arms are, and which way memory lies."""
    kinds = {words.arm_names(f) for f in group.findings}
    names = " and ".join(kinds.pop() if len(kinds) == 1 else ("seen", "fresh"))
    return clean(names) + ("" if group.higher_is_memory else "; lower is more memorised")


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)


def _finding(f: Finding) -> dict[str, Any]:
    return {
        "id": "finding-" + _slug(f.name),
        "audit": f.audit,
        "metric": f.name.split("/", 1)[-1],
        "verdict": f.verdict(),
        "reason": clean(words.verdict_reason(f)),
        "claim": f.claim,
        "unit": f.unit,
        "n": f"{f.n:,}",
        **{k: words.number(getattr(f, k).value) for k in ("seen", "fresh", "gap")},
        **{f"{k}_interval": words.interval(getattr(f, k)) for k in ("seen", "fresh", "gap")},
        "p": words.p_text(f.p_value),
        "p_adjusted": words.p_text(f.p_adjusted),
        "control": f.control.rstrip("."),
        "control_gap": "" if f.control_gap is None else words.number(f.control_gap.value),
        "control_interval": "" if f.control_gap is None else words.interval(f.control_gap),
        "seen_is": clean(words.arm_names(f)[0]),
        "fresh_is": clean(words.arm_names(f)[1]),
        "details": [
            (k.replace("_", " "), clean(_short(v)))
            for k, v in f.details.items()
            if k not in ("seen_is", "fresh_is")
        ],
        "evidence": _evidence(f.name, f.evidence),
    }


def _audit(report: Report, name: str) -> dict[str, Any]:
    info = report.meta.get("audits", {}).get(name, {})
    mine = [f for f in report.findings if f.audit == name]
    verdicts = [f.verdict() for f in mine]
    done, asked = info.get("n_done"), info.get("n_probes")
    config = {k: v for k, v in info.get("config", {}).items() if v is not None}
    return {
        "id": "audit-" + _slug(name),
        "name": name,
        "title": info.get("title", name),
        "claim": info.get("claim", ""),
        "control": info.get("control", ""),
        "source": info.get("source", ""),
        "asked": "" if asked is None else f"{done:,} of {asked:,} answered",
        "config": clean(", ".join(f"{k} {_short(v)}" for k, v in config.items())),
        "counts": [(v, verdicts.count(v)) for v in ("memorised", "not shown", "no verdict") if v in verdicts],
        "open": "memorised" in verdicts,
        "findings": [_finding(f) for f in mine],
    }  # fmt: skip


def _evidence(name: str, rows: Sequence[Evidence], prefix: str = "arm") -> dict[str, Any] | None:
    if not rows:
        return None
    return {
        "id": f"{prefix}-{_slug(name)}",
        "name": name,
        **{arm: [_card(e) for e in rows if e.arm == arm] for arm in ("seen", "fresh")},
    }


def _card(e: Evidence) -> dict[str, Any]:
    safe = need("markupsafe", "audit").Markup
    scored_only = not e.produced and not e.expected
    left, right, share = marked(e.expected, e.produced)
    if share < 0.08 or not e.produced:  # too little in common for marks to say anything
        left, right = plain(e.expected), plain(e.produced)
    tail = clean(e.prompt[-240:])
    return {
        "arm": e.arm,
        "id": clean(e.id),
        "score": "" if e.score is None else words.number(e.score),
        "note": clean(e.note),
        "image": e.image if _PNG.fullmatch(e.image) else "",
        "image_alt": clean(e.prompt[:200]),
        "prompt": safe(plain(e.prompt)),
        "long_prompt": len(e.prompt) > _LONG_PROMPT,
        "prompt_tail": "\u2026 " + tail.split(" ", 1)[-1],
        "scored_only": scored_only,
        "expected": safe(left),
        "produced": safe(right),
        "match": ""
        if not (e.expected and e.produced)
        else f"{100 * share:.0f}\u202f% of the expected text",
    }


def _short(value: Any) -> str:
    """A JSON value as a person reads it."""
    if value is None:
        return "\u2013"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return words.number(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, list):
        shown = ", ".join(map(_short, value[:24]))
        return shown + (f", \u2026 ({len(value)} in all)" if len(value) > 24 else "")
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_short(v)}" for k, v in value.items())
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 400 else text[:400] + "\u2026"


def _self_test(test: SelfTest, safe: Any) -> dict[str, Any]:
    rows = test.rows()
    groups = []
    for unit in dict.fromkeys(_some(r).unit for r in rows):
        mine = [r for r in rows if _some(r).unit == unit]
        values = [
            x for r in mine for f in _four(r) if f for x in (f.gap.low, f.gap.value, f.gap.high)
        ]
        scale = Scale.over(values, must=(0.0,))
        groups.append(
            {
                "unit": words.unit_name(unit)[0],
                "meaning": words.unit_name(unit)[1],
                "axis": safe(axis_svg(scale)),
                "rows": [
                    _self_test_row(r)
                    | {
                        "svg": safe(
                            lanes_svg(
                                [
                                    ("planted", r.base_planted, r.planted),
                                    ("held", r.base_held, r.held),
                                ],
                                scale,
                                f"{r.name}: {r.reason}",
                            )
                        )
                    }
                    for r in mine
                ],
            }
        )
    meta = test.meta
    facts = [
        ("Items planted of each kind", _short(meta.get("n", ""))),
        ("Texts trained on", _short(meta.get("texts", ""))),
        ("Training took", words.duration(meta.get("training_s"))),
        ("All of it took", words.duration(meta.get("duration_s"))),
    ]
    blocks = [
        _evidence(r.name, r.planted.evidence, "planted") for r in rows if r.planted is not None
    ]
    return {
        "passed": test.passed,
        "reason": test.reason,
        "groups": groups,
        "rows": [_self_test_row(r) for r in rows],
        "facts": [(k, v) for k, v in facts if v],
        "evidence": [b for b in blocks if b],
    }


def _four(r: SelfTestRow) -> tuple[Finding | None, ...]:
    return r.base_planted, r.base_held, r.planted, r.held


def _some(r: SelfTestRow) -> Finding:
    return next(f for f in _four(r) if f is not None)


def _self_test_row(r: SelfTestRow) -> dict[str, Any]:
    def gap(f: Finding | None) -> str:
        return "\u2013" if f is None else words.number(f.gap.value)

    labels = ("Base, planted", "Base, held back", "Tuned, planted", "Tuned, held back")
    kind, label = {
        True: ("good", "as it should be"),
        False: ("bad", "not as it should be"),
        None: ("no-verdict", "not judged"),
    }[r.ok]
    return {
        "name": r.name,
        "audit": r.name.split("/", 1)[0],
        "metric": r.name.split("/", 1)[-1],
        "kind": kind,
        "label": label,
        "reason": r.reason,
        **{k: gap(getattr(r, k)) for k in ("base_planted", "base_held", "planted", "held")},
        "cells": [
            {
                "label": text,
                "gap": gap(f),
                "interval": "" if f is None else words.interval(f.gap),
                "p": "\u2013" if f is None else words.p_text(f.p_adjusted if f.p_adjusted is not None else f.p_value),
            }
            for text, f in zip(labels, _four(r), strict=True)
        ],
    }  # fmt: skip
