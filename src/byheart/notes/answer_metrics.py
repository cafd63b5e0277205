"""How near a short answer is to the key: the metrics of A-MEM's evaluation (its `utils.py`).

F1 over *sets* of tokens and exact match need nothing; BLEU and METEOR are NLTK's, ROUGE is
rouge-score's, each as the paper's code calls it, and none of them reads a corpus from the network:
METEOR matches words and stems but no WordNet synonyms, so it is never above the paper's. BERTScore
is not offered: its model would have to be fetched. An empty answer or key scores 0 everywhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from byheart.core.errors import MissingExtra, UsageError
from byheart.notes._locomo_data import token_f1

__all__ = ["bleu", "exact_match", "meteor", "rouge", "scores", "similarity", "token_f1"]


def _library(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{package} is not installed; type: pip install {package}") from error


def exact_match(prediction: str, reference: str) -> float:
    """1 if both are the same text but for case and spaces at the ends, else 0.

    >>> exact_match(" Bern ", "bern")
    1.0
    """
    found, wanted = prediction.strip().lower(), reference.strip().lower()
    return float(bool(found) and found == wanted)


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    return _library("nltk.tokenize.destructive", "nltk").NLTKWordTokenizer()


def _tokens(text: str) -> list[str]:
    # what word_tokenize does to one sentence; splitting sentences would need a downloaded model
    found: list[str] = _tokenizer().tokenize(text.lower())
    return found


def bleu(prediction: str, reference: str, n: int = 1) -> float:
    """BLEU-n with equal weights, smoothing method 1 and brevity penalty (NLTK).

    Args:
        prediction: The answer.
        reference: The key.
        n: Longest word group, 1 to 4.

    Raises:
        MissingExtra: nltk is not installed.
    """
    if n not in (1, 2, 3, 4):
        raise UsageError(f"n must be 1, 2, 3 or 4, got {n!r}")
    if not prediction.strip() or not reference.strip():
        return 0.0
    module = _library("nltk.translate.bleu_score", "nltk")
    value = module.sentence_bleu(
        [_tokens(reference)],
        _tokens(prediction),
        weights=(1 / n,) * n,
        smoothing_function=module.SmoothingFunction().method1,
    )
    return float(value)


def rouge(prediction: str, reference: str, kind: str = "rougeL") -> float:
    """F of ROUGE-1, ROUGE-2 or ROUGE-L with stemming (rouge-score).

    Args:
        prediction: The answer.
        reference: The key.
        kind: ``"rouge1"``, ``"rouge2"`` or ``"rougeL"``.

    Raises:
        MissingExtra: rouge-score is not installed.
    """
    if kind not in ("rouge1", "rouge2", "rougeL"):
        raise UsageError(f"kind must be rouge1, rouge2 or rougeL, got {kind!r}")
    if not prediction.strip() or not reference.strip():
        return 0.0
    return float(_scorer(kind).score(reference, prediction)[kind].fmeasure)


@lru_cache(maxsize=3)
def _scorer(kind: str) -> Any:
    return _library("rouge_score.rouge_scorer", "rouge-score").RougeScorer([kind], use_stemmer=True)


class _NoSynonyms:
    """In place of WordNet, which would have to be downloaded."""

    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(prediction: str, reference: str) -> float:
    """METEOR with words and stems, without synonyms (NLTK).

    Raises:
        MissingExtra: nltk is not installed.
    """
    if not prediction.strip() or not reference.strip():
        return 0.0
    module = _library("nltk.translate.meteor_score", "nltk")
    return float(
        module.meteor_score([_tokens(reference)], _tokens(prediction), wordnet=_NoSynonyms())
    )


def similarity(prediction: str, reference: str, encode: Callable[[list[str]], np.ndarray]) -> float:
    """Cosine of both embeddings (the paper: all-MiniLM-L6-v2).

    Args:
        prediction: The answer.
        reference: The key.
        encode: Texts to `[N, D]` numbers.
    """
    if not prediction.strip() or not reference.strip():
        return 0.0
    a, b = np.asarray(encode([prediction, reference]), dtype=np.float64)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else 0.0


def scores(prediction: str, reference: str) -> dict[str, float]:
    """All of them but `similarity`, by the names of the paper's tables.

    Raises:
        MissingExtra: nltk or rouge-score is not installed.
    """
    return {
        "F1": token_f1(prediction, reference),
        "EM": exact_match(prediction, reference),
        **{f"BLEU-{n}": bleu(prediction, reference, n) for n in (1, 2, 3, 4)},
        "ROUGE-1": rouge(prediction, reference, "rouge1"),
        "ROUGE-2": rouge(prediction, reference, "rouge2"),
        "ROUGE-L": rouge(prediction, reference, "rougeL"),
        "METEOR": meteor(prediction, reference),
    }
