"""Does the model recall published numbers? Dates before its cutoff against dates after it.

Source: Lopez-Lira, Tang, Zhu, "The Memorization Problem: Can We Trust LLMs' Economic Forecasts?",
arXiv 2504.14765. Every score is a lower bound: a recall test that finds something proves
memorisation, one that finds nothing proves nothing (their Remark 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from byheart.audits._economic import items as _items
from byheart.audits._economic import judge as _judge
from byheart.audits._economic import prompts as _prompts
from byheart.audits._economic.anonymise import Anonymiser, Masked
from byheart.audits._economic.embedding import EmbeddingRecall, embedding_recall
from byheart.audits._economic.lap import Lookahead, lookahead_propensity, recall_propensity
from byheart.audits._economic.metrics import (
    Gap,
    answer_rate,
    directional_accuracy,
    exact,
    mae,
    mape,
    me,
    mpe,
    naive_forecasts,
    recall_gap,
    threshold_accuracy,
    within,
)
from byheart.audits._economic.parse import Answer, parse_value
from byheart.audits._economic.planting import invented
from byheart.audits._economic.prompts import date_words
from byheart.audits._economic.report import RecallReport, recall
from byheart.audits._economic.texts import Texts, dating, unmask
from byheart.core.ask import Facts, Sample
from byheart.core.audit import Audit, Conversation, Planting, Probe, Row
from byheart.core.errors import DataError, UsageError
from byheart.core.finding import Finding
from byheart.data.series import Series, load, month_index, registry, resolve

__all__ = [
    "PROBES",
    "Anonymiser",
    "Answer",
    "EconomicRecall",
    "EmbeddingRecall",
    "Gap",
    "Lookahead",
    "Masked",
    "RecallProbe",
    "RecallReport",
    "Series",
    "Texts",
    "answer_rate",
    "date_words",
    "dating",
    "directional_accuracy",
    "embedding_recall",
    "exact",
    "lap",
    "load",
    "lookahead_propensity",
    "mae",
    "mape",
    "me",
    "mpe",
    "naive_forecasts",
    "parse_value",
    "recall",
    "recall_gap",
    "recall_propensity",
    "registry",
    "threshold_accuracy",
    "unmask",
    "within",
]

PROBES = ("value", "value_context", "boundary", "direction", "scan", "dating", "unmask")
"""Probes that are conversations; `embedding_recall` is the eighth."""


@dataclass(frozen=True)
class EconomicRecall(Audit):
    """Recall of dated economic numbers, before the model's cutoff against after it.

    Args:
        series: Keys of `byheart.data.series.registry`, paths of ``date,value`` files, or `Series`.
            The defaults come from the package `cpi`, the one offline source that reaches past
            today's cutoffs.
        csv: A file of one's own (or several); replaces `series`.
        gaps: ``"error"`` refuses a `csv` with missing values or periods, ``"skip"`` leaves them out.
        probe: ``value``, ``value_context``, ``boundary``, ``direction``, ``scan`` (all dates
            instead of a sample); with `items` also ``dating`` and ``unmask``.
        cutoff: Last month the model may have read, ``YYYY-MM``. The default is the end of
            SmolLM2's training data (not published to the month; 2024-06 is our reading).
        embargo: Fresh dates begin this many months after the cutoff, so that a cutoff that is
            wrong by a little does not spoil the fresh arm.
        start: First date asked about (paper: 1990-01).
        boundary: Artificial date of the ``boundary`` probe (paper: 2010).
        within: Tolerances: shares of the level; for rates 0.01 is one percentage point. The first
            is tested, the others are shown. Exact (0) is always tested and need not be named.
        threshold: ``"median"`` of the values before the cutoff, ``"previous"``, or a number.
        match: ``"first"`` scores against `Series.values`; ``"any_vintage"`` against the nearest
            of the vintages that the series carries.
        context: Dates told beforehand in ``value_context`` (paper: two months).
        confidence: Ask for JSON with a confidence, as the paper does, instead of the bare number;
            costs some fifteen tokens a reply.
        dates: Ask only about these dates (of any series); empty asks about all. A pair
            ``"SERIES NAME|DATE"`` restricts one series.
        items: For ``dating`` and ``unmask``: a JSON-lines file, see `Texts.load`.
        per_arm: Dates asked in each arm where no limit is given.
        max_tokens: Length of a reply (small models repeat the question first); more is given where
            a confidence, a direction or a text is asked about.

    >>> audit = EconomicRecall(series=("us_cpi_nsa",))
    >>> [p.id for p in audit.probes(limit=1)]
    ['us_cpi_nsa:1998-08', 'us_cpi_nsa:2026-06']
    """

    name: ClassVar[str] = "economic-recall"
    title: ClassVar[str] = "Recall of economic data"
    claim: ClassVar[str] = (
        "asked for a published number by name and date alone, the model gives it for dates before "
        "its cutoff and not after: back-tests on those dates measure recall"
    )
    control: ClassVar[str] = (
        "the same question for dates after the cutoff, and forecasters without recall (last value "
        "carried forward, mean, trend, best constant) on the same dates"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    self_test_items: ClassVar[int] = 12  # below 12 months there is no verdict
    source: ClassVar[str] = "Lopez-Lira, Tang, Zhu 2025, arXiv 2504.14765"

    series: tuple[Any, ...] = ("us_cpi_nsa", "us_cpi_core_sa")
    csv: str | Path | tuple[str | Path, ...] | None = None
    gaps: str = "error"
    probe: str = "value"
    cutoff: str = "2024-06"
    embargo: int = 6
    start: str = "1990-01"
    boundary: str = "2010-01"
    within: tuple[float, ...] = (0.01, 0.001, 0.05, 0.1)
    threshold: str | float = "median"
    match: str = "first"
    context: int = 2
    confidence: bool = False
    dates: tuple[str, ...] = ()
    items: str | Path | None = None
    per_arm: int = 30
    max_tokens: int = 32

    def __post_init__(self) -> None:
        if isinstance(self.series, str | Path | Series):
            object.__setattr__(self, "series", (self.series,))
        if isinstance(self.within, int | float):
            object.__setattr__(self, "within", (float(self.within),))
        for label in ("series", "within", "dates"):
            object.__setattr__(self, label, tuple(getattr(self, label)))
        if self.probe not in PROBES:
            hint = "; call embedding_recall" if self.probe == "embedding" else ""
            raise UsageError(f"probe is one of {', '.join(PROBES)}, got {self.probe!r}{hint}")
        if self.match not in ("first", "any_vintage"):
            raise UsageError(f"match is 'first' or 'any_vintage', got {self.match!r}")
        if isinstance(self.threshold, str) and self.threshold not in ("median", "previous"):
            raise UsageError(
                f"threshold is 'median', 'previous' or a number, got {self.threshold!r}"
            )
        if not all(0 <= x < float("inf") for x in self.within):
            raise UsageError(f"within holds tolerances from 0 (exact) upwards, got {self.within}")
        object.__setattr__(self, "within", tuple(dict.fromkeys(x for x in self.within if x > 0)))
        if self.embargo < 0 or self.per_arm < 1:
            raise UsageError(
                f"embargo must be >= 0 and per_arm >= 1, got {self.embargo}, {self.per_arm}"
            )
        for date in (self.cutoff, self.start, self.boundary):
            month_index(date)
        if self.probe == "boundary" and month_index(self.boundary) >= month_index(self.cutoff):
            raise UsageError(f"boundary {self.boundary} must lie before the cutoff {self.cutoff}")
        if self.textual and self.items is None:
            raise UsageError(
                f"probe={self.probe!r} needs items=, a JSON-lines file of texts with their dates"
            )

    @property
    def textual(self) -> bool:
        """Whether the probe asks about texts and not about series."""
        return self.probe in ("dating", "unmask")

    def resolved(self) -> list[tuple[str, Series]]:
        """Key and series of everything asked about.

        Raises:
            DataError, MissingExtra, UnknownName: If one cannot be had.
        """
        chosen = self.series
        if self.csv is not None:
            chosen = (self.csv,) if isinstance(self.csv, str | Path) else tuple(self.csv)
            chosen = tuple(Path(p) for p in chosen)
        if not chosen:
            raise UsageError("series is empty: name at least one")
        loaded = (
            resolve(chosen)
            if self.csv is None
            else [Series.from_csv(p, gaps=self.gaps) for p in chosen]
        )
        keys = [
            s.name if isinstance(c, Series) else Path(c).stem if isinstance(c, Path) else str(c)
            for c, s in zip(chosen, loaded, strict=True)
        ]
        if len(set(keys)) != len(keys):
            raise UsageError(f"series are named twice: {', '.join(keys)}")
        return list(zip(keys, loaded, strict=True))

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """Dates of both arms, spread evenly over each; see `Audit.probes`.

        Raises:
            DataError: If no series has values both before and after the cutoff.
        """
        if self.textual:
            return _items.text_probes(self, Texts.load(self.items), seed=seed, limit=limit)
        return _items.series_probes(self, seed=seed, limit=limit)

    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        """One question, greedy, a short reply."""
        prefix = _prompts.PREFIX[self.probe]
        system = _prompts.boundary_text(self.boundary) if self.probe == "boundary" else ""
        prompt = _prompts.frame(probe.prompt, chat=facts.chat, system=system, prefix=prefix)
        longer = 32 if self.textual else 16 if self.confidence or self.probe == "direction" else 0
        replies = yield [Sample(prompt, max_tokens=self.max_tokens + longer)]
        text = replies[0][0].text  # type: ignore[index]
        reply = text if facts.chat else prefix + text
        return _items.score_reply(self, probe, reply)

    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        """Contrast hits before and after the cutoff, against forecasters without recall."""
        return _judge.findings(self, rows, seed=seed)

    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """Invented series: some dates planted, some held back, later ones fresh.

        Raises:
            UsageError: If `n` is below 2 or the probe is about texts.
        """
        if self.textual:
            raise UsageError(f"probe={self.probe!r} has no planted twin; plant with probe='value'")
        if n < 2:
            raise UsageError(f"n must be at least 2, got {n}")
        material = invented(seed=seed, n=n)
        base = replace(
            self, series=material.series, csv=None, probe="value", cutoff=material.cutoff,
            start=material.start, embargo=0, boundary=material.start, per_arm=n, confidence=False,
            threshold="median",
        )  # fmt: skip
        audit = replace(base, dates=material.planted + material.fresh)
        held = replace(base, dates=material.held + material.fresh)
        texts = []
        for probe in audit.probes(seed=seed):
            if probe.arm == "seen":
                texts.append((probe.prompt, probe.target))
        if len(texts) != n:
            raise DataError(f"drew {len(texts)} planted items, {n} were asked for")
        return Planting(audit, held, tuple(texts))


RecallProbe = EconomicRecall
"""The name that the paper's users know the probe by."""

lap = lookahead_propensity
"""Short for `lookahead_propensity`."""
