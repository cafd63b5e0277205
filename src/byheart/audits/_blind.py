"""The blind baseline: how well the two arms can be told apart without asking the model at all.

A membership attack is only worth what it adds to this. Many published member and non-member sets
differ in date, topic or length, and a classifier that never sees the model tells them apart better
than the attacks do (Das, Zhang and Tramer, 2024, "Blind Baselines Beat Membership Inference Attacks
for Foundation Models", arXiv 2406.16201).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from byheart.core.errors import UsageError, need

__all__ = ["blind_scores", "surface"]

NAME = "blind classifier (words, character n-grams and length, cross-validated) on the same texts"


def surface(text: str) -> list[float]:
    """Numbers of a text that attacks react to: its length, and how regular it is."""
    words = text.split() or [""]
    packed = len(zlib.compress(text.encode(), 9))
    return [
        float(np.log1p(len(words))),
        float(np.log1p(len(text))),
        packed / max(1, len(text)),
        len(text) / len(words),
        len({w.lower() for w in words}) / len(words),
        sum(map(str.isupper, text)) / max(1, len(text)),
        sum(map(str.isdigit, text)) / max(1, len(text)),
    ]


def blind_scores(
    texts: Sequence[str],
    member: Sequence[bool] | np.ndarray,
    groups: Sequence[str] | None = None,
    *,
    folds: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Out-of-fold log-odds of membership, from the texts alone.

    Logistic regression on TF-IDF of words and of character 2- to 4-grams, and on `surface` numbers.
    Every text is scored by a classifier that was trained without it and without its group.

    Args:
        texts: ``[N]`` texts of both arms.
        member: ``[N]`` whether a text is of the seen arm.
        groups: ``[N]`` what must not be torn between training and scoring (a document's windows, a
            text and its twin); None: every text stands alone.
        folds: At most so many folds.
        seed: Of the folds.

    Returns:
        ``[N]`` scores, higher for texts that look like members.

    Raises:
        UsageError: If an arm has fewer than two texts.
        MissingExtra: If scikit-learn is not installed.
    """
    y = np.asarray(member, dtype=bool)
    if len(texts) != len(y) or min(y.sum(), (~y).sum()) < 2:
        raise UsageError(
            f"each arm needs two texts or more, got {int(y.sum())} and {int((~y).sum())}"
        )
    extract = need("sklearn.feature_extraction.text", "audit")
    linear = need("sklearn.linear_model", "audit")
    vectors = []
    for how in (
        {"analyzer": "word", "token_pattern": r"\w+|[^\w\s]"},
        {"analyzer": "char_wb", "ngram_range": (2, 4)},
    ):
        hashed = extract.HashingVectorizer(n_features=2**16, norm=None, alternate_sign=False, **how)
        weigh = extract.TfidfTransformer(sublinear_tf=True)
        vectors.append(weigh.fit_transform(hashed.transform(texts)))
    flat = np.array([surface(t) for t in texts])
    spread = flat.std(0)
    flat = (flat - flat.mean(0)) / np.where(spread > 1e-9, spread, 1.0) / np.sqrt(flat.shape[1])
    # An L2-penalised linear classifier depends on the features through their inner products only:
    # the principal axes of the N x N Gram matrix give the same classifier as 10,000 n-grams do.
    gram = sum((v @ v.T).toarray() for v in vectors) + flat @ flat.T
    values, axes = np.linalg.eigh(gram)
    keep = values > 1e-9 * max(values[-1], 1e-9)
    x = axes[:, keep] * np.sqrt(values[keep])
    fold = _folds(y, groups, folds, seed)
    scores = np.zeros(len(y))
    with need("threadpoolctl", "audit").threadpool_limits(1):  # small problems; threads only wait
        for k in range(int(fold.max()) + 1):
            out = fold == k
            model = linear.LogisticRegression(C=10.0, class_weight="balanced", max_iter=200)
            model.fit(x[~out], y[~out])
            scores[out] = model.decision_function(x[out])
    return scores


def _folds(y: np.ndarray, groups: Sequence[str] | None, folds: int, seed: int) -> np.ndarray:
    """Fold of every text: groups stay whole, arms are spread evenly, every fold can be trained.

    Groups that lie in one arm are dealt out arm by arm. If an arm has a single group, keeping it
    whole would leave nothing to train on, and texts are dealt out instead: the classifier may then
    know a document again, which makes the baseline stronger and the verdict more cautious.
    """
    rng = np.random.default_rng([seed, 2406])
    labels = np.arange(len(y)).astype(str) if groups is None else np.asarray(groups, dtype=str)
    for names in (labels, np.arange(len(y)).astype(str)):
        unique, index = np.unique(names, return_inverse=True)
        share = np.bincount(index, y) / np.bincount(index)
        kinds = [np.flatnonzero(share == 1), np.flatnonzero(share == 0),
                 np.flatnonzero((share > 0) & (share < 1))]  # fmt: skip
        mixed = len(kinds[2])
        if min(len(kinds[0]), len(kinds[1])) + mixed < 2:
            continue
        count = max(2, min(folds, min(len(kinds[0]), len(kinds[1])) + mixed))
        fold_of = np.zeros(len(unique), dtype=int)
        for kind in kinds:
            fold_of[rng.permutation(kind)] = np.arange(len(kind)) % count
        fold = fold_of[index]
        if all(0 < y[fold != k].mean() < 1 for k in range(count)) and len(set(fold)) == count:
            return fold
    raise UsageError("the texts cannot be split into folds; give at least two texts an arm")
