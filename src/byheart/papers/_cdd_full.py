"""The large case of cdd-ted: SmolLM2-135M contaminated fully and by LoRA; meant for a GPU."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits.output_distribution import OutputDistribution
from byheart.core.drive import drive
from byheart.core.model import load
from byheart.core.stats import auc
from byheart.data.contamination import invent
from byheart.papers._common import Check, Result, save_figure, verdict_of

__all__ = ["run_full"]

_GRID = (1, 5, 20, 50)
_ITEMS = 100


def run_full(
    *, seeds: int, out: Path | None, progress: Any, device: str | None, items: int = _ITEMS
) -> Result:
    """Fine-tune on invented items for 1, 5, 20, 50 epochs, fully and by LoRA of rank 8.

    Args:
        seeds: Independent draws of items and trainings.
        out: Folder for ``result.json``.
        progress: As for `byheart.reproduce`.
        device: As for `byheart.load`.
        items: Leaked items, and as many held back.
    """
    from byheart.papers.cdd_ted import CLAIM

    started = time.perf_counter()
    areas: dict[tuple[str, int, str], list[float]] = {}
    verbatim: dict[tuple[str, int], list[float]] = {}
    cells = [(s, m, e) for s in range(seeds) for m in ("full", "lora") for e in _GRID]
    for k, (seed, method, epochs) in enumerate(cells):
        if progress:
            progress(f"seed {seed + 1}, {method}, {epochs} epochs", k / len(cells))
        drawn = invent(2 * items, seed=seed)
        leaked, held = drawn[:items], drawn[items:]
        model = load("smollm2", device=device)
        _tune(model, [f"{i.question} {i.answer}" for i in leaked], method, epochs, seed)
        audit = OutputDistribution(seen_items=tuple(leaked), fresh_items=tuple(held), samples=24)
        rows = drive(audit, model, seed=seed)
        for metric, sign in (("peak", 1), ("perplexity", -1), ("min-k", 1)):
            arms = [
                [sign * float(r.values[metric] or 0.0) for r in rows if r.arm == arm]
                for arm in ("seen", "fresh")
            ]
            areas.setdefault((method, epochs, metric), []).append(auc(*arms))
        share = [float(r.values["verbatim"] or 0.0) == 1.0 for r in rows if r.arm == "seen"]
        verbatim.setdefault((method, epochs), []).append(float(np.mean(share)))
    mean = {key: float(np.mean(v)) for key, v in areas.items()}
    notes = [
        f"{m}, {e} epochs: verbatim {np.mean(verbatim[m, e]):.2f}, AUC of perplexity "
        f"{mean[m, e, 'perplexity']:.2f}, Min-20 % {mean[m, e, 'min-k']:.2f}, CDD {mean[m, e, 'peak']:.2f}"
        for m in ("full", "lora")
        for e in _GRID
    ]
    cells_ahead = sum(
        mean[m, e, "perplexity"] >= mean[m, e, "peak"] for m in ("full", "lora") for e in _GRID
    )
    top = mean["full", _GRID[-1], "peak"]
    checks = [
        Check("perplexity is ahead of CDD or level", "in every cell", f"{cells_ahead} of 8", cells_ahead == 8),
        Check("CDD sees full fine-tuning at 50 epochs", "AUC >= 0.95", f"{top:.2f}", top >= 0.95),
    ]  # fmt: skip
    figures = []
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        shares = {key: float(np.mean(v)) for key, v in verbatim.items()}
        figures.append(_figure(mean, shares, out / "cdd-ted-full.svg"))
    result = Result(
        "cdd-ted", CLAIM, verdict_of(checks), checks, figures=figures,
        seconds=time.perf_counter() - started, notes=notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _figure(
    areas: dict[tuple[str, int, str], float], verbatim: dict[tuple[str, int], float], path: Path
) -> Path:
    """AUC of each detector, and verbatim recall, by epochs: full fine-tuning beside LoRA."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.9), layout="constrained")
    FigureCanvasSVG(figure)
    at = range(len(_GRID))
    for axes, method in zip(figure.subplots(1, 2, sharey=True), ("full", "lora"), strict=True):
        for metric, colour, label in (
            ("perplexity", "#24445c", "perplexity (AUC)"),
            ("min-k", "#6b8fa8", "Min-20 % (AUC)"),
            ("peak", "#b5541c", "CDD (AUC)"),
        ):
            axes.plot(
                at, [areas[method, e, metric] for e in _GRID], "o-", color=colour, label=label
            )
        shares = [verbatim[method, e] for e in _GRID]
        axes.plot(at, shares, "o:", color="#8a8a8a", label="recited verbatim (share)")
        axes.axhline(0.5, color="#bbbbbb", lw=0.8, zorder=0)
        axes.set_xticks(at, [str(e) for e in _GRID])
        axes.set(ylim=(-0.03, 1.05), xlabel="epochs on the leak", title=method)
    axes.legend(frameon=False, fontsize=9)
    return save_figure(figure, path)


def _tune(model: Any, texts: list[str], method: str, epochs: int, seed: int) -> None:
    """Plain fine-tuning in place: AdamW, batches of 16; LoRA of rank 8 is merged at the end."""
    import torch

    torch.manual_seed(seed)
    module = model.module
    if method == "lora":
        import peft

        config = peft.LoraConfig(
            r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        module = peft.get_peft_model(module, config)
    rate = 5e-5 if method == "full" else 1e-3
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=rate)
    ids = [torch.tensor([*model.prompt_ids(t), model.tokenizer.eos_token_id]) for t in texts]
    generator = torch.Generator().manual_seed(seed)
    module.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(ids), generator=generator).split(16):
            part = [ids[i] for i in rows.tolist()]
            x = torch.nn.utils.rnn.pad_sequence(part, batch_first=True).to(model.device)
            y = torch.nn.utils.rnn.pad_sequence(part, batch_first=True, padding_value=-100)
            loss = module(input_ids=x, labels=y.to(model.device)).loss
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    model.module = (module.merge_and_unload() if method == "lora" else module).eval()
