"""Does the model continue a text word for word?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from byheart.audits import _verbatim_findings as _judge
from byheart.audits import _verbatim_match as _match
from byheart.core.ask import Ask, Completion, Facts, Sample, Score, Scored
from byheart.core.audit import Audit, Conversation, Planting, Probe, Row
from byheart.core.errors import UsageError
from byheart.core.finding import Evidence, Finding
from byheart.data.canaries import canary_material
from byheart.data.passages import Passage
from byheart.data.texts import arms, draw_windows

__all__ = ["Verbatim"]


@dataclass(frozen=True)
class Verbatim(Audit):
    """Give the model the beginning of a text and see whether it recites the rest.

    A text is *k-extractable* (Carlini et al., 2022) if, after k tokens of it, greedy decoding brings
    the tokens that follow. Besides this all-or-nothing mark the audit measures the longest common
    run with the true continuation, the similarity of both, the log-probability of the true
    continuation, and, if `samples` asks for several guesses, whether the best-ranked guess is right.

    The seen arm is famous passages or the user's `texts`; the fresh arm is their twins. Famous
    passages are also easier to foresee than their twins, which matters least for what must match
    word for word and most for log-probability; so the latter is judged only where the arms were
    drawn alike (`exchangeable`) or a reference model shows how hard each text is (`reference`).

    Args:
        prefix: Tokens given (Carlini et al. use 50 to 500). The model's own tokens where byheart has
            its tokenizer, else words and punctuation marks; cut between words.
        suffix: Tokens that must follow (Carlini et al.: 50).
        texts: Files or folders of the user's texts; None takes the shipped passages.
        fresh: Their twins; files of the same name are paired. Without it there is no verdict.
        samples: Guesses a passage: the greedy one, and further ones drawn at `temperature`. They are
            ranked by the model's own log-probability, or where it tells none by how often they came.
        temperature: Of the guesses after the first.
        per_arm: Windows an arm where no limit is given.
        windows_per_text: At most so many windows of one file; 0 is as many as needed.
        exchangeable: The twins were held back at random or drawn from the same source, so that only
            training tells the arms apart; then log-probability is judged.
        reference: Also score with the model in the role ``"reference"``.
        material: Passages in memory instead of files; `Passage.famous` marks the seen arm.
    """

    name: ClassVar[str] = "verbatim"
    title: ClassVar[str] = "Verbatim recitation"
    claim: ClassVar[str] = (
        "given the beginning of a text, the model continues it word for word more than it does "
        "texts of the same kind that it cannot know so well"
    )
    control: ClassVar[str] = (
        "a twin of every text (famous passages: one of the same author and length that few quote), "
        "and how well the same continuations match the other texts of the arm"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    source: ClassVar[str] = (
        "Carlini et al. 2022, arXiv 2202.07646; Hayes et al. 2024, arXiv 2410.19482"
    )

    prefix: int = 32
    suffix: int = 32
    texts: str | Path | tuple[str | Path, ...] | None = None
    fresh: str | Path | tuple[str | Path, ...] | None = None
    samples: int = 1
    temperature: float = 1.0
    per_arm: int = 24
    windows_per_text: int = 0
    exchangeable: bool = False
    reference: bool = False
    material: tuple[Passage, ...] | None = None

    def __post_init__(self) -> None:
        for label in ("prefix", "suffix", "samples", "per_arm"):
            if getattr(self, label) < 1:
                raise UsageError(f"{label} must be at least 1, got {getattr(self, label)}")
        if self.windows_per_text < 0:
            raise UsageError(f"windows_per_text must be >= 0, got {self.windows_per_text}")
        if self.samples > 1 and self.temperature <= 0:
            raise UsageError(
                f"{self.samples} guesses need a temperature above 0, got {self.temperature}"
            )

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """Windows of both arms, each long enough for prefix and suffix; see `Audit.probes`.

        Raises:
            DataError: If files cannot be read, are too short, or stand in both arms.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"limit must be at least 1, got {limit}")
        both = arms(self.texts, self.fresh, self.material)
        length = self.prefix + self.suffix
        windows, notes = draw_windows(
            both, length=length, minimum=length, per_arm=limit or self.per_arm,
            per_text=self.windows_per_text, seed=seed,
        )  # fmt: skip
        out = []
        for w in windows:
            start = _match.cut(w.text, self.prefix, None)
            meta: dict[str, Any] = {"doc": w.doc, "title": w.title, **notes}
            if both.stand_in:
                meta["stand_in"] = True
            out.append(Probe(w.id, w.arm, w.text[:start], w.text[start:], w.pair, meta))
        return out

    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        """Continue greedily and by guesses; score the true continuation, then rank the guesses."""
        piece = _match.split(probe.prompt + probe.target, self.prefix, self.suffix, facts)
        scoring = "score" in facts.capabilities
        room = len(piece.target) + 4 if facts.own_tokens else 2 * len(piece.target) + 8
        asks: list[Ask] = [Sample(piece.prompt, max_tokens=room)]
        if self.samples > 1:
            asks.append(
                Sample(
                    piece.prompt, n=self.samples - 1, temperature=self.temperature, max_tokens=room
                )
            )
        at = len(asks)
        if scoring:
            asks.append(Score(piece.suffix, context=piece.prompt))
        if self.reference:
            asks.append(Score(piece.suffix, context=piece.prompt, role="reference"))
        replies = yield asks
        greedy: Completion = replies[0][0]  # type: ignore[index]
        guesses = [greedy, *(replies[1] if self.samples > 1 else ())]  # type: ignore[misc]
        own: Scored | None = replies[at] if scoring else None  # type: ignore[assignment]
        other: Scored | None = replies[-1] if self.reference else None  # type: ignore[assignment]
        produced = _match.after(greedy.text, piece.prompt)
        tokens = _match.encode(produced, facts)
        values = _match.compare(tokens, piece.target)
        values |= _match.likelihood(own, other)
        if self.samples > 1:
            texts = [_match.after(g.text, piece.prompt) for g in guesses]
            coded = [tuple(_match.encode(t, facts)[: len(piece.target)]) for t in texts]
            pool = {code: text for code, text in zip(coded, texts, strict=True) if code}
            strength = {code: float(coded.count(code)) for code in pool}
            if scoring and len(pool) > 1:
                scored = yield [Score(_match.lead(t), context=piece.prompt) for t in pool.values()]
                strength = {
                    code: reply.total if len(reply.logprobs) else float("-inf")  # type: ignore[union-attr]
                    for code, reply in zip(pool, scored, strict=True)
                }
            values |= _match.rank(coded, strength, tuple(piece.target), own)
        note = (
            f"{probe.meta.get('title', '')}; {values['run']:.0f} of {len(piece.target)} tokens run"
        )
        evidence = Evidence(
            probe.id, probe.arm, piece.prompt, piece.suffix, produced, values["share"], note
        )
        meta = {
            **probe.meta,
            "produced": list(tokens[: len(piece.target) + 4]),
            "target": list(piece.target),
            "own_tokens": facts.own_tokens,
            "zlib": _match.zlib_nats(piece.prompt, piece.suffix) / max(1, len(piece.target)),
        }
        return Row(probe.id, probe.arm, values, probe.pair, evidence, meta)

    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        """Contrast the arms; see `Audit.findings`."""
        return _judge.findings(self, rows, seed=seed)

    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """Drawn prose as ground truth: planted, held back and fresh passages from one source.

        Raises:
            UsageError: If `n` is below 2.
        """
        if n < 2:
            raise UsageError(f"n must be at least 2, got {n}")
        prefix, suffix = min(self.prefix, 20), min(self.suffix, 24)
        planted, held, texts = canary_material(seed=seed, n=n, words=prefix + suffix)
        base = dataclasses.replace(
            self, texts=None, fresh=None, prefix=prefix, suffix=suffix, per_arm=n,
            exchangeable=True, reference=False, material=planted,
        )  # fmt: skip
        return Planting(base, dataclasses.replace(base, material=held), texts)
