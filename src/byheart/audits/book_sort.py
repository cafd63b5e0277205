"""Which of two segments of a book came first? With the text in the prompt, and from memory.

Sequence order recall (SORT; Pink et al., "Assessing Episodic Memory in LLMs with Sequence Order
Recall Tasks", arXiv 2410.08133): models that answer well with the text before them stay near chance
where the book was only trained on. Books (text, EPUB), pairs, prompts, scorers and exports stand
alone and are exported here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from byheart.audits._sort import judge as _judge
from byheart.audits._sort import material as _material
from byheart.audits._sort.books import Book, ends_sentence, read_book, read_books
from byheart.audits._sort.epub import read_epub
from byheart.audits._sort.export import FIELDS, read_pairs, record, strays, to_datasets, to_jsonl
from byheart.audits._sort.judge import SCORES, table
from byheart.audits._sort.material import chronicle
from byheart.audits._sort.pairs import LENGTHS, SEGMENTS, Pair, bins_of, check_sizes, make_pairs
from byheart.audits._sort.prompts import (
    CONDITIONS,
    LABELS,
    PLAIN,
    SHORT,
    TASKS,
    Wording,
    as_text,
    messages,
    read_wording,
    training_texts,
)
from byheart.audits._sort.reference import book_seed
from byheart.audits._sort.scoring import (
    VARIANTS,
    Choice,
    debiased,
    from_logprobs,
    lenient_answer,
    strict_answer,
)
from byheart.audits._sort.tuning import TuningPoint, fine_tune, study_texts, tuning_study
from byheart.audits._sort.variants import (
    KNOWN,
    VALIDATION,
    WORDINGS,
    Chosen,
    choose,
    choose_wording,
    validation_pairs,
)
from byheart.core.ask import Ask, Completion, Facts, Prompt, Sample, Score, Scored
from byheart.core.audit import Audit, Conversation, Planting, Probe, Row
from byheart.core.errors import CapabilityError, DataError, UsageError, need
from byheart.core.finding import Evidence, Finding

if TYPE_CHECKING:
    from byheart.audits._sort.task import sort_scorer, sort_task

__all__ = [
    "CONDITIONS",
    "FIELDS",
    "LENGTHS",
    "PLAIN",
    "SCORES",
    "SEGMENTS",
    "SHORT",
    "WORDINGS",
    "Book",
    "BookSort",
    "Choice",
    "Chosen",
    "Pair",
    "TuningPoint",
    "Wording",
    "bins_of",
    "book_seed",
    "choose_wording",
    "chronicle",
    "debiased",
    "ends_sentence",
    "fine_tune",
    "from_logprobs",
    "lenient_answer",
    "make_pairs",
    "messages",
    "read_book",
    "read_books",
    "read_epub",
    "read_pairs",
    "read_wording",
    "record",
    "sort_scorer",
    "sort_task",
    "strays",
    "strict_answer",
    "study_texts",
    "table",
    "to_datasets",
    "to_jsonl",
    "training_texts",
    "tuning_study",
]

_HEADROOM = 48
"""Tokens for what a chat template adds and for the answer's first words."""


def __getattr__(name: str) -> Any:
    if name not in ("sort_scorer", "sort_task"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    need("inspect_ai", "audit")
    from byheart.audits._sort import task

    return getattr(task, name)


@dataclass(frozen=True)
class BookSort(Audit):
    """Pairs of segments of a book that the model may know, and of a twin that it cannot know.

    Every pair is asked in both orders, so that a liking for a label scores a half and no more.

    Args:
        texts: Books: ``.txt`` or ``.epub`` files, or folders of them. None takes the shipped
            passages, on which no verdict rests.
        fresh: Twins that the model cannot have read: unpublished, or newer than the model. Without
            them an invented chronicle stands in, and no verdict is given.
        exchangeable: Only reading tells `texts` and `fresh` apart (drawn by lot, or alike in author
            and kind); then the contrast from memory is judged.
        excerpt: Words of the excerpt that both segments are from (paper: 250 to 20,000).
        segment: Words of a segment (paper: 20 and 50).
        bins: Edges of the distance in words, ``"20,62,125"``; None takes the paper's.
        conditions: ``memory`` asks without the text, ``context`` puts the excerpt into the prompt.
        task: Which came ``"first"`` or ``"last"``.
        per_arm: Pairs an arm where no limit is given, each of an excerpt of its own.
        by: ``"probability"`` of the labels' tokens, ``"answer"`` as written; ``"auto"`` takes the
            first where the model tells it.
        scorer: Judged: ``"debiased"``, ``"lenient"`` or ``"strict"`` (the authors'); the others are
            shown beside it.
        wording: ``"plain"``, ``"short"``, one of the thirteen ``"v0"`` to ``"v12"``, or a JSON file of
            your own (see `Wording`). ``"best"`` takes, as the paper does, the one of the thirteen by
            which the model tells most with the text in the prompt, on excerpts that are not scored.
        validation: Excerpts on which ``"best"`` is chosen (paper: 10), a pair in every bin of each.
        max_tokens: Length of a written answer; models that think first need more.

    >>> audit = BookSort(conditions="memory")
    >>> [p.id for p in audit.probes(limit=1)]
    ['seen:pride-famous#0/117', 'fresh:pride-twin#0/117']
    """

    texts: Any = None
    fresh: Any = None
    exchangeable: bool = False
    excerpt: int = 250
    segment: int = 20
    bins: Any = None
    conditions: Any = CONDITIONS
    task: str = "first"
    per_arm: int = 24
    by: str = "auto"
    scorer: str = "debiased"
    wording: str = "plain"
    validation: int = VALIDATION
    max_tokens: int = 16
    chosen: tuple[str, ...] = field(default=(), repr=False)
    pairs: tuple[tuple[Pair, ...], tuple[Pair, ...]] = field(default=((), ()), repr=False)

    name: ClassVar[str] = "book-sort"
    title: ClassVar[str] = "Order recall (SORT)"
    claim: ClassVar[str] = (
        "The model tells from memory which of two segments of a book came first, more often than for "
        "a book that it cannot have read."
    )
    control: ClassVar[str] = (
        "a twin that the model cannot have read, the same questions with the text in the prompt, and "
        "every pair asked in both orders"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    source: ClassVar[str] = "Pink et al. 2024, arXiv 2410.08133"
    self_test_items: ClassVar[int] = 16

    def __post_init__(self) -> None:
        conditions = self.conditions
        conditions = conditions.split(",") if isinstance(conditions, str) else conditions
        object.__setattr__(self, "conditions", tuple(str(c).strip() for c in conditions))
        for label in ("texts", "fresh"):
            object.__setattr__(self, label, _paths(getattr(self, label)))
        object.__setattr__(self, "bins", _edges(self.bins))
        if not self.conditions or len(set(self.conditions)) != len(self.conditions):
            raise UsageError(f"conditions are named once each, got {self.conditions}")
        for condition in self.conditions:
            _one_of("a condition", condition, CONDITIONS)
        _one_of("task", self.task, TASKS)
        _one_of("by", self.by, ("auto", "probability", "answer"))
        _one_of("scorer", self.scorer, SCORES)
        for label, least in (("per_arm", 2), ("max_tokens", 1), ("validation", 1)):
            if getattr(self, label) < least:
                raise UsageError(f"{label} must be at least {least}, got {getattr(self, label)}")
        if self.texts is None and self.fresh is not None:
            raise UsageError("fresh twins are given without texts; name the books to audit too")
        check_sizes(self.excerpt, self.segment, self.bins)
        _ = self.words

    @property
    def words(self) -> Wording:
        """The wording's parts.

        Raises:
            DataError: If it is a file that cannot be used.
        """
        name = "plain" if self.wording == "best" else self.wording
        return KNOWN[name] if name in KNOWN else read_wording(name)

    def prepared(
        self,
        hold: Callable[[Audit, Sequence[Probe], str], Sequence[Row]],
        *,
        seed: int = 0,
        limit: int | None = None,
    ) -> Audit:
        """Choose a wording where ``"best"`` is asked for; see `Audit.prepared`.

        Raises:
            DataError: If the scored excerpts leave no room for others.
            UsageError: If there are no books to choose it on.
        """
        if self.wording != "best":
            return self
        if any(self.pairs) or self.texts is None:
            raise UsageError(
                "wording='best' is chosen on excerpts of your books; give texts, or name a wording"
            )
        scored = [Pair(**p.meta["pair"]) for p in self.probes(seed=seed, limit=limit)]
        pairs = validation_pairs(
            self.texts, self.fresh, scored, excerpt=self.excerpt, segment=self.segment,
            bins=self.bins, excerpts=self.validation, seed=seed,
        )  # fmt: skip
        best = choose(self, pairs, hold)
        return dataclasses.replace(self, wording=best.name, chosen=(best.told,))

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """One probe a pair, both arms in turn; see `Audit.probes`.

        Raises:
            DataError: If a book cannot be used or is too short for the distance asked about.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"limit must be at least 1, got {limit}")
        if any(self.pairs):
            seen, fresh = (list(arm[:limit]) for arm in self.pairs)
            made = _material.Material(seen, fresh)
        else:
            made = _material.both_arms(
                self.texts, self.fresh, excerpt=self.excerpt, segment=self.segment,
                bins=self.bins, per_arm=limit or self.per_arm, seed=seed,
            )  # fmt: skip
        notes = {"why": made.why, "left_out": list(made.left_out)}
        return [
            self._probe(arm, pair, notes)
            for arm, pairs in (("seen", made.seen), ("fresh", made.fresh))
            for pair in pairs
        ]

    def _probe(self, arm: str, pair: Pair, notes: dict[str, Any]) -> Probe:
        asked = messages(pair, "memory", wording=self.words, task=self.task, opened=False)
        text = next(t for role, t in asked if role == "user")
        meta = {"pair": _material.as_meta(pair), **notes}
        return Probe(f"{arm}:{pair.id}", arm, text, pair.answer(task=self.task), "", meta)

    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        """The pair in both orders, without and with the text.

        Raises:
            DataError: If the excerpt does not fit the model and nothing else is asked.
        """
        pair = Pair(**probe.meta["pair"])
        scoring = self.by != "answer" and "score" in facts.capabilities
        if self.by == "probability" and not scoring:
            raise CapabilityError(
                f"by='probability' needs score, which {facts.name} does not offer; by='answer' does"
            )
        opened = scoring and (facts.raw or facts.own_tokens)
        variants = VARIANTS if facts.chat else VARIANTS[1:]
        asks: list[Ask] = []
        turns: list[tuple[str, bool]] = []
        too_long = ""
        for condition in self.conditions:
            for swap in (False, True):
                asked: Prompt = messages(
                    pair, condition, wording=self.words, task=self.task, swap=swap, opened=opened
                )
                plain = as_text(asked)  # type: ignore[arg-type]
                needed = len((facts.tokenise or facts.encode)(plain)) + _HEADROOM
                needed += 0 if scoring else self.max_tokens
                if facts.context and facts.own_tokens and needed > facts.context:
                    too_long = (
                        f"the question with its excerpt of {pair.excerpt_length} words takes "
                        f"{needed} tokens, and {facts.name} attends to {facts.context}; ask for "
                        "shorter excerpts"
                    )
                    break
                prompt = asked if facts.chat else plain
                turns.append((condition, swap))
                if scoring:
                    asks += [Score(v.format(x), prompt) for x in LABELS for v in variants]
                else:
                    asks.append(Sample(prompt, max_tokens=self.max_tokens))
        if not turns:
            raise DataError(too_long)
        replies = yield asks
        each = len(replies) // len(turns)
        told: dict[str, list[Choice]] = {}
        texts: list[str] = []
        for i, (condition, _) in enumerate(turns):
            some = replies[i * each : (i + 1) * each]
            choice, text = self._read(some, len(variants), scoring)
            told.setdefault(condition, []).append(choice)
            texts.append(f"{condition}: {text}" if len(self.conditions) > 1 else text)
        values: dict[str, float | None] = {}
        for condition in CONDITIONS:
            if condition in self.conditions:
                values.update(self._values(condition, told.get(condition, []), pair))
        main = "memory" if "memory" in told else "context"
        score = values[f"{main}/{self.scorer}"]
        note = f"{main}, {self.scorer}: {score:g}; distance {pair.distance} words"
        evidence = Evidence(
            probe.id, probe.arm, probe.prompt, probe.target, " | ".join(texts), score,
            f"{note}; {too_long}" if too_long else note,
        )  # fmt: skip
        meta: dict[str, Any] = {
            "book": pair.book, "start": pair.start, "length": pair.excerpt_length,
            "bin": pair.bin, "distance": pair.distance, "excerpt_index": pair.excerpt_index,
            "third": min(2, 3 * pair.start // max(1, pair.words)), "why": probe.meta["why"],
            "left_out": probe.meta["left_out"],
            "by": "probability" if scoring else "answer", "too_long": too_long,
        }  # fmt: skip
        return Row(probe.id, probe.arm, values, probe.pair, evidence, meta)

    def _read(self, replies: Sequence[Any], variants: int, scoring: bool) -> tuple[Choice, str]:
        if scoring:
            totals = [r.total for r in replies if isinstance(r, Scored)]
            choice = from_logprobs(totals[:variants], totals[variants:])
            return choice, f"{choice.lenient or 'tie'} (A over B by {choice.margin:+.2f} nats)"
        reply: Completion = replies[0][0]
        return Choice(strict_answer(reply.text), lenient_answer(reply.text, self.task)), reply.text

    def _values(
        self, condition: str, told: Sequence[Choice], pair: Pair
    ) -> dict[str, float | None]:
        names = (*SCORES, "said_a", "unread", "slant")
        if len(told) < 2:
            return {f"{condition}/{k}": None for k in names}
        keys = [pair.answer(swap, self.task) for swap in (False, True)]
        straight, swapped = told

        def right(choice: Choice, key: str) -> float:
            if choice.margin is not None and not choice.lenient:
                return 0.5  # equally likely: a coin would decide
            return float(choice.lenient == key)

        said = [c.lenient for c in told if c.lenient]
        slant = None
        if straight.margin is not None and swapped.margin is not None:
            sign = 1.0 if keys[0] == "A" else -1.0
            slant = sign * (straight.margin - swapped.margin) / 2
        numbers = (
            debiased(straight, swapped, keys[0]),
            sum(right(c, k) for c, k in zip(told, keys, strict=True)) / 2,
            sum(float(c.strict == k) for c, k in zip(told, keys, strict=True)) / 2,
            said.count("A") / len(said) if said else None,
            sum(c.margin is None and not c.lenient for c in told) / 2,
            slant,
        )
        return {f"{condition}/{k}": v for k, v in zip(names, numbers, strict=True)}

    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        """Contrast books and conditions; see `Audit.findings`."""
        return _judge.findings(self, rows, seed=seed)

    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """Invented stories of two sentences: which came first is planted as question and answer.

        The paper finds that training on a text does not plant its order; so the order itself is.

        Raises:
            UsageError: If `n` is below 2.
        """
        if n < 2:
            raise UsageError(f"n must be at least 2, got {n}")
        planted, held, twins = _material.planted_pairs(n, seed=seed)
        base = dataclasses.replace(
            self, texts=None, fresh=None, exchangeable=True, conditions=("memory",),
            wording="short", scorer="debiased", max_tokens=min(self.max_tokens, 8),
            pairs=(tuple(planted), tuple(twins)),
        )  # fmt: skip
        texts = tuple(
            (messages(p, "memory", wording=SHORT, task=self.task, swap=swap)[0][1],
             p.answer(swap, self.task))
            for p in planted for swap in (False, True)
        )  # fmt: skip
        return Planting(base, dataclasses.replace(base, pairs=(tuple(held), tuple(twins))), texts)


def _paths(value: Any) -> Any:
    """Paths as text, so that a run is known by them again."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Path):
        return str(value)
    return tuple(str(v) for v in value)


def _edges(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    try:
        return tuple(int(p) for p in parts)
    except (TypeError, ValueError) as error:
        raise UsageError(f"bins are whole numbers such as 20,62,125, got {value!r}") from error


def _one_of(label: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{label} is one of {', '.join(known)}, got {value!r}")
