"""Memorised or reasoned? Classifiers that tell the two apart from the puzzle, or from the model.

The label is 1 where a solved training puzzle was solved consistently (its twin too) and 0 where not;
`labels` makes it. (The authors' label file is made by none of their scripts.)
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.audits._kk.probing import LayerScores, linear, mlp_features
from byheart.core.errors import UsageError, need

__all__ = ["FEATURES", "PuzzleScore", "model_classifier", "puzzle_classifier"]

FEATURES = ("tfidf", "bow", "words", "chars", "combine")
"""TF-IDF, bag of words, length in words, length in characters, or all of them side by side."""

_ALL = ("statements", "quiz", "response", "cot_repeat_steps")
_MOST = 5000


@dataclass(frozen=True, slots=True)
class PuzzleScore:
    """How well a puzzle's text tells memorised from reasoned.

    Attributes:
        train: Accuracy on what it was fitted to.
        test: Accuracy on what was held out.
        train_auc: AUC, likewise.
        test_auc: AUC on what was held out.
        n_train: Puzzles it was fitted to.
        n_test: Puzzles held out.
    """

    train: float
    test: float
    train_auc: float
    test_auc: float
    n_train: int
    n_test: int


def puzzle_classifier(
    records: Sequence[Mapping[str, Any]],
    labels: Sequence[int | None],
    *,
    features: str = "tfidf",
    fields: str | Sequence[str] = "quiz",
    balanced: bool = True,
    seed: int = 42,
) -> PuzzleScore:
    """Logistic regression on the text of solved puzzles.

    Args:
        records: With the published fields, and ``response`` (what the model answered) where `fields`
            names it.
        labels: 1 consistently solved, 0 not, None left out; see `labels`.
        features: One of `FEATURES`. At most 5,000 words; stop words and punctuation are left out
            (scikit-learn's list of stop words; the authors use nltk's).
        fields: Names of fields, or ``"all"``: statements, quiz, response and chain of thought,
            those that are there.
        balanced: Draw as many of the commoner label as there are of the rarer.
        seed: Of drawing, the 80/20 split (stratified) and the regression (42).

    Raises:
        UsageError: If there is no such feature or field, or a label has fewer than 5 puzzles.
    """
    need("sklearn", "audit")
    from scipy.sparse import csr_matrix, hstack
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import train_test_split

    if features not in FEATURES:
        raise UsageError(f"features is one of {', '.join(FEATURES)}, got {features!r}")
    if len(records) != len(labels):
        raise UsageError(f"got {len(records)} records and {len(labels)} labels")
    if fields == "all":
        names = [f for f in _ALL if records and f in records[0]]
    else:
        names = [fields] if isinstance(fields, str) else list(fields)
    for name in names:
        if any(name not in r for r in records):
            raise UsageError(f"a record has no field {name!r}")
    rng = np.random.default_rng(seed)
    classes = [np.asarray([i for i, y in enumerate(labels) if y == v], dtype=int) for v in (0, 1)]
    least = min(map(len, classes))
    if least < 5:
        raise UsageError(
            f"{len(classes[1])} puzzles are solved consistently and {len(classes[0])} are not; at "
            "least 5 of each are needed"
        )
    if balanced:
        classes = [rng.choice(c, least, replace=False) for c in classes]
    chosen = rng.permutation(np.concatenate(classes))
    y = np.asarray([int(labels[i] or 0) for i in chosen])
    train, test = train_test_split(np.arange(len(y)), test_size=0.2, stratify=y, random_state=seed)
    kinds = FEATURES[:-1] if features == "combine" else (features,)
    parts = []
    for name in names:
        texts = [_words(records[i][name]) for i in chosen]
        parts += [csr_matrix(_featurise(kind, texts, train)) for kind in kinds]
    x = hstack(parts).tocsr()
    fitted = LogisticRegression(random_state=seed, max_iter=10_000).fit(x[train], y[train])
    sure = fitted.decision_function(x)
    return PuzzleScore(
        float(((sure[train] > 0) == y[train]).mean()),
        float(((sure[test] > 0) == y[test]).mean()),
        float(roc_auc_score(y[train], sure[train])),
        float(roc_auc_score(y[test], sure[test])),
        len(train),
        len(test),
    )


def _words(text: Any) -> str:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    joined = " ".join(map(str, text)) if isinstance(text, list | tuple) else str(text)
    bare = joined.lower().translate(str.maketrans("", "", string.punctuation))
    return " ".join(w for w in bare.split() if w not in ENGLISH_STOP_WORDS)


def _featurise(kind: str, texts: list[str], train: np.ndarray) -> Any:
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

    if kind in ("words", "chars"):
        sizes = [len(t.split()) if kind == "words" else len(t) for t in texts]
        return np.asarray(sizes, dtype=float)[:, None]
    make = TfidfVectorizer if kind == "tfidf" else CountVectorizer
    vectorizer = make(max_features=_MOST)
    vectorizer.fit([texts[i] for i in train])
    return vectorizer.transform(texts)


def model_classifier(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    labels: Sequence[int | None],
    *,
    pool: str = "mean",
    seed: int = 42,
    batch: int = 8,
) -> LayerScores:
    """Logistic regression on every block's MLP output over the prompt.

    Args:
        model: As for `mlp_features`; so are `tokenizer`, `pool` and `batch`.
        tokenizer: Its tokenizer.
        prompts: As the model was asked, see `prompt`.
        labels: 1 consistently solved, 0 not, None left out.
        pool: ``"mean"`` or ``"sum"``.
        seed: Of the split (42).
        batch: Texts a forward pass.

    Raises:
        UsageError: If a label has fewer than 5 prompts.
    """
    if len(prompts) != len(labels):
        raise UsageError(f"got {len(prompts)} prompts and {len(labels)} labels")
    kept = [i for i, y in enumerate(labels) if y is not None]
    if not kept:
        raise UsageError("no label is known; a label needs a solved puzzle that has a twin")
    features = mlp_features(model, tokenizer, [prompts[i] for i in kept], pool=pool, batch=batch)
    return linear(features, [int(labels[i] or 0) for i in kept], seed=seed)
