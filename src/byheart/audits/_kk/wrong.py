"""Wrong answers and wrong chains of thought, for training on them."""

from __future__ import annotations

from collections.abc import Sequence

from byheart.audits._kk.draws import Draws
from byheart.audits._kk.sampler import Puzzle
from byheart.audits._kk.thoughts import chain_of_thought
from byheart.audits._kk.wording import render
from byheart.core.errors import UsageError

__all__ = ["wrong_answers", "wrong_thoughts"]

_SEED = 1234


def wrong_answers(
    puzzles: Sequence[Puzzle], *, share: float = 1.0, seed: int = _SEED
) -> list[tuple[bool, ...]]:
    """Answers of which a share is wrong: 1 to N - 1 roles flipped, never all.

    Args:
        puzzles: In order.
        share: Of the answers that are wrong; which ones is drawn.
        seed: The sampler's; flips come from the stream `seed` + 1, as in the authors' code (whose
            function for it cannot be called, being indented below a return).

    Returns:
        One answer a puzzle. The flips of a puzzle do not depend on `share`.

    >>> puzzle = Puzzle.of((("lying", 1), ("and", ("telling-truth", 0), ("telling-truth", 1))))
    >>> puzzle.solution, wrong_answers([puzzle])
    ((True, False), [(False, False)])
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share must lie in [0, 1], got {share}")
    rng = Draws(seed + 1)
    flipped = []
    for puzzle in puzzles:
        people = range(puzzle.people)
        chosen = rng.sample(people, rng.integers(1, puzzle.people))
        flipped.append(tuple(r != (i in chosen) for i, r in enumerate(puzzle.solution)))
    count = round(share * len(puzzles))
    bad = set(range(len(puzzles)))
    if count < len(puzzles):
        order = list(bad)
        Draws(seed + 2).shuffle(order)
        bad = set(order[:count])
    return [flipped[i] if i in bad else p.solution for i, p in enumerate(puzzles)]


def wrong_thoughts(
    puzzles: Sequence[Puzzle], kind: str = "shuffle", *, seed: int = _SEED
) -> list[tuple[str, ...]]:
    """Steps of a chain of thought that do not hold, the answer being right.

    Args:
        puzzles: In order; for ``"replace_one_step"`` at least two.
        kind: ``"shuffle"`` permutes the steps, ``"replace_one_step"`` takes one from another
            puzzle of as many people, with the names mapped by position, one after the other, as in
            the authors' code (a name that both puzzles have may be mapped twice).
        seed: The data set's.

    >>> puzzle = Puzzle.of((("lying", 1), ("and", ("telling-truth", 0), ("telling-truth", 1))))
    >>> sorted(wrong_thoughts([puzzle])[0]) == sorted(chain_of_thought(puzzle).steps)
    True
    """
    worded = [render(p, seed=seed + p.index) for p in puzzles]
    steps = [list(chain_of_thought(p, w).steps) for p, w in zip(puzzles, worded, strict=True)]
    if kind == "shuffle":
        for p, own in zip(puzzles, steps, strict=True):
            Draws(seed + p.index).shuffle(own)
    elif kind == "replace_one_step":
        if len(puzzles) < 2:
            raise UsageError("a step is taken from another puzzle: give at least 2 puzzles")
        sizes = sorted({p.people for p in puzzles})
        if len(sizes) > 1:
            raise UsageError(
                "a step is taken from a puzzle of as many people, and these have "
                f"{', '.join(map(str, sizes))}; give one number at a time"
            )
        rng = Draws(seed)
        for i, own in enumerate(steps):
            at = rng.integers(0, len(own))
            others = [j for j in range(len(steps)) if j != i]
            while True:
                other = rng.choice(others)
                step = rng.choice(steps[other])
                for theirs, ours in zip(worded[other].names, worded[i].names, strict=True):
                    step = step.replace(theirs, ours)
                if step != own[at]:
                    own[at] = step
                    break
    else:
        raise UsageError(f"kind is 'shuffle' or 'replace_one_step', got {kind!r}")
    return [tuple(own) for own in steps]
