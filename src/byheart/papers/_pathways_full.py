"""The large case of grokking-pathways: several domains in one stream, groups and their delays.

A mixture of experts of nanoMoE's size reads characters of a stream that is never repeated: sums,
sorted letters, copied words, a table of facts that recur, and Austen's prose where her novels are
installed. At ten checkpoints its pathways on training samples are held against zero-shot answers to
new items of the same domain; training samples that were memorised together are paired with test
items that were generalised to together (paper, §3 and §4.3).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits.pathways import (
    GroupMatch,
    PathwayProbe,
    correlations,
    generalised_at,
    match_groups,
    measures,
    memorised_at,
    sustained_rise,
)
from byheart.core.errors import DataError, MissingExtra, ModelError, need
from byheart.papers._common import Check, Result, save_figure, verdict_of

__all__ = ["DOMAINS", "FullSize", "run_full"]

_CHARACTERS = "\n " + "".join(chr(c) for c in range(33, 127))

_SEEN = 0.9
"""Of the prose is read; what is behind is asked about."""
_INDEX = {c: i for i, c in enumerate(_CHARACTERS)}


@dataclass(frozen=True)
class FullSize:
    """How large the large case is; tests run a small one.

    Attributes:
        hidden: Width.
        layers: MoE layers.
        experts: A layer, two of which a token goes to.
        block: Characters of a row.
        batch: Rows of a step.
        steps: Of training.
        checkpoints: Equidistant.
        probe: Training samples and test items a domain.
        lr: Of AdamW, with a tenth of the steps as warm-up and a cosine down to a tenth.
    """

    hidden: int = 384
    layers: int = 8
    experts: int = 8
    block: int = 256
    batch: int = 64
    steps: int = 50_000
    checkpoints: int = 10
    probe: int = 400
    lr: float = 6e-4


Item = tuple[str, str]
"""What stands there, and what a model that has the rule goes on with."""


def _sum(rng: np.random.Generator) -> Item:
    a, b = (int(v) for v in rng.integers(0, 100, 2))
    return f"{a}+{b}=", f"{a + b}\n"


def _sort(rng: np.random.Generator) -> Item:
    letters = "".join(rng.choice(list("abcdefghij"), 4))
    return f"sort {letters}: ", "".join(sorted(letters)) + "\n"


def _copy(rng: np.random.Generator) -> Item:
    word = "".join(rng.choice(list("klmnopqrst"), 5))
    return f"say {word} again: ", word + "\n"


def _fact(rng: np.random.Generator) -> Item:
    """One of 2,000 facts that recur: a table, where the others are rules."""
    number = int(rng.integers(2000))
    value = np.random.default_rng([number, 7]).integers(10, 100)
    return f"the box {number} holds ", f"{value}\n"


DOMAINS: dict[str, Callable[[np.random.Generator], Item]] = {
    "sums": _sum,
    "sorting": _sort,
    "copying": _copy,
    "facts": _fact,
}


def _prose() -> str:
    """Austen's novels in the alphabet of the case; empty where they are not installed."""
    from byheart.papers._austen import PLACES, austen_books, holds_austen

    place = next((p for p in PLACES if holds_austen(p)), None)
    if place is None:
        return ""
    text = "\n".join(" ".join(map(str, book.words)) for book in austen_books(place))
    return "".join(c for c in text.replace("\u2019", "'") if c in _INDEX)


def _encode(text: str) -> list[int]:
    return [_INDEX[c] for c in text]


@dataclass
class _Domain:
    name: str
    train: list[str]
    test: list[Item]
    probe: Any = None
    rows: list[dict[str, float]] = field(default_factory=list)
    losses: list[np.ndarray] = field(default_factory=list)
    correct: list[np.ndarray] = field(default_factory=list)


def _stream(size: FullSize, prose: str, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches ``[batch, block + 1]``: lines of all domains in turn, and stretches of prose."""
    names = [*DOMAINS, *(["prose"] if prose else [])]
    ids = np.array(_encode(prose)) if prose else np.zeros(0, int)
    width = size.block + 1
    while True:
        rows = np.zeros((size.batch, width), np.int64)
        for r in range(size.batch):
            name = names[int(rng.integers(len(names)))]
            if name == "prose":
                at = int(rng.integers(0, int(_SEEN * len(ids)) - width))
                rows[r] = ids[at : at + width]
                continue
            text: list[int] = []
            while len(text) < width:
                text += _encode("".join(DOMAINS[name](rng)))
            rows[r] = text[:width]
        yield rows


def _domains(size: FullSize, prose: str, seed: int) -> list[_Domain]:
    """Training samples, drawn as the stream draws them, and test items that are none of them."""
    out = []
    for i, (name, draw) in enumerate(DOMAINS.items()):
        rng = np.random.default_rng([seed, i, 1])
        some = [draw(rng) for _ in range(6 * size.probe)]
        train = list(dict.fromkeys("".join(s) for s in some))[: size.probe]
        known = set(train)
        test = [s for s in dict.fromkeys(draw(rng) for _ in range(12 * size.probe)) if "".join(s) not in known]  # fmt: skip
        out.append(_Domain(name, train, test[: size.probe]))
    if prose:
        rng = np.random.default_rng([seed, 99])
        border = int(_SEEN * len(prose))
        seen = rng.integers(0, border - 80, size.probe)
        held = rng.integers(border, len(prose) - 80, size.probe)
        texts = [prose[a : a + 64] for a in seen]
        items = [(prose[a : a + 64], prose[a + 64]) for a in held]
        out.append(_Domain("prose", texts, items))
    return out


def _answers(model: Any, items: list[Item], device: str) -> np.ndarray:
    """``[N]`` whether every character of the answer is the model's first choice."""
    import torch

    right = np.zeros(len(items))
    order = sorted(range(len(items)), key=lambda i: len("".join(items[i])))
    for begin in range(0, len(order), 128):
        some = order[begin : begin + 128]
        texts = [_encode("".join(items[i])) for i in some]
        longest = max(map(len, texts))
        ids = torch.zeros(len(some), longest, dtype=torch.long)
        for r, t in enumerate(texts):
            ids[r, : len(t)] = torch.tensor(t)
        with torch.no_grad():  # right padding, which a causal model cannot see
            best = model(ids.to(device), use_cache=False).logits.argmax(-1).cpu()
        for r, i in enumerate(some):
            first, end = len(items[i][0]), len(texts[r])
            right[i] = float((best[r, first - 1 : end - 1] == ids[r, first:end]).all())
    return right


def _make(size: FullSize, seed: int, device: str) -> Any:
    from byheart.papers._pathways_net import Size, make_model

    small = Size(p=len(_CHARACTERS) - 1, hidden=size.hidden, layers=size.layers,
                 heads=max(2, size.hidden // 64), experts=size.experts)  # fmt: skip
    return make_model(small, seed, device, context=size.block)


def _train(
    size: FullSize, seed: int, device: str, tell: Callable[[float], None]
) -> tuple[list[_Domain], str]:
    """One run; its domains with all that was measured, and why it stopped early, if it did."""
    import torch

    from byheart.papers._pathways_net import balance

    prose = _prose()
    domains = _domains(size, prose, seed)
    model = _make(size, seed, device)
    for d in domains:
        d.probe = PathwayProbe(model, None, [_encode(t) for t in d.train], batch_tokens=16_384)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=size.lr, weight_decay=0.1, betas=(0.9, 0.95)
    )
    stream = _stream(size, prose, np.random.default_rng([seed, 5]))
    every = max(1, size.steps // size.checkpoints)
    warm = max(1, size.steps // 10)
    half = torch.autocast(device.split(":")[0], torch.bfloat16, enabled=device != "cpu")
    for step in range(1, size.steps + 1):
        done = min(1.0, max(0.0, (step - warm) / max(1, size.steps - warm)))
        rate = min(1.0, step / warm) * (0.1 + 0.45 * (1 + np.cos(np.pi * done)))
        for group in optimiser.param_groups:
            group["lr"] = size.lr * rate
        rows = torch.as_tensor(next(stream)).to(device)
        model.train()
        with half:
            out = model(rows[:, :-1], output_router_logits=True, use_cache=False)
            loss = torch.nn.functional.cross_entropy(
                out.logits.flatten(0, 1).float(), rows[:, 1:].flatten()
            )
            loss = loss + 0.01 * balance(out.router_logits, size.experts, 2)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if step % every == 0:
            model.eval()
            try:
                for d in domains:
                    _measure(d, model, step, float(loss.detach()), device)
            except ModelError as error:  # what was measured before is judged
                return domains, str(error)
            tell(step / size.steps)
    return domains, ""


def _measure(d: _Domain, model: Any, step: int, loss: float, device: str) -> None:
    snap = d.probe.run(step=step)
    right = _answers(model, d.test, device)
    d.losses.append(snap.nll)
    d.correct.append(right)
    d.rows.append({**measures(snap), "train_loss": loss, "test": float(right.mean())})


def _groups(d: _Domain) -> tuple[GroupMatch | None, str]:
    """Groups of a domain, paired by meaning; or why there are none."""
    try:
        from byheart.core.minilm import MiniLM

        memorised = memorised_at(np.stack(d.losses, 1), eps="auto:0.1-0.4", delta=0.05, step=0.01)
        encode = MiniLM()
        train = np.asarray(encode(d.train), float)
        test = np.asarray(encode(["".join(t) for t in d.test]), float)
        return match_groups(train, memorised, test, generalised_at(np.stack(d.correct, 1))), ""
    except (DataError, MissingExtra) as error:
        return None, f"{d.name}: {error}"


def run_full(
    *,
    seeds: int,
    out: Path | None,
    progress: Callable[[str, float], None] | None,
    device: str | None,
    steps: int | None,
    size: FullSize | None = None,
) -> Result:
    """The large case; see `byheart.papers.grokking_pathways.run`."""
    from byheart.core.local import best_device
    from byheart.papers.grokking_pathways import CLAIM

    need("torch", "torch")
    began = time.perf_counter()
    place = device or best_device()
    size = size or FullSize()
    size = size if steps is None else replace(size, steps=steps)
    runs: list[list[_Domain]] = []
    notes = [
        f"{seeds} seed(s) of {size.steps:,} steps of {size.batch} x {size.block} characters, "
        f"{size.layers} layers of {size.experts} experts, {size.hidden} wide, on {place}",
        "accuracy is zero-shot; the paper tunes a LoRA on every checkpoint first",
    ]
    for seed in range(seeds):

        def tell(share: float, before: int = seed) -> None:
            if progress:
                progress(f"seed {before + 1}", (before + share) / seeds)

        domains, why = _train(size, seed, place, tell)
        runs.append(domains)
        if why:
            notes.append(f"seed {seed} stopped early: {why}")
    checks, more = _judge(runs)
    figures = [] if out is None else [_figure(runs[0], Path(out))]
    result = Result(
        "grokking-pathways", CLAIM, verdict_of(checks), checks, [], figures,
        time.perf_counter() - began, [*notes, *more],
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _judge(runs: list[list[_Domain]]) -> tuple[list[Check], list[str]]:
    found: dict[str, list[float]] = {"distance": [], "mean_cosine": [], "train_loss": []}
    notes, delays = [], []
    for domains in runs:
        for d in domains:
            start = sustained_rise([r["test"] for r in d.rows]) if d.rows else 0
            rows = d.rows[start:]
            if len(rows) < 4:
                notes.append(
                    f"{d.name}: accuracy rises over {len(rows)} checkpoint(s) only, too few"
                )
                continue
            told = [{k: v for k, v in r.items() if k != "test"} for r in rows]
            by = {c.metric: c for c in correlations(told, [r["test"] for r in rows])}
            for metric, values in found.items():
                if by[metric].spearman is not None:
                    values.append(float(by[metric].spearman or 0.0))
            notes.append(f"{d.name}: {by['distance']}; {by['mean_cosine']}")
            match, why = _groups(d)
            if match is None:
                notes.append(why)
            else:
                delays += list(match.delay)
                notes.append(f"{d.name}: delays {list(match.delay)} of groups {list(match.pairs)}")

    def listed(values: list[float]) -> str:
        return ", ".join(f"{v:+.2f}" for v in values) or "none"

    def middle(values: list[float]) -> float:
        return float(np.median(values)) if values else 0.0

    checks = [
        Check("distance by length falls with accuracy", "median Spearman over domains at most -.7",
              listed(found["distance"]), middle(found["distance"]) <= -0.7),
        Check("mean cosine of layers rises with accuracy", "median Spearman at least .7",
              listed(found["mean_cosine"]), middle(found["mean_cosine"]) >= 0.7),
        Check("training loss says less", "median |Spearman| below the distance's",
              listed(found["train_loss"]),
              middle([abs(v) for v in found["train_loss"]]) < middle([abs(v) for v in found["distance"]])),
        Check("what is memorised is generalised from later", "most delays between paired groups above 0",
              ", ".join(map(str, delays)) or "no pairs", bool(delays) and float(np.mean(np.array(delays) > 0)) > 0.5),
    ]  # fmt: skip
    return checks, notes


def _figure(domains: list[_Domain], out: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(domains), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = np.atleast_1d(figure.subplots(1, len(domains)))
    for axes, d in zip(panels, domains, strict=True):
        steps = [r["step"] for r in d.rows]
        for name, colour, label in (
            ("test", "#8a8f98", "accuracy"),
            ("distance", "#c2571a", "distance"),
            ("mean_cosine", "#0b6e99", "mean cosine"),
        ):
            axes.plot(steps, [r[name] for r in d.rows], color=colour, lw=1.6, label=label)
        axes.set_title(d.name, loc="left", fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
    panels[0].legend(frameon=False, fontsize=8)
    return save_figure(figure, out / "grokking-pathways-full.svg")
