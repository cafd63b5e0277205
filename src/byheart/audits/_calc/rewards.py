"""Rewards for reinforcement learning, as TRL's GRPO takes them; TRL itself is not needed.

A reward is called as ``reward(completions=[...], answer=[...], prompts=[...], ...)`` and returns one
float a completion. A completion is text, or a list of messages (the last one's content counts).
`correct`, `random`, `inverted` and `majority_incorrect` are the paper's; `majority`, `formatted` and
`python_like` come from the code it builds on (Spurious Rewards).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from byheart.audits._calc.answers import boxed, extract, grade, normalise
from byheart.audits._calc.numbers import exact_number, number
from byheart.core.errors import UsageError

__all__ = [
    "REWARDS", "Reward", "correct", "formatted", "inverted", "majority", "majority_incorrect",
    "mislabelled",
    "python_like", "random", "reference_reward", "votes",
]  # fmt: skip

Reward = Callable[..., list[float]]
EPS = 1e-6


def reference_reward(
    prediction: str | float | Fraction | None, reference: str | float | Fraction
) -> float:
    """Eq. 2: 1 - 0.5 min(|a - b|, 1) - 0.5 min(|a - b| / (|b| + 1e-6), 1).

    Args:
        prediction: a: an answer as text, or a number. What is no finite number scores 0.
        reference: b: the key, the same way.

    Returns:
        1 only if a = b (as floats); 0 if a is off by 1 or more and by 100 % or more.

    Raises:
        UsageError: If the key is no finite number.

    >>> reference_reward("6490.42", "6490.42"), round(reference_reward(0.5, 0), 6)
    (1.0, 0.25)
    >>> round(reference_reward("3", "4"), 5), reference_reward("none", 4)
    (0.375, 0.0)
    """
    b = _float(reference)
    if b is None:
        raise UsageError(f"the reference must be a finite number, got {str(reference)[:60]!r}")
    a = _float(prediction)
    if a is None:
        return 0.0
    off = abs(a - b)
    return 1.0 - 0.5 * min(off, 1.0) - 0.5 * min(off / (abs(b) + EPS), 1.0)


def _float(value: str | float | Fraction | None) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        return number(value)
    try:
        value = float(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _text(completion: Any) -> str:
    """The text of a completion in either of TRL's forms."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Mapping):
        completion = [completion]
    if isinstance(completion, Sequence) and completion and isinstance(completion[-1], Mapping):
        content = completion[-1].get("content")
        if isinstance(content, str):
            return content
        if isinstance(content, list):  # parts of a message
            return "".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping))
        return ""
    if isinstance(completion, Sequence) and not completion:
        return ""
    raise UsageError(
        f"a completion is a string or a list of messages, got {type(completion).__name__}"
    )


def _texts(completions: Sequence[Any]) -> list[str]:
    if isinstance(completions, str):
        raise UsageError("completions is a list of texts, got one text; put it into a list")
    return [_text(c) for c in completions]


def _keys(column: str, n: int, columns: Mapping[str, Any]) -> list[Any]:
    keys = columns.get(column)
    if keys is None:
        known = ", ".join(sorted(columns)) or "none"
        raise UsageError(
            f"this reward reads the column {column!r}, and the data have {known}; name it with column="
        )
    if isinstance(keys, str) or len(keys) != n:
        raise UsageError(f"{column!r} must hold {n} keys, one a completion")
    return list(keys)


def _named(name: str, call: Reward) -> Reward:
    call.__name__ = name  # TRL logs a reward under its name
    return call


def correct(kind: str = "arithmetic", column: str = "answer") -> Reward:
    """Reward right answers.

    Args:
        kind: ``"arithmetic"``: eq. 2 of the extracted answer, for RandomCalculation. ``"math"``: 1 if
            graded equal, else 0, for MATH.
        column: Of the data: the keys.

    >>> correct()(completions=[r"\\boxed{6}", "It is 4", "no idea"], answer=["4", "4", "4"])
    [0.2500000624999844, 1.0, 0.0]
    """
    if kind not in ("arithmetic", "math"):
        raise UsageError(f"kind is 'arithmetic' or 'math', got {kind!r}")

    def reward(completions: Sequence[Any], **columns: Any) -> list[float]:
        texts = _texts(completions)
        keys = _keys(column, len(texts), columns)
        found = [extract(t) for t in texts]
        if kind == "math":
            return [float(grade(f, str(k))) for f, k in zip(found, keys, strict=True)]
        return [reference_reward(f, k) for f, k in zip(found, keys, strict=True)]

    return _named(f"correct_{kind}", reward)


def inverted(kind: str = "arithmetic", column: str = "answer") -> Reward:
    """1 - `correct`: the same arguments, the opposite wish.

    >>> inverted()(completions=["It is 4", "no idea"], answer=["4", "4"])
    [0.0, 1.0]
    """
    right = correct(kind, column)

    def reward(completions: Sequence[Any], **columns: Any) -> list[float]:
        return [1.0 - r for r in right(completions=completions, **columns)]

    return _named(f"inverted_{kind}", reward)


def random(gamma: float = 0.5, seed: int = 0) -> Reward:
    """1 with probability `gamma`, else 0; one draw a completion, whatever it says.

    Args:
        gamma: 0 to 1 (paper: 0.5).
        seed: Of the stream of draws; every call goes on where the last one ended. In training on
            several processes give each another seed.

    >>> coin = random(0.5, seed=1)
    >>> coin(completions=["a", "a", "a", "a"]) != coin(completions=["a", "a", "a", "a"])
    True
    """
    if not 0 <= gamma <= 1:
        raise UsageError(f"gamma must lie in [0, 1], got {gamma}")
    stream = np.random.default_rng(seed)

    def reward(completions: Sequence[Any], **columns: Any) -> list[float]:
        return [float(x < gamma) for x in stream.random(len(_texts(completions)))]

    return _named("random", reward)


def votes(texts: Sequence[str]) -> str | None:
    """The answer that most texts give, empty ones dropped; the first of equals; None if none gives one.

    The same number in another form is the same vote.

    >>> votes(["It is 4", r"\\boxed{4.0}", "It is 5", ""])
    '4'
    """
    first: dict[Any, str] = {}
    counts: Counter[Any] = Counter()
    for text in texts:
        found = extract(text)
        if found is None:
            continue
        value = exact_number(found)
        key: Any = value if value is not None else normalise(found)
        first.setdefault(key, found)
        counts[key] += 1
    return first[counts.most_common(1)[0][0]] if counts else None


def majority(group: int = 16) -> Reward:
    """1 for the answer that most completions of a prompt give: needs no key (TTRL).

    Args:
        group: Completions a prompt; they stand one after the other, as in TRL.

    >>> majority(group=3)(completions=["It is 4", "It is 4", "It is 5"])
    [1.0, 1.0, 0.0]
    """
    if group < 1:
        raise UsageError(f"group must be at least 1, got {group}")

    def reward(completions: Sequence[Any], **columns: Any) -> list[float]:
        texts = _texts(completions)
        if len(texts) % group:
            raise UsageError(
                f"{len(texts)} completions are no multiple of group={group}; set it to the number of "
                "generations a prompt"
            )
        out = []
        for at in range(0, len(texts), group):
            some = texts[at : at + group]
            top = votes(some)
            out += [float(top is not None and grade(extract(t), top)) for t in some]
        return out

    return _named("majority", reward)


def majority_incorrect(column: str = "majority_answer") -> Reward:
    """1 for the model's own majority answer, on prompts where that answer is wrong.

    The labels are made beforehand: `votes` over 64 samples at temperature 1, and only prompts whose
    vote is wrong are kept (`mislabelled`).

    Args:
        column: Of the data: the vote.

    >>> majority_incorrect()(completions=["It is 5", "It is 4"], majority_answer=["5", "5"])
    [1.0, 0.0]
    """

    def reward(completions: Sequence[Any], **columns: Any) -> list[float]:
        texts = _texts(completions)
        keys = _keys(column, len(texts), columns)
        return [float(grade(extract(t), str(k))) for t, k in zip(texts, keys, strict=True)]

    return _named("majority_incorrect", reward)


def formatted() -> Reward:
    """1 for any answer in ``boxed{...}``, right or wrong.

    >>> formatted()(completions=[r"\\boxed{1}", "The answer is 1"])
    [1.0, 0.0]
    """

    def reward(completions: Sequence[Any], **columns: Any) -> list[float]:
        return [float("boxed{" in t and bool(boxed(t))) for t in _texts(completions)]

    return _named("formatted", reward)


def python_like() -> Reward:
    """1 for a completion that writes Python: the word occurs in it.

    >>> python_like()(completions=["```python", "plain"])
    [1.0, 0.0]
    """

    def reward(completions: Sequence[Any], **columns: Any) -> list[float]:
        return [float(bool(re.search("python", t, re.I))) for t in _texts(completions)]

    return _named("python_like", reward)


def mislabelled(
    problems: Sequence[Mapping[str, Any]], samples: Sequence[Sequence[str]], key: str = "answer"
) -> list[dict[str, Any]]:
    """The problems whose majority vote is wrong, with the vote as ``majority_answer``.

    Args:
        problems: Records with their key.
        samples: The model's samples for each (paper: 64 at temperature 1).
        key: The field of the key.

    >>> mislabelled([{"answer": "4"}], [["It is 5", "It is 5", "It is 4"]])
    [{'answer': '4', 'majority_answer': '5'}]
    """
    if len(problems) != len(samples):
        raise UsageError(f"{len(problems)} problems and {len(samples)} lists of samples")
    out = []
    for problem, texts in zip(problems, samples, strict=True):
        vote = votes(texts)
        if vote is not None and not grade(vote, str(problem[key])):
            out.append({**problem, "majority_answer": vote})
    return out


REWARDS: dict[str, Callable[..., Reward]] = {
    "correct": correct,
    "random": random,
    "inverted": inverted,
    "majority": majority,
    "majority-incorrect": majority_incorrect,
    "formatted": formatted,
    "python-like": python_like,
}
"""Every reward by name; each makes a reward function."""
