"""What each part of `byheart.notes.search` is worth on LoCoMo, and what choosing the weights buys.

Run: python benchmarks/locomo_ablation.py FOLDER

First table: the default with one part changed, evidence recall@1/5/10/20 over categories 1 to 4,
and the paired difference to the default at 10. Second: 640 settings of the weights; for each
conversation the setting that is best on the *others* is scored on it (leave one out).
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable
from unittest.mock import patch

import numpy as np

from byheart.core.minilm import MiniLM
from byheart.core.stats import bootstrap, paired_bootstrap
from byheart.notes import search_text
from byheart.notes._locomo_data import Conversation, read
from byheart.notes._locomo_methods import as_notes
from byheart.notes.locomo import CUTS
from byheart.notes.search import Note, NoteSearch, Scores, Weights

DEFAULT = Weights()
Change = Callable[[Note], Note]


class Whole(Note):
    """A note that is embedded in one piece."""

    def passages(self) -> list[str]:
        line = f"{self.speaker}: {self.text}" if self.speaker else self.text
        return [" ".join((line, *(f"[image: {a}]" for a in self.attached)))]


class Memo:
    """An encoder that embeds a text once."""

    def __init__(self) -> None:
        self.encode, self.known = MiniLM(), {}

    def __call__(self, texts: list[str]) -> np.ndarray:
        fresh = [t for t in dict.fromkeys(texts) if t not in self.known]
        self.known.update(zip(fresh, self.encode(fresh), strict=True))
        return np.stack([self.known[t] for t in texts])


def whole(note: Note) -> Note:
    return Whole(**{f.name: getattr(note, f.name) for f in dataclasses.fields(note)})


def without(**changes: object) -> Change:
    return lambda note: dataclasses.replace(note, **changes)


def recall(order: np.ndarray, gold: tuple[int, ...]) -> list[float]:
    return [100 * len(set(order[:k].tolist()) & set(gold)) / len(gold) for k in CUTS]


def judged(talk: Conversation) -> list:
    return [q for q in talk.questions if q.category < 5]


def measure(
    talks: list[Conversation],
    encode: Memo | None,
    weights: Weights,
    change: Change | None = None,
    stem=None,
) -> np.ndarray:
    """`[questions, cuts]` percent."""
    rows = []
    for talk in talks:
        notes = as_notes(talk)
        found = NoteSearch(
            map(change, notes) if change else notes, encode=encode, weights=weights, stem=stem
        )
        for q in judged(talk):
            rows.append(recall(np.array([m.note.id for m in found.search(q.text, 20)]), q.evidence))
    return np.array(rows)


def ablation(talks: list[Conversation], encode: Memo) -> None:
    base = measure(talks, encode, DEFAULT)
    of = lambda **w: lambda: measure(talks, encode, dataclasses.replace(DEFAULT, **w))  # noqa: E731

    def few_stop_words() -> np.ndarray:
        lucene = frozenset(search_text._LUCENE.split())
        with patch.object(search_text, "STOP_WORDS", lucene):
            return measure(talks, encode, DEFAULT)

    rows: dict[str, Callable[[], np.ndarray]] = {
        "default": lambda: base,
        "no neighbours at all": of(reach=0, context=0.0),
        "neighbours lend words only": of(context=0.0),
        "one neighbour on either side": of(reach=1),
        "no encoder": lambda: measure(talks, None, DEFAULT),
        "no encoder, no speaker bonus": lambda: measure(talks, None, Weights(speaker=0.0)),
        "no words (encoder alone)": of(meaning=1e9),
        "turns embedded whole": lambda: measure(talks, encode, DEFAULT, whole),
        "no time bonus": of(time=0.0),
        "no dates in notes": lambda: measure(talks, encode, DEFAULT, without(time=None)),
        "no speakers in notes": lambda: measure(talks, encode, DEFAULT, without(speaker="")),
        "no captions": lambda: measure(talks, encode, DEFAULT, without(attached=())),
        "questions not held back": of(asking=0.0),
        "no stemming": lambda: measure(talks, encode, DEFAULT, stem=str),
        "Lucene's stop words only": few_stop_words,
        "speaker bonus of 0.3 as well": of(speaker=0.3),
        "k1 0.9, b 0.4": of(k1=0.9, b=0.4),
        "k1 2, b 0.75": of(k1=2.0),
    }
    print(
        f"{len(base)} questions of categories 1-4; difference at 10 to the default, 95 %, paired\n"
    )
    print("| part | recall@1 / @5 / @10 / @20 | difference @10 |\n| --- | --- | --- |")
    for name, run in rows.items():
        found = run()
        told = " / ".join(f"{x:.1f}" for x in found.mean(0))
        d = paired_bootstrap(found[:, 2], base[:, 2], bounded=(0, 100))
        gap = "" if found is base else f"{d.value:+.1f} [{d.low:+.1f}, {d.high:+.1f}]"
        print(f"| {name} | {told} | {gap} |", flush=True)


def combined(s: Scores, asks: np.ndarray, w: Weights) -> np.ndarray:
    """`NoteSearch`'s total out of its parts (checked against it in `leave_one_out`)."""
    scale = lambda x: (x - x.min()) / (np.ptp(x) or 1.0)  # noqa: E731
    total = (scale(s.words) + w.meaning * scale(s.meaning)) / (1 + w.meaning)
    return (total + w.time * s.time) * (1 - w.asking * asks)


def leave_one_out(talks: list[Conversation], encode: Memo) -> None:
    grid = {
        "reach": (0, 1, 3, 5),
        "context": (0.0, 1.0),
        "meaning": (0.5, 0.75, 1.0, 1.5, 2.0),
        "time": (0.0, 0.125, 0.25, 0.5),
        "asking": (0.0, 0.1, 0.2, 0.4),
    }
    settings = [
        Weights(**dict(zip(grid, v, strict=True))) for v in itertools.product(*grid.values())
    ]
    at10: list[np.ndarray] = []
    for talk in talks:
        notes, questions = as_notes(talk), judged(talk)
        asks = np.array([n.asking for n in notes])
        got = np.zeros((len(settings), len(questions)))
        for reach, context in itertools.product(grid["reach"], grid["context"]):
            found = NoteSearch(notes, encode=encode, weights=Weights(reach=reach, context=context))
            for j, q in enumerate(questions):
                s = found.scores(q.text)
                if (reach, context) == (DEFAULT.reach, DEFAULT.context):
                    assert np.allclose(s.total, combined(s, asks, DEFAULT))
                for i, w in enumerate(settings):
                    if (w.reach, w.context) == (reach, context):
                        order = np.argsort(-combined(s, asks, w), kind="stable")
                        got[i, j] = recall(order, q.evidence)[2]
        at10.append(got)
    everything = np.concatenate(at10, axis=1).mean(1)
    held, chosen = [], []
    for k in range(len(talks)):
        others = np.concatenate([x for j, x in enumerate(at10) if j != k], axis=1).mean(1)
        chosen.append(int(others.argmax()))
        held.append(at10[k][chosen[-1]])
    e = bootstrap(np.concatenate(held), bounded=(0, 100))
    d = paired_bootstrap(
        np.concatenate(held),
        np.concatenate([x[settings.index(DEFAULT)] for x in at10]),
        bounded=(0, 100),
    )
    low, middle, high = np.quantile(everything, (0, 0.5, 1))
    near = [
        i for i, w in enumerate(settings) if w.reach >= 3 and w.context and 0.75 <= w.meaning <= 1.5
    ]
    print(f"\n{len(settings)} settings, recall@10 over categories 1-4:")
    print(f"- the default: {everything[settings.index(DEFAULT)]:.1f}")
    print(f"- lowest, median, highest of all settings: {low:.1f}, {middle:.1f}, {high:.1f}")
    print(
        f"- the {len(near)} with reach 3 or 5, context 1, meaning 0.75 to 1.5: "
        f"{everything[near].min():.1f} to {everything[near].max():.1f}"
    )
    print(
        f"- chosen on the others, scored on the one left out: {e.value:.1f} [{e.low:.1f}, {e.high:.1f}]"
    )
    print(f"- that less the default: {d.value:+.1f} [{d.low:+.1f}, {d.high:+.1f}]")
    for talk, i in zip(talks, chosen, strict=True):
        w = settings[i]
        print(
            f"  - {talk.name} left out: "
            + ", ".join(f"{name} {getattr(w, name):g}" for name in grid)
        )


def main() -> None:
    """Measure and print."""
    if len(sys.argv) != 2:
        print("not run: this one needs the data: python benchmarks/locomo_ablation.py FOLDER")
        return
    talks, encode = read(sys.argv[1]), Memo()
    ablation(talks, encode)
    leave_one_out(talks, encode)


if __name__ == "__main__":
    main()
