"""ROUGE-L as the paper's code computes it: words and digits only, Porter stems, F-measure.

The tokens are rouge-score's: lower case, everything but a-z and 0-9 is a gap, words of four letters or
more are stemmed.
"""

from __future__ import annotations

import re

from byheart.audits._calc import porter
from byheart.core.errors import need

__all__ = ["exact_match", "head", "rouge_l", "rouge_tokens"]

_GAP = re.compile(r"[^a-z0-9]+")


def rouge_tokens(text: str, *, stem: bool = True) -> list[str]:
    """Tokens that are compared.

    >>> rouge_tokens("The Ducks' eggs: $16!")
    ['the', 'duck', 'egg', '16']
    """
    words = _GAP.sub(" ", text.lower()).split()
    return [porter.stem(w) if len(w) > 3 else w for w in words] if stem else words


def rouge_l(prediction: str, target: str) -> float:
    """F-measure of the longest common subsequence: 2 LCS / (tokens of both); 0 if a text has none.

    Raises:
        MissingExtra: If rapidfuzz is not installed.

    >>> round(rouge_l("a cat sat", "the cat sat down"), 4)
    0.5714
    """
    a, b = rouge_tokens(prediction), rouge_tokens(target)
    if not a or not b:
        return 0.0
    common = need("rapidfuzz.distance", "audit").LCSseq.similarity(a, b)
    return float(2 * common / (len(a) + len(b)))


def head(continuation: str, target: str) -> str:
    """As many words of the continuation as the target has, one blank between them (the paper's
    prediction)."""
    return " ".join(continuation.split()[: len(target.split())])


def exact_match(rouge: float) -> bool:
    """The paper's EM: ROUGE-L rounds to 1. Case, punctuation, LaTeX signs and endings do not count.

    >>> exact_match(rouge_l("16 EGGS?", "$16 egg."))
    True
    """
    return round(rouge, 4) == 1.0
