"""Judges retrieval on LoCoMo: which share of the turns that hold the answer is found.

    recall@k = |evidence among the first k| / |evidence|, averaged over questions, percent

One turn is one unit, the corpus is the turns of one conversation, the query is the question as it
stands. With a model, its answers from the first turns found are scored by the F1 of token sets
(A-MEM's evaluation); in category 5 the reference is the *trap*, so there lower is better.

Keys are used as published. About 99 of the full set's 1,540 questions of categories 1 to 4 have a
wrong or unsupported one (upstream issues), so that a perfect system would reach about 93.6 %.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core._files import write_atomically
from byheart.core.errors import UnknownName, UsageError
from byheart.core.finding import Estimate
from byheart.core.model import Model
from byheart.core.stats import bootstrap, paired_bootstrap
from byheart.notes._locomo_answers import Answers
from byheart.notes._locomo_data import CATEGORIES, Conversation, Question, read, token_f1
from byheart.notes._locomo_methods import METHODS, Method, method
from byheart.notes.search import Encoder

for _rows_of in ("linked", "thoughts"):
    import_module(f"byheart.notes._locomo_{_rows_of}")  # registers its rows

__all__ = ["CUTS", "GROUPS", "METHODS", "Locomo", "Row", "bench", "method", "read", "token_f1"]

CUTS = (1, 5, 10, 20)
"""The k of recall@k."""

GROUPS: dict[str, tuple[int, ...]] = {str(c): (c,) for c in CATEGORIES} | {
    "1-4": (1, 2, 3, 4),
    "all": (1, 2, 3, 4, 5),
}
"""Groups of categories that are averaged over."""


@dataclass(frozen=True)
class Row:
    """One question under one method.

    Args:
        conversation: Its name.
        question: The question.
        category: 1 to 5, as in the file.
        method: The row of the table.
        evidence: Ids of the turns that hold the answer.
        found: Ids of the first 20 turns found.
        recall: Percent at each of `CUTS`.
        expected: The key's answer (the trap in category 5).
        answer: What the model said; None without a model.
        f1: Its F1 in percent; None without a model.
    """

    conversation: str
    question: str
    category: int
    method: str
    evidence: tuple[str, ...]
    found: tuple[str, ...]
    recall: tuple[float, ...]
    expected: str
    answer: str | None = None
    f1: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        out = {name: getattr(self, name) for name in self.__dataclass_fields__}
        out["recall"] = dict(zip(map(str, CUTS), self.recall, strict=True))
        return out


@dataclass(frozen=True)
class Locomo:
    """What was measured.

    Args:
        rows: Every question under every method.
        dropped: Questions left out because no turn is named as evidence.
        encoder: Name of the encoder, "" without one.
        model: Name of the model that answered, "" without one.
        seed: Of the resampling.
    """

    rows: list[Row] = field(repr=False)
    dropped: int
    encoder: str
    model: str
    seed: int = 0

    @property
    def methods(self) -> list[str]:
        """Names of the rows that were measured, in the order of the table."""
        return list(dict.fromkeys(r.method for r in self.rows))

    def values(self, method: str, group: str = "1-4", what: int | str = 10) -> np.ndarray:
        """`[n]` percent for each question of a group: recall at a cut, or ``"f1"``."""
        rows = [r for r in self.rows if r.method == method and r.category in GROUPS[group]]
        if what == "f1":
            return np.array([r.f1 for r in rows if r.f1 is not None])
        return np.array([r.recall[CUTS.index(int(what))] for r in rows])

    def estimate(self, method: str, group: str = "1-4", what: int | str = 10) -> Estimate | None:
        """Mean and 95 % interval over questions; None where there are none."""
        x = self.values(method, group, what)
        return bootstrap(x, bounded=(0, 100), seed=self.seed) if len(x) else None

    def difference(
        self, method: str, other: str, group: str = "1-4", what: int | str = 10
    ) -> Estimate | None:
        """Paired difference of two methods over the same questions, in points."""
        a, b = self.values(method, group, what), self.values(other, group, what)
        return paired_bootstrap(a, b, bounded=(0, 100), seed=self.seed) if len(a) else None

    def to_dict(self) -> dict[str, Any]:
        """All figures, without the single questions."""
        kinds: list[int | str] = [*CUTS, *(["f1"] if self.model else [])]

        def figures(of: Callable[[str, int | str], Estimate | None]) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for group in GROUPS:
                # an F1 over all would add answers to traps, where lower is better
                told = [w for w in kinds if (group, w) != ("all", "f1")]
                found = {str(w): e for w in told if (e := of(group, w)) is not None}
                if found:
                    out[group] = {k: [e.value, e.low, e.high] for k, e in found.items()}
            return out

        first = self.methods[0]
        return {
            "benchmark": "locomo",
            "keys": "as published, uncorrected; ceiling about 93.6 % over categories 1-4",
            "categories": {str(k): v for k, v in CATEGORIES.items()},
            "questions": {g: len(self.values(first, g)) for g in GROUPS},
            "dropped": self.dropped,
            "conversations": list(dict.fromkeys(r.conversation for r in self.rows)),
            "encoder": self.encoder,
            "model": self.model,
            "seed": self.seed,
            "results": {
                m: figures(lambda g, w, m=m: self.estimate(m, g, w))  # type: ignore[misc]
                for m in self.methods
            },
            "against": {
                f"{a} - {b}": figures(lambda g, w, a=a, b=b: self.difference(a, b, g, w))  # type: ignore[misc]
                for a, b in self.contrasts()
            },
        }

    def contrasts(self) -> list[tuple[str, str]]:
        """Pairs that are compared: every row that is no baseline with the best plain hybrid."""
        have = self.methods
        bar = next((b for b in ("hybrid+date", "hybrid", "bm25+date", "bm25") if b in have), None)
        plain = ("bm25", "dense", "hybrid")
        return [(m, bar) for m in have if bar and not m.startswith(plain)]

    def save(self, path: str | Path) -> None:
        """Write every question under every method as a line of JSON.

        Raises:
            OutputError: It cannot be written.
        """
        lines = (json.dumps(r.to_dict(), ensure_ascii=False) for r in self.rows)
        write_atomically(Path(path), "".join(line + "\n" for line in lines))


class _Memo:
    """An encoder that embeds a text once, however many methods ask."""

    def __init__(self, encode: Encoder) -> None:
        self._encode = encode
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, texts: list[str]) -> np.ndarray:
        fresh = [t for t in dict.fromkeys(texts) if t not in self._known]
        if fresh:
            self._known.update(zip(fresh, self._encode(fresh), strict=True))
        return np.stack([self._known[t] for t in texts])


def bench(
    data: str | Path,
    *,
    methods: Sequence[str] | None = None,
    encode: Encoder | None = None,
    model: Model | None = None,
    k: int = 10,
    limit: int | None = None,
    seed: int = 0,
    answers: str | Path | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Locomo:
    """Run methods over LoCoMo.

    Args:
        data: Folder or file of conversations.
        methods: Names in `METHODS`; None takes all that the encoder allows.
        encode: Texts to unit vectors; None leaves out the methods that embed.
        model: Answers each question from the first k turns found, if given.
        k: Turns the model is shown.
        limit: At most so many questions of each conversation, the first ones.
        seed: Of the intervals.
        answers: File that keeps the model's answers as they come; what is in it is not asked again.
        progress: Called with what is going on and the share done.

    Raises:
        DataError: The data cannot be read.
        UsageError: An unknown method, one that needs an encoder that is not there, or k or limit
            below 1.
    """
    for name, number in (("k", k), ("limit", limit)):
        if number is not None and number < 1:
            raise UsageError(f"{name} must be at least 1, got {number}")
    chosen = _chosen(methods, encode)
    if model is not None:
        model.require("sample", purpose="answering questions")
    talks = read(data)
    if not any(t.questions for t in talks):
        raise UsageError(f"no question in {data} names a turn as evidence")
    memo = None if encode is None else _Memo(encode)
    total = len(chosen) * sum(len(t.questions[:limit]) for t in talks)
    rows: list[Row] = []
    ask = None if model is None else Answers(model, answers)

    def tell(what: str, more: int = 0) -> None:
        if progress:
            progress(what, (len(rows) + more) / total)

    for m in chosen:
        for talk in talks:
            tell(f"{m.name}: indexing {talk.name}")
            ranker = m.build(talk, memo if m.embeds else None)
            asked = [(q, ranker(q.text)) for q in talk.questions[:limit]]
            told: Sequence[str | None] = [None] * len(asked)
            if ask is not None:
                shown = [(q, found[:k]) for q, found in asked]
                told = ask(talk, shown, lambda n, at=f"{m.name}: {talk.name}": tell(at, n))  # type: ignore[misc]
            rows += [_row(m, talk, q, found, a) for (q, found), a in zip(asked, told, strict=True)]
            tell(f"{m.name}: {talk.name}")
    dropped = sum(t.dropped for t in talks)
    name = "" if encode is None else str(getattr(encode, "name", type(encode).__name__))
    return Locomo(rows, dropped, name, "" if model is None else model.name, seed)


def _chosen(methods: Sequence[str] | None, encode: Encoder | None) -> list[Method]:
    if methods is None:
        return [m for m in METHODS.values() if encode is not None or not m.embeds]
    for name in methods:
        if name not in METHODS:
            raise UnknownName("method", name, METHODS)
        if METHODS[name].embeds and encode is None:
            raise UsageError(f"{name} embeds, and no encoder is given")
    if not methods:
        raise UsageError("no method is named")
    return [METHODS[name] for name in dict.fromkeys(methods)]


def _row(
    m: Method, talk: Conversation, question: Question, found: list[int], answer: str | None
) -> Row:
    gold = set(question.evidence)
    first = found[: CUTS[-1]]
    if len(set(first)) != len(first):
        raise UsageError(f"{m.name} found the same turn twice for {question.text!r}")
    return Row(
        talk.name,
        question.text,
        question.category,
        m.name,
        tuple(talk.turns[i].id for i in question.evidence),
        tuple(talk.turns[i].id for i in first),
        tuple(100 * len(gold.intersection(first[:k])) / len(gold) for k in CUTS),
        question.answer,
        answer,
        None if answer is None else 100 * token_f1(answer, question.answer),
    )
