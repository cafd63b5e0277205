"""Probes about texts: when was this published, and which company is behind the placeholders."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from byheart.audits._economic import prompts
from byheart.audits._economic.parse import parse_object, said_date
from byheart.core._json_lines import read_json_lines
from byheart.core.ask import Sample
from byheart.core.errors import DataError, UsageError
from byheart.core.model import load as load_model
from byheart.data.series import month_index

__all__ = ["Texts", "dating", "same_company", "score_dating", "score_unmask", "unmask"]


@dataclass(frozen=True)
class Texts:
    """Dated texts: headlines for ``dating``, anonymised transcripts for ``unmask``.

    Attributes:
        items: Each with ``id``, ``text``, ``date`` (``YYYY-MM`` or finer), and for ``unmask``
            ``company``, perhaps ``ticker``, ``year`` and ``quarter`` (told from the date if
            missing).
        source: Where they come from.
    """

    items: tuple[dict[str, Any], ...]
    source: str = "texts"

    @classmethod
    def of(cls, records: Sequence[Mapping[str, Any]], source: str = "texts") -> Texts:
        """Check and complete records.

        Raises:
            DataError: Names the record and what it lacks.
        """
        items, seen = [], set()
        for number, record in enumerate(records, 1):
            where = f"{source}, record {number}"
            text, date = record.get("text"), record.get("date")
            if not isinstance(text, str) or not text.strip():
                raise DataError(f"{where}: 'text' is missing or empty")
            if not isinstance(date, str):
                raise DataError(f"{where}: 'date' is missing; write YYYY-MM or YYYY-MM-DD")
            try:
                month = month_index(date)
            except UsageError as error:
                raise DataError(f"{where}: {error}") from error
            item = dict(record)
            item.setdefault("id", f"text-{number}")
            item.setdefault("year", month // 12)
            item.setdefault("quarter", month % 12 // 3 + 1)
            if str(item["id"]) in seen:
                raise DataError(f"{where}: the id {item['id']!r} occurs twice")
            seen.add(str(item["id"]))
            items.append(item)
        if not items:
            raise DataError(f"{source} holds no texts")
        return cls(tuple(items), source)

    @classmethod
    def load(cls, path: str | Path | None) -> Texts:
        """Read JSON lines.

        Raises:
            DataError: Names the line that cannot be used.
        """
        return cls.of([record for _, _, record in read_json_lines(str(path))], str(path))


_LEGAL = re.compile(
    r"\b(?:inc|incorporated|corp|corporation|company|co|ltd|limited|plc|ag|se|sa|nv|llc|group|"
    r"holdings?|platforms|the)\b\.?",
    re.IGNORECASE,
)


def same_company(a: str, b: str) -> bool:
    """Whether two names mean one company, legal forms aside.

    >>> same_company("Apple Inc.", "apple"), same_company("Meta Platforms", "Alphabet")
    (True, False)
    """
    plain = [_bare(x) for x in (a, b)]
    return bool(plain[0]) and plain[0] == plain[1]


def _bare(name: str) -> str:
    """A company's name without accents, legal forms, punctuation and "and"."""
    letters = unicodedata.normalize("NFKD", name.lower().replace("&", " and "))
    plain = "".join(c for c in letters if not unicodedata.combining(c))
    plain = re.sub(r"(?<=\b\w)\.", "", plain)  # s.a., n.v.
    return " ".join(w for w in re.findall(r"[a-z0-9]+", _LEGAL.sub(" ", plain)) if w != "and")


_QUARTERS = {"first": 1, "second": 2, "third": 3, "fourth": 4}


def _quarter(value: Any) -> int | None:
    """1 to 4 from ``3``, ``"Q3 2021"``, ``"2021-Q3"``, ``"3Q21"``, ``"third quarter"``."""
    text = str(value).lower()
    match = re.search(r"\bq([1-4])\b|\b([1-4])(?:q|st|nd|rd|th)|^\W*([1-4])(?:\.0)?\W*$", text)
    if match:
        return int(next(filter(None, match.groups())))
    return next((n for word, n in _QUARTERS.items() if re.search(rf"\b{word}\b", text)), None)


def score_dating(
    said: tuple[int | None, int | None], meta: Mapping[str, Any]
) -> tuple[dict[str, float | None], str]:
    """Year accuracy, year-and-month accuracy, and a constant's hits in the same arm."""
    year, month = divmod(int(meta["month"]), 12)
    common = str(meta.get("common", {}).get("date", ""))[:7]
    values: dict[str, float | None] = {
        "answered": float(said[0] is not None),
        "year": float(said[0] == year),
        "year_month": float(said == (year, month + 1)),
    }
    if common:
        values["year/constant"] = float(str(meta["common"]["year"]) == str(year))
        values["year_month/constant"] = float(common == f"{year:04d}-{month + 1:02d}")
    return values, "" if said[0] is not None else "no year in the reply"


def score_unmask(
    found: Mapping[str, Any] | None, reply: str, meta: Mapping[str, Any]
) -> tuple[dict[str, float | None], str]:
    """The four accuracies of the sheet: company, year, quarter, quarter and year."""
    said = {str(k).lower(): v for k, v in (found or {}).items()}
    company = str(said.get("company") or "")
    ticker = str(said.get("ticker") or "").strip().upper().lstrip("$")
    names = [str(meta.get("company", "")), *map(str, meta.get("aliases", ()))]
    known = str(meta.get("ticker") or "").upper()
    right = any(same_company(company, n) for n in names if n)
    right = right or bool(known and known in (ticker, company.strip().upper()))
    if not found:
        words = f" {_bare(reply)} "
        right = any(_bare(n) and f" {_bare(n)} " in words for n in names)
        right = right or bool(len(known) > 2 and re.search(rf"\b{re.escape(known)}\b", reply))
    year = _integer(said.get("year"))
    quarter = _quarter(said.get("quarter", None if found else reply))
    if year is None:
        year = said_date(reply)[0]
    if company.strip().lower() in ("unknown", "none", "n/a", "null", "not known"):
        company = ""
    is_year = year == _integer(meta.get("year"))
    is_quarter = quarter == _integer(meta.get("quarter"))
    values: dict[str, float | None] = {
        "answered": float(bool(company or ticker or year or right)),
        "company": float(right),
        "year": float(is_year),
        "quarter": float(is_quarter),
        "quarter_year": float(is_year and is_quarter),
    }
    common = meta.get("common")
    if common:
        same = {k: str(common[k]) == str(meta.get(k, "")) for k in ("company", "year", "quarter")}
        values |= {f"{k}/constant": float(v) for k, v in same.items()}
        values["quarter_year/constant"] = float(same["year"] and same["quarter"])
    return values, ""


def _integer(value: Any) -> int | None:
    match = re.search(r"\d+", str(value)) if value is not None else None
    return int(match[0]) if match else None


def dating(
    texts: Sequence[Mapping[str, Any]] | Texts, *, model: Any, max_tokens: int = 24
) -> list[dict[str, Any]]:
    """Probe 3: ask for year and month of headlines.

    Args:
        texts: Records with ``text`` and ``date``.
        model: What `byheart.load` takes.
        max_tokens: Length of a reply.

    Returns:
        One record a text: ``id``, ``date``, ``reply``, and the hits ``year`` and ``year_month``.
    """
    return _ask(texts, model, "dating", max_tokens)


def unmask(
    texts: Sequence[str],
    answers: Sequence[Mapping[str, Any]],
    *,
    model: Any,
    max_tokens: int = 64,
) -> list[dict[str, Any]]:
    """Probe 6: ask which company and quarter an anonymised text is about.

    Args:
        texts: Anonymised texts; see `Anonymiser`.
        answers: For each its ``company``, perhaps ``ticker``, and ``date`` or ``year``/``quarter``.
        model: What `byheart.load` takes.
        max_tokens: Length of a reply.

    Returns:
        One record a text: ``id``, ``reply``, and the hits ``company``, ``year``, ``quarter``,
        ``quarter_year``.

    Raises:
        UsageError: If texts and answers differ in number.
    """
    if len(texts) != len(answers):
        raise UsageError(f"{len(texts)} texts, {len(answers)} answers")
    records = []
    for text, answer in zip(texts, answers, strict=True):
        record = {"text": text, **answer}
        if "date" not in record and "year" in record:
            record["date"] = f"{record['year']}-Q{record.get('quarter', 4)}"
        records.append(record)
    return _ask(records, model, "unmask", max_tokens)


def _ask(
    texts: Sequence[Mapping[str, Any]] | Texts, model: Any, probe: str, max_tokens: int
) -> list[dict[str, Any]]:
    checked = texts if isinstance(texts, Texts) else Texts.of(texts)
    loaded = load_model(model)
    loaded.require("sample", purpose=probe)
    question = prompts.dating_question if probe == "dating" else prompts.unmask_question
    chat, prefix = loaded.chat, prompts.PREFIX[probe]
    asks = [
        Sample(prompts.frame(question(t["text"]), chat=chat, prefix=prefix), max_tokens=max_tokens)
        for t in checked.items
    ]
    out = []
    for item, reply in zip(checked.items, loaded.sample(asks), strict=True):
        text = reply[0].text if chat else prefix + reply[0].text
        meta = {**item, "month": month_index(item["date"])}
        scored = (
            score_dating(said_date(text), meta)
            if probe == "dating"
            else score_unmask(parse_object(text), text, meta)
        )
        out.append({"id": item["id"], "date": item["date"], "reply": text, **scored[0]})
    return out
