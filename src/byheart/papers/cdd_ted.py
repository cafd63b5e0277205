"""CDD and TED, small: contaminate a tiny GPT by degrees and see which detector notices when.

A two-layer transformer learns sentences of a random class grammar. Thirty documents are leaked at
growing strength, thirty others are held back. Perplexity, Min-20 % and CDD are asked to tell them
apart; TED is asked to take the inflation out of a score.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._cdd import TedTask, detection, mitigation, peakedness, ted
from byheart.audits._edit_distance import edit_distance
from byheart.core.errors import UsageError, need
from byheart.core.finding import Finding
from byheart.core.stats import auc, auc_interval, auc_test, bootstrap
from byheart.papers import PAPERS
from byheart.papers._common import Check, Result, verdict_of

if TYPE_CHECKING:
    from byheart.papers._tinygpt import TinyGPT

__all__ = ["CLAIM", "SOURCE", "run"]

CLAIM = PAPERS["cdd-ted"].claim
SOURCE = "Dong et al., Findings of ACL 2024, arXiv 2402.15938; Sela, arXiv 2603.03203"

_CLASSES, _WORDS, _LENGTH, _PROMPT = 12, 56, 48, 12
_LEAKED, _CORPUS, _SAMPLES, _TEMPERATURE = 30, 9000, 24, 0.8
_REPEATS, _EPOCHS = (1, 8, 32), (20, 40, 60, 100)
_PASS = 0.5
"""Share of the reference's tokens that an answer must have right to pass, for TED."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class _Point:
    """One condition, one seed."""

    condition: str
    verbatim: float
    auc_perplexity: float
    auc_min_k: float
    auc_cdd: float
    accuracy: float
    f1: float
    peak_leaked: float
    peak_unseen: float
    score_leaked: float
    score_ted: float
    peaks: tuple[tuple[float, ...], tuple[float, ...]]


def _documents(n: int, rng: np.random.Generator, table: np.ndarray) -> list[list[int]]:
    """`n` sentences: a walk over word classes, a word of each class drawn evenly (log 56 = 4.03
    nats a token). Tokens 0 and 1 are padding and end."""
    out = []
    for _ in range(n):
        state = int(rng.integers(_CLASSES))
        tokens = []
        for _ in range(_LENGTH):
            tokens.append(2 + state * _WORDS + int(rng.integers(_WORDS)))
            state = int(table[state, int(rng.integers(2))])
        out.append(tokens)
    return out


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    corpus: int = _CORPUS,
    leaked: int = _LEAKED,
    samples: int = _SAMPLES,
) -> Result:
    """Run the case and judge the claim.

    Args:
        full: Contaminate SmolLM2-135M instead, fully and by LoRA; meant for a GPU.
        seeds: Independent grammars, splits and trainings.
        out: Folder for figure and ``result.json``.
        progress: Called with what is being done and the share that is finished.
        device: As for `byheart.load`; None is the CPU for the small case.
        corpus: Documents of the clean corpus.
        leaked: Documents leaked, and as many held back.
        samples: Answers drawn for a document (the paper: 50).
    """
    if seeds < 1 or leaked < 4 or samples < 2 or corpus < leaked:
        raise UsageError("needs seeds >= 1, leaked >= 4, samples >= 2, corpus >= leaked")
    need("torch", "torch")
    if out is not None:
        need("matplotlib", "plot")
    if full:
        from byheart.papers._cdd_full import run_full

        return run_full(seeds=seeds, out=out, progress=progress, device=device)
    started = time.perf_counter()
    runs = []
    for seed in range(seeds):

        def tell(what: str, share: float, seed: int = seed) -> None:
            if progress:
                progress(f"seed {seed + 1} of {seeds}: {what}", (seed + share) / seeds)

        runs.append(_one_seed(seed, tell, device or "cpu", corpus, leaked, samples))
    checks, notes = _judge(runs)
    result = Result("cdd-ted", CLAIM, verdict_of(checks), checks, _findings(runs), notes=notes)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        result.figures.append(_figure(runs, out / "cdd-ted.svg"))
    result = Result(
        result.key, result.claim, result.verdict, checks, result.findings, result.figures,
        time.perf_counter() - started, notes,
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _one_seed(
    seed: int, tell: Progress, device: str, corpus: int, leaked: int, samples: int
) -> list[_Point]:
    import copy

    from byheart.papers._tinygpt import TinyGPT, fit

    rng = np.random.default_rng(seed)
    table = rng.integers(0, _CLASSES, (_CLASSES, 2))
    clean = _documents(corpus, rng, table)
    inside, outside = _documents(leaked, rng, table), _documents(leaked, rng, table)
    points, model = [], None
    for i, r in enumerate(_REPEATS):
        model = TinyGPT(
            2 + _CLASSES * _WORDS, layers=2, width=96, heads=4, context=_LENGTH, seed=seed
        )
        model.to(device)
        begin = 0.22 * i
        fit(model, clean + inside * r, epochs=1, lr=3e-3, seed=seed,
            progress=lambda s, _, b=begin, r=r: tell(f"one epoch, leaked x{r}", b + 0.2 * s))  # fmt: skip
        points.append(_measure(f"x{r}", model, inside, outside, samples, seed))
    assert model is not None
    for i, epochs in enumerate(_EPOCHS):
        tuned = copy.deepcopy(model)
        begin = 0.66 + 0.085 * i
        fit(tuned, inside + clean[:2], epochs=epochs, lr=2e-3, batch=4, seed=seed,
            progress=lambda s, _, b=begin, e=epochs: tell(f"{e} epochs on the leak", b + 0.06 * s))  # fmt: skip
        points.append(_measure(f"+{epochs}", tuned, inside, outside, samples, seed))
    return points


def _measure(
    condition: str, model: TinyGPT, inside: Sequence[Sequence[int]], outside: Sequence[Sequence[int]],
    samples: int, seed: int,
) -> _Point:  # fmt: skip
    from byheart.papers._tinygpt import generate

    documents = [*inside, *outside]
    y = np.r_[np.ones(len(inside), bool), np.zeros(len(outside), bool)]
    prompts, answers = [d[:_PROMPT] for d in documents], [d[_PROMPT:] for d in documents]
    logprobs = _answer_logprobs(model, documents)
    greedy = [g[0] for g in generate(model, prompts, max_new=_LENGTH - _PROMPT)]
    drawn = generate(
        model, prompts, max_new=_LENGTH - _PROMPT, temperature=_TEMPERATURE, n=samples, seed=seed
    )
    peaks = np.array([peakedness(g, s).value for g, s in zip(greedy, drawn, strict=True)])
    perplexity = -logprobs.mean(1)
    lowest = np.sort(logprobs, 1)[:, : max(1, logprobs.shape[1] // 5)].mean(1)
    right = [
        [1 - edit_distance(a, s) / len(a) >= _PASS for s in rows]
        for a, rows in zip(answers, drawn, strict=True)
    ]
    tasks = [TedTask(g, s, p) for g, s, p in zip(greedy, drawn, right, strict=True)]
    mine = tasks[: len(inside)]
    verbatim = np.array([g == list(a) for g, a in zip(greedy, answers, strict=True)])
    found = detection(peaks, y)
    return _Point(
        condition, float(verbatim[y].mean()), auc(-perplexity[y], -perplexity[~y]),
        auc(lowest[y], lowest[~y]), auc(peaks[y], peaks[~y]), found.accuracy, found.f1,
        float(peaks[y].mean()), float(peaks[~y].mean()), float(np.mean([np.mean(t.passed) for t in mine])),
        ted(mine), (tuple(peaks[y]), tuple(peaks[~y])),
    )  # fmt: skip


def _answer_logprobs(model: TinyGPT, documents: Sequence[Sequence[int]]) -> np.ndarray:
    """`[N, T]` log-probabilities of the tokens behind the prompt."""
    import torch

    device = next(model.parameters()).device
    ids_NT = torch.tensor([list(d) for d in documents], device=device)
    with torch.inference_mode():
        logp = torch.log_softmax(model(ids_NT[:, :-1]).float(), -1)
    chosen = logp.gather(2, ids_NT[:, 1:, None])[..., 0]
    return chosen[:, _PROMPT - 1 :].cpu().numpy()


def _mean(runs: Sequence[Sequence[_Point]], condition: str, field: str) -> float:
    return float(
        np.mean([getattr(p, field) for points in runs for p in points if p.condition == condition])
    )


def _judge(runs: Sequence[Sequence[_Point]]) -> tuple[list[Check], list[str]]:
    order = [p.condition for p in runs[0]]

    def first(field: str) -> int:
        hits = [i for i, c in enumerate(order) if _mean(runs, c, field) >= 0.9]
        return hits[0] if hits else len(order)

    early, late = first("auc_perplexity"), first("auc_cdd")
    name = [*order, "never"]
    verbatim = [c for c in order if _mean(runs, c, "verbatim") >= 0.9]
    last = verbatim[-1] if verbatim else order[-1]
    cdd, peak, other = (_mean(runs, last, f) for f in ("auc_cdd", "peak_leaked", "peak_unseen"))
    base = order[0]
    dirty, corrected = _mean(runs, last, "score_leaked"), _mean(runs, last, "score_ted")
    honest, honest_ted = _mean(runs, base, "score_leaked"), _mean(runs, base, "score_ted")
    removed = mitigation(dirty, corrected, honest)
    checks = [
        Check(
            "(i) perplexity detects before CDD", "AUC 0.9 at a weaker contamination",
            f"perplexity at {name[early]}, CDD at {name[late]}", early < late,
        ),
        Check(
            "(ii) CDD sees verbatim recall", "AUC >= 0.95, mean Peak of leaked >= 0.3, of unseen ~ 0",
            f"at {last} (verbatim {_mean(runs, last, 'verbatim'):.2f}): AUC {cdd:.2f}, "
            f"Peak {peak:.2f} against {other:.2f}",
            bool(verbatim) and cdd >= 0.95 and peak >= 0.3 and other < 0.05,
        ),
        Check(
            "(iii) TED moves the score towards the clean one", "and the clean model's own less",
            f"{dirty:.2f} -> {corrected:.2f}, clean {honest:.2f} -> {honest_ted:.2f}; "
            f"{100 * removed:.0f} % of the inflation removed",
            abs(corrected - honest) < abs(dirty - honest)
            and abs(honest_ted - honest) <= abs(corrected - dirty),
        ),
    ]  # fmt: skip
    notes = [
        f"{c}: verbatim {_mean(runs, c, 'verbatim'):.2f}, AUC of perplexity "
        f"{_mean(runs, c, 'auc_perplexity'):.2f}, Min-20 % {_mean(runs, c, 'auc_min_k'):.2f}, "
        f"CDD {_mean(runs, c, 'auc_cdd'):.2f} (accuracy {_mean(runs, c, 'accuracy'):.2f}, "
        f"F1 {_mean(runs, c, 'f1'):.2f}); Peak {_mean(runs, c, 'peak_leaked'):.2f} / "
        f"{_mean(runs, c, 'peak_unseen'):.2f}; score {_mean(runs, c, 'score_leaked'):.2f}, "
        f"after TED {_mean(runs, c, 'score_ted'):.2f}"
        for c in order
    ]
    notes.append(
        f"{len(runs)} seed(s); the paper's tables were not available, directions are judged"
    )
    return checks, notes


def _findings(runs: Sequence[Sequence[_Point]]) -> list[Finding]:
    """CDD before and after contamination, pooled over seeds, as findings."""
    out = []
    for condition in (runs[0][0].condition, runs[0][-1].condition):
        points = [p for points in runs for p in points if p.condition == condition]
        inside = [x for p in points for x in p.peaks[0]]
        outside = [x for p in points for x in p.peaks[1]]
        area = auc_interval(inside, outside)
        from byheart.core.stats import contrast

        gap = contrast(inside, outside, paired=False)
        out.append(
            Finding(
                f"cdd-ted/peak {condition}", CLAIM, bootstrap(inside), bootstrap(outside), gap.gap,
                auc_test(inside, outside), len(inside), "share of samples", 0,
                control="documents of the same grammar that were held back",
                details={"auc": area.value, "auc_low": area.low, "auc_high": area.high},
            )
        )  # fmt: skip
    return out


def _figure(runs: Sequence[Sequence[_Point]], path: Path) -> Path:
    """AUC of the detectors, and verbatim recall, along growing contamination."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    order = [p.condition for p in runs[0]]
    at = np.arange(len(order))
    figure = Figure(figsize=(8.2, 3.9), layout="constrained")
    FigureCanvasSVG(figure)
    axes: Any = figure.subplots()
    curves = (
        ("auc_perplexity", "#24445c", "perplexity (AUC)", "-"),
        ("auc_min_k", "#6b8fa8", "Min-20 % (AUC)", "-"),
        ("auc_cdd", "#b5541c", "CDD (AUC)", "-"),
        ("verbatim", "#8a8a8a", "recited verbatim (share)", ":"),
    )
    for field, colour, label, style in curves:
        values = np.array([[getattr(p, field) for p in points] for points in runs])
        axes.plot(at, values.mean(0), style, color=colour, lw=2, marker="o", ms=4, label=label)
        axes.fill_between(at, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
    axes.axhline(0.5, color="#bbbbbb", lw=0.8, zorder=0)
    axes.set_xticks(
        at, [f"leaked {c}\nin one epoch" if c[0] == "x" else f"{c}\nepochs" for c in order]
    )
    axes.set(ylim=(-0.03, 1.05), title="Likelihood notices contamination long before CDD does")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path)
    return path
