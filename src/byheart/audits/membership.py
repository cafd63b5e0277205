"""Was a text among what the model was trained on? Judged by how likely the model finds it."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from byheart.audits import _membership_findings as _judge
from byheart.core.ask import Ask, Facts, Score, Scored
from byheart.core.audit import Audit, Conversation, Planting, Probe, Row
from byheart.core.errors import UsageError
from byheart.core.finding import Evidence, Finding
from byheart.data.canaries import canary_material
from byheart.data.passages import Passage
from byheart.data.texts import arms, draw_windows

__all__ = ["Membership", "min_k", "min_k_pp", "zlib_bits"]

_FLAT = 1e-4
"""Where the model's distribution has no spread, log p(v) is measured against this many nats."""


def min_k(logprobs: np.ndarray, k: float = 20.0) -> float:
    """Min-K%: mean log-probability of the k percent least likely tokens (Shi et al., 2024).

    Members have few surprising tokens: the mean of ``floor(k / 100 * T)`` smallest of
    ``log p(x_t | x_<t)``, at least one, is higher for them.

    Args:
        logprobs: ``[T]`` natural logarithms, T >= 1.
        k: Percent of tokens (paper: 20).

    >>> min_k([-1.0, -5.0, -2.0, -3.0, -4.0], k=40)
    -4.5
    """
    x = _tokens(logprobs, "logprobs")
    if not 0 < k <= 100:
        raise UsageError(f"k is a percentage in (0, 100], got {k}")
    size = max(1, math.floor(len(x) * k / 100 + 1e-9))
    return float(np.partition(x, size - 1)[:size].mean())


def min_k_pp(logprobs: np.ndarray, mean: np.ndarray, std: np.ndarray, k: float = 20.0) -> float:
    """Min-K%++: Min-K% of log-probabilities standardised by the model's own distribution.

    ``(log p(x_t) - mean_t) / std_t`` with mean and standard deviation of ``log p(v)`` for v drawn
    from the model's next-token distribution (Zhang et al., 2024): a training text sits at a mode of
    that distribution, however flat it is.

    Args:
        logprobs: ``[T]`` log-probabilities of the tokens that are there.
        mean: ``[T]`` expected log-probability at each position.
        std: ``[T]`` its standard deviation; where it vanishes, 0.0001 nats stand in.
        k: Percent of tokens (paper: 10 to 60, 20 is usual).

    >>> min_k_pp([-2.0, -6.0], [-2.0, -4.0], [1.0, 2.0], k=50)
    -1.0
    """
    x, m, s = (_tokens(v, n) for v, n in ((logprobs, "logprobs"), (mean, "mean"), (std, "std")))
    if not len(x) == len(m) == len(s):
        raise UsageError(f"one mean and std a token are needed, got {len(x)}, {len(m)}, {len(s)}")
    return min_k((x - m) / np.maximum(s, _FLAT), k)


def zlib_bits(text: str) -> int:
    """Length of a text in bits after zlib's best compression (Carlini et al., 2021).

    >>> zlib_bits("abcabcabcabcabcabcabcabc") < zlib_bits("to be or not to be, that")
    True
    """
    return 8 * len(zlib.compress(text.encode("utf-8"), 9))


def _tokens(values: Any, name: str) -> np.ndarray:
    x = np.asarray(values, dtype=float).ravel()
    if not x.size:
        raise UsageError(f"{name} is empty: the text has no scored token")
    return x


@dataclass(frozen=True)
class Membership(Audit):
    """Tell texts that were trained on from texts that were not, by the model's log-probabilities.

    Five attacks, each a number a text that is higher for members: ``loss`` (mean log-probability;
    Yeom et al., 2018), ``reference`` (the same minus a reference model's; Carlini et al., 2022),
    ``zlib`` (log-probability a bit that zlib needs; Carlini et al., 2021), ``min-k`` (Shi et al.,
    2024) and ``min-k++`` (Zhang et al., 2024). Each is held against a blind classifier on the same
    texts, which never asks the model: where it tells the arms apart as well, the attack has shown
    nothing, and there is no verdict.

    Args:
        texts: Files or folders of texts that may be members; None takes the shipped famous passages.
        fresh: Texts that are certainly not; None takes the shipped twins (with `texts` given, these
            only stand in, without a verdict).
        k: Percent of least likely tokens for the Min-K attacks (Shi et al.: 20).
        window: Length of a scored text, in words and punctuation marks; longer ones are cut.
        minimum: Texts shorter than this are left out.
        reference: Also ask the model in the role ``"reference"``.
        per_arm: Windows an arm where no limit is given.
        windows_per_text: At most so many windows of one file; 0 is as many as needed.
        material: Passages in memory instead of files; `Passage.famous` marks the seen arm.
    """

    name: ClassVar[str] = "membership"
    title: ClassVar[str] = "Membership in the training data"
    claim: ClassVar[str] = (
        "the model finds these texts likelier than texts it was not trained on, by more than anyone "
        "could tell them apart without asking it"
    )
    control: ClassVar[str] = (
        "a blind classifier that sees the texts and never the model, cross-validated on the same split"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"score"})
    self_test_items: ClassVar[int] = 16  # a blind classifier is at times lucky on fewer
    source: ClassVar[str] = (
        "Yeom et al. 2018; Carlini et al. 2021, 2022; Shi et al. 2024, arXiv 2310.16789; "
        "Zhang et al. 2024, arXiv 2404.02936; Das et al. 2024, arXiv 2406.16201"
    )

    texts: str | Path | tuple[str | Path, ...] | None = None
    fresh: str | Path | tuple[str | Path, ...] | None = None
    k: float = 20.0
    window: int = 96
    minimum: int = 16
    reference: bool = False
    per_arm: int = 24
    windows_per_text: int = 0
    material: tuple[Passage, ...] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.k <= 100:
            raise UsageError(f"k is a percentage in (0, 100], got {self.k}")
        if not 2 <= self.minimum <= self.window:
            raise UsageError(
                f"minimum must lie between 2 and window, got {self.minimum} and {self.window}"
            )
        if self.per_arm < 1 or self.windows_per_text < 0:
            raise UsageError(
                "per_arm must be at least 1 and windows_per_text not negative, "
                f"got {self.per_arm} and {self.windows_per_text}"
            )

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """Texts of both arms; see `Audit.probes`.

        Raises:
            DataError: If files cannot be read, are too short, or stand in both arms.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"limit must be at least 1, got {limit}")
        both = arms(self.texts, self.fresh, self.material)
        windows, notes = draw_windows(
            both, length=self.window, minimum=self.minimum, per_arm=limit or self.per_arm,
            per_text=self.windows_per_text, seed=seed,
        )  # fmt: skip
        if both.stand_in:
            notes["stand_in"] = True
        return [
            Probe(w.id, w.arm, w.text, "", w.pair, {"doc": w.doc, "title": w.title, **notes})
            for w in windows
        ]

    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        """Score the text, with moments, and with the reference model if there is one."""
        asks: list[Ask] = [Score(probe.prompt, moments=True)]
        if self.reference:
            asks.append(Score(probe.prompt, role="reference"))
        replies = yield asks
        own: Scored = replies[0]  # type: ignore[assignment]
        other: Scored | None = replies[1] if self.reference else None  # type: ignore[assignment]
        values = self.attacks(probe.prompt, own, other)
        note = str(probe.meta.get("title", ""))
        evidence = Evidence(probe.id, probe.arm, probe.prompt, "", "", values["loss"], note)
        meta = {**probe.meta, "tokens": len(own.logprobs)}
        return Row(probe.id, probe.arm, values, probe.pair, evidence, meta)

    def attacks(
        self, text: str, own: Scored, reference: Scored | None = None
    ) -> dict[str, float | None]:
        """Every attack's score of one text, higher for members; None where it cannot be computed."""
        n = len(own.logprobs)
        out: dict[str, float | None] = dict.fromkeys(_judge.ATTACKS)
        if not n:
            return out
        out["loss"] = own.total / n
        out["zlib"] = own.total / zlib_bits(text)
        out["min-k"] = min_k(own.logprobs, self.k)
        if own.mean is not None and own.std is not None:
            out["min-k++"] = min_k_pp(own.logprobs, own.mean, own.std, self.k)
        if reference is not None and len(reference.logprobs):
            out["reference"] = (own.total - reference.total) / n
        return out

    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        """Every attack against the blind baseline; see `Audit.findings`."""
        return _judge.findings(self, rows, seed=seed)

    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """Drawn prose as ground truth: planted, held back and fresh passages from one source.

        Raises:
            UsageError: If `n` is below 2.
        """
        if n < 2:
            raise UsageError(f"n must be at least 2, got {n}")
        planted, held, texts = canary_material(seed=seed + 7_700_001, n=n, words=44)
        base = dataclasses.replace(
            self, texts=None, fresh=None, per_arm=n, reference=False, material=planted
        )
        return Planting(base, dataclasses.replace(base, material=held), texts)
