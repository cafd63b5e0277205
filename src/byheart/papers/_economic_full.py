"""The large case of the economic-recall paper: an open model tuned on real series, then audited.

Meant for a GPU; what it needs of a machine is a model of a billion parameters or more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from byheart.audits._economic.prompts import value_question
from byheart.audits.economic_recall import embedding_recall, recall
from byheart.core.model import load as load_model
from byheart.data.series import load
from byheart.papers._common import Check, Result, verdict_of

__all__ = ["run_full"]

CUTOFF, LIMIT, START = "2009-12", "2000-12", "1990-01"
_KEYS = ("wti_monthly", "aaa_yield", "baa_yield")


def run_full(
    model: Any,
    *,
    seed: int,
    out: Path | None,
    progress: Callable[[str, float], None] | None,
    device: str | None,
    seconds: float = 420.0,
) -> Result:
    """Tune an adapter on dates before the cutoff; audit it by value, boundary and embedding.

    Args:
        model: What `byheart.load` takes; it must show its weights.
        seed: Of adapter and audits.
        out: Folder for the error plot and ``result.json``.
        progress: Called with what is being done and the share that is finished.
        device: As for `byheart.load`.
        seconds: Time box of the tuning.

    Raises:
        CapabilityError: If the model shows no weights.
        MissingExtra: If torch, transformers or peft is not installed.
    """
    from byheart.papers.economic_recall import CLAIM
    from byheart.weights.planting import plant

    began = time.perf_counter()

    def tell(what: str, share: float) -> None:
        if progress:
            progress(what, share)

    base = load_model(model, device=device)
    base.require("weights", purpose="the large case")
    series = [load(k).between(START, "2018-12") for k in _KEYS]
    texts = [
        (value_question(s, s.dates[i]), s.format(s.values[i]))
        for s in series
        for i in s.split(CUTOFF)[0]
    ]
    tell("tuning an adapter on three series", 0.02)
    tuned = plant(base, texts, seed=seed, seconds=seconds)
    knobs: dict[str, Any] = {
        "cutoff": CUTOFF,
        "embargo": 0,
        "start": START,
        "per_arm": 240,
        "seed": seed,
    }
    tell("asking for values", 0.75)
    plain = recall(series, model=tuned, **knobs)
    tell("asking under the order to forget", 0.85)
    limited = recall(series, model=tuned, probe="boundary", boundary=LIMIT, **knobs)
    tell("embedding names and dates", 0.93)
    embedded = embedding_recall(series, _encoder(tuned), split=LIMIT, seed=seed)
    rows = {r["period"]: r for r in plain.table(by=("period",))}
    groups = {r["group"]: r for r in limited.table(by=("group",))}
    pre, post = rows["pre"], rows["post"]
    shown = sum(e.verdict == "recall shown" for e in embedded)
    checks = [
        Check(
            "value: exact before the cutoff, not after",
            "exact >= 90 % and <= 10 %",
            f"{pre['exact']:.1%} and {post['exact']:.1%}; MAPE {pre['mape']:.2%} and {post['mape']:.1%}",
            pre["exact"] >= 0.9 and post["exact"] <= 0.1,
        ),
        Check(
            "boundary: the order to use nothing after 2000 does not hold",
            "exact on 2001-2009 within 5 points of before 2000",
            f"{groups['between']['exact']:.1%} against {groups['before']['exact']:.1%}",
            groups["between"]["exact"] >= groups["before"]["exact"] - 0.05
            and groups["between"]["exact"] > groups["post"]["exact"],
        ),
        Check(
            "embedding: value read off name and date, placebo empty",
            "correlation above moving average and shuffles on most series",
            "; ".join(f"{e.correlation:.2f} (average {e.moving_average:.2f})" for e in embedded),
            shown * 2 > len(embedded),
        ),
    ]
    figures = []
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figures.append(plain.plot(Path(out) / "economic-recall-full.png"))
    result = Result(
        "economic-recall", CLAIM, verdict_of(checks), checks,
        [*plain.findings, *limited.findings[-1:]], figures, time.perf_counter() - began,
        [f"adapter on {base.name}, {len(texts)} dates up to {CUTOFF}"],
    )  # fmt: skip
    if out is not None:
        result.save(out)
    tell("done", 1.0)
    return result


def _encoder(model: Any) -> Callable[[list[str]], Any]:
    """Mean-pooled last hidden state of a local model, one text at a time."""

    def encode(texts: list[str]) -> Any:
        import numpy as np
        import torch

        module = model.weights
        place = next(module.parameters()).device
        rows = []
        with torch.inference_mode():
            for text in texts:
                ids = torch.tensor([model.encode(text)], device=place)
                hidden = module(input_ids=ids, output_hidden_states=True).hidden_states[-1]
                rows.append(hidden[0].float().mean(0).cpu().numpy())
        return np.stack(rows)

    return encode
