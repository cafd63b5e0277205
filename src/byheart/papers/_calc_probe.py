"""Partial prompts on a small transformer that has read questions never, ten and fifty times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from byheart.audits._calc.probes import RATIOS, PartialPrompt, tail_of, truncate
from byheart.audits._calc.twins import invented
from byheart.papers._tinygpt import Characters, TinyGPT, fit, generate

__all__ = ["REPEATS", "Probed", "probe"]

REPEATS = (0, 10, 50)
_PIECES = r" ?[A-Z]?[a-z]+|\d"


@dataclass(frozen=True)
class Probed:
    """What was restored, by how often a question was read."""

    rows: dict[int, list[PartialPrompt]]

    def mean(self, repeats: int, ratio: float, what: str) -> float:
        """Mean of a measure (``"exact_match"``, ``"rouge_l"``) of one group at one ratio."""
        some = [getattr(r, what) for r in self.rows[repeats] if r.ratio == ratio]
        return float(sum(some) / len(some))

    def per_item(self, repeats: int) -> list[float]:
        """EM of every item, mean over the ratios."""
        by_id: dict[str, list[float]] = {}
        for r in self.rows[repeats]:
            by_id.setdefault(r.id, []).append(r.exact_match)
        return [sum(v) / len(v) for v in by_id.values()]


def probe(
    *, seed: int, items: int, filler: int, epochs: int, device: str,
    progress: Callable[[float], None] | None = None,
) -> Probed:  # fmt: skip
    """Train on a corpus of invented questions, some of them repeated, and cut all of them short.

    Args:
        seed: Of questions, weights and order.
        items: Questions for each of `REPEATS`.
        filler: Further questions that are read once an epoch, for the language.
        epochs: Passes over the corpus; "fifty times" is of one pass.
        device: As for torch.
        progress: Called with the share that is done.
    """
    texts = [invented(i, seed)[0] for i in range(len(REPEATS) * items + filler)]
    groups = {r: texts[k * items : (k + 1) * items] for k, r in enumerate(REPEATS)}
    corpus = texts[len(REPEATS) * items :]
    for repeats, group in groups.items():
        corpus = [*corpus, *group * repeats]
    vocabulary = Characters(texts, _PIECES)
    encoded = {t: vocabulary.encode(t) for t in texts}
    longest = max(map(len, encoded.values()))
    model = TinyGPT(
        len(vocabulary), layers=2, width=128, heads=4, context=longest + 40, seed=seed, std=0.09
    ).to(device)
    documents = [[*encoded[t], Characters.end] for t in corpus]
    fit(model, documents, epochs=epochs, batch=4, lr=2e-3, seed=seed,
        progress=(lambda share, loss: progress(0.95 * share)) if progress else None)  # fmt: skip
    rows: dict[int, list[PartialPrompt]] = {}
    for repeats, group in groups.items():
        rows[repeats] = []
        for ratio in RATIOS:
            shown = [truncate(t, ratio) for t in group]
            targets = [tail_of(t, s) for t, s in zip(group, shown, strict=True)]
            # text and cut fall on the same pieces, or the model would meet pieces it never read
            heads = [vocabulary.encode(s) for s in shown]
            lengths = [len(encoded[t]) - len(h) for t, h in zip(group, heads, strict=True)]
            most = max(lengths) + 4
            drawn = generate(model, heads, max_new=min(most, model.context - max(map(len, heads))))
            for i, (s, target, tokens) in enumerate(zip(shown, targets, drawn, strict=True)):
                said = vocabulary.decode(tokens[0])
                rows[repeats].append(PartialPrompt.of(f"{repeats}-{i}", ratio, s, target, said))
    if progress:
        progress(1.0)
    return Probed(rows)
