"""Tables A and B of A-MEM without a language model: what links, annotations and evolution find.

Every row ranks the turns of a conversation for the same questions and shows the same number of
turns. Links fill half of the places: k/2 seeds by cosine, then what the seeds are linked to, in
their order, then further turns by cosine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from byheart.core.finding import Estimate
from byheart.core.stats import bootstrap, paired_bootstrap
from byheart.core.words import stemmer, words
from byheart.notes._linked_note import LinkedNote
from byheart.notes._linked_rules import SharedWords
from byheart.notes._locomo_data import Conversation
from byheart.notes._locomo_linked import annotated
from byheart.notes._locomo_methods import METHODS
from byheart.notes.search import Encoder

__all__ = ["BESIDE", "CUTS", "ROWS", "Table", "measure"]

CUTS = (10, 20)
BESIDE = ("bm25+date", "hybrid+date")
"""Baselines of the data's README that every row is printed beside."""

CONTENT, SIMILAR, TOPICS, RARE = (
    "content only", "content, links to the 3 nearest", "content, links by shared words",
    "content, links by rare words",
)  # fmt: skip
NOTED, NOTED_LINKS, EVOLVED = (
    "annotations embedded", "annotations, links by rare words", "annotations, links, evolution",
)  # fmt: skip
ROWS = (CONTENT, SIMILAR, TOPICS, RARE, NOTED, NOTED_LINKS, EVOLVED)

Links = list[list[int]]


@dataclass
class Table:
    """Evidence recall in percent, one number a question.

    Args:
        category: `[Q]` of the questions, as in LoCoMo.
        talk: `[Q]` number of the conversation.
        recall: Row to cut to `[Q]`.
    """

    category: np.ndarray
    talk: np.ndarray
    recall: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)

    def of(self, row: str, categories: Sequence[int] = (1, 2, 3, 4), cut: int = 10) -> np.ndarray:
        """Percent of each question of some categories."""
        return self.recall[row][cut][np.isin(self.category, categories)]

    def estimate(
        self, row: str, categories: Sequence[int] = (1, 2, 3, 4), cut: int = 10
    ) -> Estimate:
        """Mean and 95 % interval over questions."""
        return bootstrap(self.of(row, categories, cut), bounded=(0, 100))

    def gap(
        self, row: str, base: str, categories: Sequence[int] = (1, 2, 3, 4), cut: int = 10
    ) -> Estimate:
        """Paired difference over the same questions, in points."""
        return paired_bootstrap(
            self.of(row, categories, cut), self.of(base, categories, cut), bounded=(0, 100)
        )


def _similar(rows: np.ndarray, k: int = 3) -> Links:
    """Each turn linked to its k nearest earlier ones, whatever they say."""
    return [np.argsort(-(rows[:i] @ rows[i]), kind="stable")[:k].tolist() for i in range(len(rows))]


def _topics(notes: list[LinkedNote], rows: np.ndarray, k: int = 5) -> Links:
    """What byheart does without a model: of the k nearest those that share topics."""
    link, out = SharedWords(), []
    for i, note in enumerate(notes):
        near = np.argsort(-(rows[:i] @ rows[i]), kind="stable")[:k]
        out.append([int(near[j]) for j in link(note, [notes[j] for j in near]).connect])
    return out


def _rare(notes: list[LinkedNote], *, share: float = 0.01, most: int = 5) -> Links:
    """Each turn linked to earlier ones with a word or name that few turns have.

    Args:
        notes: Annotated turns.
        share: A word is rare in up to so many of the turns (at least 3 turns).
        most: Links of a turn; the rarest words first, of equal ones the latest turn.
    """
    stem = stemmer()
    has = [{w for t in (*n.keywords, *n.entities) for w in words(t, stem)} for n in notes]
    count = Counter(w for own in has for w in own)
    few = max(3, int(share * len(notes)))
    before: dict[str, list[int]] = {}
    out: Links = []
    for i, own in enumerate(has):
        found: dict[int, float] = {}
        for word in own:
            if count[word] <= few:
                for j in before.get(word, ()):
                    found[j] = max(found.get(j, 0.0), 1 / count[word])
                before.setdefault(word, []).append(i)
        out.append(sorted(found, key=lambda j: (-found[j], -j))[:most])
    return out


def _both_ways(links: Links) -> Links:
    out = [list(of) for of in links]
    for i, of in enumerate(links):
        for j in of:
            if i not in out[j]:
                out[j].append(i)
    return out


def _shown(order: np.ndarray, links: Links | None, k: int) -> list[int]:
    """The k turns that are shown."""
    if links is None:
        return order[:k].tolist()
    seeds = order[: (k + 1) // 2].tolist()
    found = dict.fromkeys(seeds)
    for seed in seeds:
        for other in links[seed]:
            if len(found) < k:
                found.setdefault(other)
    for other in order.tolist():
        if len(found) >= k:
            break
        found.setdefault(other)
    return list(found)


def _evolved(notes: list[LinkedNote], links: Links) -> list[LinkedNote]:
    """Tags of linked earlier turns unioned with those of the turn that arrives, in order."""
    out = list(notes)
    for i, of in enumerate(links):
        for j in of:
            tags = tuple(dict.fromkeys((*out[j].tags, *out[i].tags)))[:8]
            out[j] = replace(out[j], annotation=replace(out[j].annotation, tags=tags))
    return out


def measure(
    talks: Sequence[Conversation],
    encode: Encoder,
    progress: Callable[[str, float], None] | None = None,
) -> Table:
    """All rows on all questions of categories 1 to 4."""
    category, number = [], []
    got: dict[str, dict[int, list[float]]] = {r: {k: [] for k in CUTS} for r in (*BESIDE, *ROWS)}
    for t, talk in enumerate(talks):
        if progress:
            progress(f"tables A and B: {talk.name}", t / len(talks))
        judged = [q for q in talk.questions if q.category != 5]
        category += [q.category for q in judged]
        number += [t] * len(judged)
        notes = annotated(talk)
        plain = encode([n.content for n in notes])
        noted = encode([n.text for n in notes])
        rare = _rare(notes)
        changed = noted.copy()
        after = _evolved(notes, rare)
        fresh = [i for i, n in enumerate(after) if n.text != notes[i].text]
        if fresh:
            changed[fresh] = encode([after[i].text for i in fresh])
        topics = _topics(notes, noted)
        asked = encode([q.text for q in judged])
        told: dict[str, tuple[np.ndarray, Links | None]] = {
            CONTENT: (plain, None),
            SIMILAR: (plain, _similar(plain)),
            TOPICS: (plain, _both_ways(topics)),
            RARE: (plain, _both_ways(rare)),
            NOTED: (noted, None),
            NOTED_LINKS: (noted, _both_ways(rare)),
            EVOLVED: (changed, _both_ways(rare)),
        }
        for row, (vectors, links) in told.items():
            for q, query in zip(judged, asked, strict=True):
                order = np.argsort(-(vectors @ query), kind="stable")
                for k in CUTS:
                    got[row][k].append(_recall(_shown(order, links, k), q.evidence))
        for row in BESIDE:
            rank = METHODS[row].build(talk, encode)
            for q in judged:
                ranked = rank(q.text)
                for k in CUTS:
                    got[row][k].append(_recall(ranked[:k], q.evidence))
    return Table(
        np.array(category), np.array(number),
        {r: {k: np.array(v) for k, v in of.items()} for r, of in got.items()},
    )  # fmt: skip


def _recall(shown: Sequence[int], gold: Sequence[int]) -> float:
    return 100 * len(set(shown) & set(gold)) / len(gold)
