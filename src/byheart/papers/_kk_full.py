"""The large case of knights-and-knaves: a language model tuned on rendered puzzles; for a GPU."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

from byheart.audits._kk.sampler import KINDS, Puzzle, Sampler
from byheart.audits._kk.tuning import StudyPoint, study
from byheart.audits._kk.wording import STYLES
from byheart.core.local import LocalModel
from byheart.core.model import load
from byheart.papers._common import Check, Result, verdict_of

__all__ = ["run_full"]

_EPOCHS = (1, 2, 5, 10)


def run_full(
    *,
    out: Path | None,
    progress: Any,
    device: str | None,
    model: Any = "smollm2",
    people: int = 3,
    train: int = 10_000,
    test: int = 200,
    epochs: tuple[int, ...] = _EPOCHS,
    seed: int = 1234,
    **tuning: Any,
) -> Result:
    """Direct and chain-of-thought tuning on `train` puzzles; accuracy and LiMem by perturbation.

    Args:
        out: Folder for figure and ``result.json``.
        progress: As for `byheart.reproduce`.
        device: As for `byheart.load`.
        model: What `byheart.load` takes, or a local model.
        people: Of the puzzles (3).
        train: Training puzzles (10,000).
        test: Test puzzles, and training puzzles asked.
        epochs: When to measure.
        seed: Of the puzzles.
        **tuning: As for `fine_tune`.
    """
    from byheart.papers.knights_and_knaves import CLAIM

    started = time.perf_counter()
    puzzles = Sampler(people, seed=seed).sample(train + test)
    parts: tuple[list[Puzzle], list[Puzzle]] = puzzles[test:], puzzles[:test]
    kinds = (*KINDS, *STYLES)
    settings = {"lr": 2e-4, "batch": 16, "accumulation": 2, "max_length": 1024, **tuning}
    points: dict[str, list[StudyPoint]] = {}
    for cot in (False, True):
        name = "chain of thought" if cot else "direct"
        local = load(model, device=device)
        assert isinstance(local, LocalModel)

        def tell(what: str, share: float, cot: bool = cot, name: str = name) -> None:
            if progress:
                progress(f"{name}: {what}", (share + cot) / 2)

        points[name] = study(
            copy.deepcopy(local.weights), local.tokenizer, *parts, cot=cot, epochs=epochs, perturbations=kinds,
            most=test, progress=tell, **settings,
        )  # fmt: skip
    checks, notes = [], []
    for name, told in points.items():
        first, last = ({p.part: p for p in told if p.epoch == e} for e in (epochs[0], epochs[-1]))
        a, b = last["train"], last["test"]
        checks += [
            Check(f"{name}: test accuracy rises", f"epoch {epochs[-1]} above epoch {epochs[0]}",
                  f"{first['test'].accuracy:.2f} to {b.accuracy:.2f}", b.accuracy > first["test"].accuracy),
            Check(f"{name}: training puzzles are recited more than new ones", "train LiMem above test LiMem (leaf)",
                  f"{a.limem.get('leaf', 0):.2f} against {b.limem.get('leaf', 0):.2f}",
                  a.limem.get("leaf", 0.0) > b.limem.get("leaf", 0.0)),
            Check(f"{name}: flipped roles are overlooked", "LiMem of flip_role within .1 of the accuracy, which is .2 or more",
                  f"{b.limem['flip_role']:.2f} of {b.accuracy:.2f}",
                  b.accuracy >= 0.2 and abs(b.limem["flip_role"] - b.accuracy) <= 0.1),
        ]  # fmt: skip
        notes += [
            f"{name}, epoch {p.epoch:g}, {p.part}: accuracy {p.accuracy:.2f}; LiMem "
            + ", ".join(f"{k} {v:.2f}" for k, v in p.limem.items())
            for p in told
        ]
    figures = []
    if out is not None:
        from byheart.papers._kk_figure import draw_full

        figures.append(draw_full(points, people, Path(out)))
    result = Result(
        "knights-and-knaves", CLAIM, verdict_of(checks), checks, figures=figures,
        seconds=time.perf_counter() - started, notes=notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result
