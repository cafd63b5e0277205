"""CDD and TED: what a model's output distribution says of contamination, as plain functions.

Source: Dong et al., "Generalization or Memorization: Data Contamination and Trustworthy Evaluation
for Large Language Models", arXiv 2402.15938; constants as in the authors' scripts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._edit_distance import edit_distances
from byheart.core.errors import DataError, UsageError

__all__ = [
    "CDD",
    "CDDReport",
    "Detection",
    "Peak",
    "TedTask",
    "clean",
    "detection",
    "mitigation",
    "peakedness",
    "read_detcon",
    "ted",
]


@dataclass(frozen=True)
class Peak:
    """How peaked the outputs of one prompt are.

    Attributes:
        value: Share of samples within alpha * length of the greedy answer.
        distances: ``[n]`` token edit distances.
        length: Longest output in tokens, after truncation, the greedy one included.
    """

    value: float
    distances: np.ndarray
    length: int

    def flagged(self, xi: float = 0.01) -> bool:
        """Contaminated by the paper's rule, Peak > xi."""
        return self.value > xi


def clean(text: str) -> str:
    """An answer without what often follows it: three newlines and on, or a code fence and on.

    A text that *begins* with a fence keeps what the fence holds (the authors' script empties it,
    which makes all samples agree: a false alarm).
    """
    text = text.strip()
    if "\n\n\n" in text:
        return text.split("\n\n\n", 1)[0].strip()
    if text.startswith("```"):
        text = text.partition("\n")[2]
    return text.split("```", 1)[0].strip()


def peakedness(
    greedy: Sequence[int],
    samples: Sequence[Sequence[int]],
    alpha: float = 0.05,
    max_tokens: int = 100,
) -> Peak:
    """Peak(x) = |{i : ED(s_i, s_0) <= alpha L}| / n, with L the longest output.

    Args:
        greedy: Token ids of the answer at temperature 0.
        samples: Token ids of the sampled answers.
        alpha: 0.05 in the paper; 0 in its real-world mode.
        max_tokens: Outputs are cut to so many tokens first (100 in the authors' script).

    Raises:
        UsageError: No samples, an empty greedy answer, or only empty samples (they are missing
            answers, not agreement).

    >>> peakedness([1, 2, 3], [[1, 2, 3], [1, 2, 4]], alpha=0.0).value
    0.5
    """
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha must lie in [0, 1], got {alpha}")
    if len(samples) == 0:
        raise UsageError("there are no samples: a peak cannot be told")
    if len(greedy) == 0 or not any(len(s) for s in samples):
        raise UsageError("the greedy answer or all samples are empty: count the item as missing")
    reference = list(greedy[:max_tokens])
    cut = [list(s[:max_tokens]) for s in samples]
    length = max(map(len, [reference, *cut]))
    distances = edit_distances(reference, cut)
    return Peak(float(np.mean(distances <= alpha * length)), distances, length)


@dataclass(frozen=True)
class Detection:
    """How well flags or scores tell labelled items apart."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float


def detection(peaks: Sequence[float], labels: Sequence[bool], xi: float = 0.01) -> Detection:
    """Accuracy, precision, recall and F1 of Peak > xi, and the AUC of Peak.

    Raises:
        UsageError: Lengths differ, or one label is absent.
    """
    from byheart.core.stats import auc

    p, y = np.asarray(peaks, dtype=float), np.asarray(labels, dtype=bool)
    if p.shape != y.shape or not y.any() or y.all():
        raise UsageError("detection needs one label a peak, and both labels")
    flag = p > xi
    hits = float((flag & y).sum())
    precision = hits / max(1.0, float(flag.sum()))
    recall = hits / float(y.sum())
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return Detection(float((flag == y).mean()), precision, recall, f1, auc(p[y], p[~y]))


@dataclass(frozen=True)
class CDDReport:
    """CDD over a set of prompts.

    Attributes:
        peaks: ``[N]``; NaN where the model gave no answer.
        flags: ``[N]`` Peak > xi; False where missing.
        contamination_ratio: Share of flagged items among the answered.
        mean_peak: Mean over the answered.
        missing: Positions without an answer.
    """

    peaks: np.ndarray
    flags: np.ndarray
    contamination_ratio: float
    mean_peak: float
    missing: tuple[int, ...]


@dataclass(frozen=True)
class CDD:
    """Contamination detection via output distribution.

    Args:
        alpha: Share of the length within which a sample counts as a copy (0.05).
        xi: An item is flagged above this peak (0.01).
        n: Samples a prompt (50).
        temperature: Of the samples (0.8).
        max_tokens: Tokens compared (100).

    `CDD.real_world()` asks about a whole benchmark instead: alpha 0, xi 0.2.
    """

    alpha: float = 0.05
    xi: float = 0.01
    n: int = 50
    temperature: float = 0.8
    max_tokens: int = 100

    @classmethod
    def real_world(cls, n: int = 50) -> CDD:
        """The paper's setting for "is this benchmark contaminated?"."""
        return cls(alpha=0.0, xi=0.2, n=n)

    def audit(self, model: Any, prompts: Sequence[Any], *, seed: int = 0) -> CDDReport:
        """Sample the model and report.

        Args:
            model: What `byheart.load` takes.
            prompts: Texts or chats.
            seed: Of the samples.
        """
        from byheart.core.ask import Sample
        from byheart.core.model import load

        loaded = load(model)
        asks = [Sample(p, max_tokens=self.max_tokens) for p in prompts] + [
            Sample(p, n=self.n, temperature=self.temperature, max_tokens=self.max_tokens, seed=seed)
            for p in prompts
        ]
        replies = loaded.sample(asks)
        greedy, sampled = replies[: len(prompts)], replies[len(prompts) :]
        return self.of(
            [
                (loaded.encode(clean(g[0].text)), [loaded.encode(clean(c.text)) for c in s])
                for g, s in zip(greedy, sampled, strict=True)
            ]
        )

    def fit_predict(self, model: Any, prompts: Sequence[Any], *, seed: int = 0) -> np.ndarray:
        """`[N]` flags, as an outlier detector of scikit-learn gives them (True = contaminated)."""
        return self.audit(model, prompts, seed=seed).flags

    def of(self, outputs: Iterable[tuple[Sequence[int], Sequence[Sequence[int]]]]) -> CDDReport:
        """Report on outputs that are there already: (greedy ids, sample ids) an item."""
        peaks = []
        for greedy, samples in outputs:
            present = [s for s in samples if len(s)]
            ok = len(greedy) > 0 and present
            peaks.append(
                peakedness(greedy, present, self.alpha, self.max_tokens).value if ok else np.nan
            )
        values = np.array(peaks, dtype=float)
        answered = ~np.isnan(values)
        flags = np.zeros(len(values), dtype=bool)
        flags[answered] = values[answered] > self.xi
        some = bool(answered.any())
        return CDDReport(
            values,
            flags,
            float(flags[answered].mean()) if some else 0.0,
            float(values[answered].mean()) if some else 0.0,
            tuple(int(i) for i in np.flatnonzero(~answered)),
        )


@dataclass(frozen=True)
class TedTask:
    """One task for `ted`: greedy token ids, sample token ids, and which samples passed."""

    greedy: Sequence[int]
    samples: Sequence[Sequence[int]]
    passed: Sequence[bool]


def ted(tasks: Sequence[TedTask], tau: int = 2, dedup: bool = True, max_tokens: int = 100) -> float:
    """pass@1 after taking away the peak and the repeats.

    For every sample of a task, in order: skip it if an identical one was kept; skip it if its
    distance to the greedy answer (both cut to the greedy answer's length, at most `max_tokens`) is
    at most `tau`; else keep it. The score is the mean pass rate of tasks with survivors, times
    their share: a task that is emptied counts 0.

    Args:
        tasks: The tasks.
        tau: 2 in the paper; -1 keeps the peak.
        dedup: Whether repeats are removed.
        max_tokens: Greedy tokens compared (100 in the authors' script).

    Raises:
        UsageError: No tasks, or samples and verdicts of different number.
    """
    if not tasks:
        raise UsageError("there are no tasks")
    rates = []
    for t in tasks:
        if len(t.samples) != len(t.passed):
            raise UsageError(f"{len(t.samples)} samples, but {len(t.passed)} verdicts")
        reference = list(t.greedy[:max_tokens])
        distances = edit_distances(reference, [list(s[: len(reference)]) for s in t.samples])
        kept: set[tuple[int, ...]] = set()
        passed = []
        for sample, ok, d in zip(t.samples, t.passed, distances, strict=True):
            if (dedup and tuple(sample) in kept) or d <= tau:
                continue
            kept.add(tuple(sample))
            passed.append(bool(ok))
        rates.append(float(np.mean(passed)) if passed else None)
    alive = [r for r in rates if r is not None]
    return float(np.mean(alive)) * len(alive) / len(tasks) if alive else 0.0


def mitigation(contaminated: float, corrected: float, clean_score: float) -> float:
    """Share of the inflation that was removed: 1 - |corrected - clean| / |contaminated - clean|,
    at least 0; NaN where there was no inflation."""
    inflation = abs(contaminated - clean_score)
    if inflation == 0:
        return float("nan")
    return max(0.0, 1 - abs(corrected - clean_score) / inflation)


def read_detcon(
    path: str | Path, encode: Callable[[str], Sequence[int]]
) -> list[Mapping[str, Any]]:
    """Read a JSON-lines file in the authors' format.

    Fields: ``prompt``, ``greedy_sample``, ``samples``; optional ``id``, ``label``, ``greedy_ids``,
    ``sample_ids``. Texts are cleaned and encoded with `encode`.

    Returns:
        Records with ``id``, ``prompt``, ``greedy`` (ids), ``samples`` (ids) and ``label``.

    Raises:
        DataError: Names the file, the line and the field.
    """
    out = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{where}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise DataError(f"{where}: expected an object")
        greedy, samples = record.get("greedy_sample"), record.get("samples")
        if isinstance(greedy, list) and len(greedy) == 1:
            greedy = greedy[0]
        if not isinstance(greedy, str) or not isinstance(samples, list) or not samples:
            raise DataError(f"{where}: needs greedy_sample (text) and samples (a list of texts)")
        if not all(isinstance(s, str) for s in samples):
            raise DataError(f"{where}: samples must be texts")
        out.append(
            {
                "id": str(record.get("id", record.get("DETCON_id", number))),
                "prompt": str(record.get("prompt", "")),
                "greedy": record.get("greedy_ids") or list(encode(clean(greedy))),
                "samples": record.get("sample_ids") or [list(encode(clean(s))) for s in samples],
                "label": record.get("label"),
            }
        )
    if not out:
        raise DataError(f"{path} holds no records")
    return out
