"""CDD and TED, small: contaminate a tiny GPT by degrees and see which detector notices when.

A two-layer transformer learns sentences of a random class grammar. Thirty documents are leaked at
growing strength, thirty others are held back. Perplexity, Min-20 % and CDD are asked to tell them
apart; TED is asked to take the inflation out of a score. An answer passes if its word classes are
near enough to the reference's, so that knowing the grammar helps and reciting helps more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from byheart.audits._cdd import detection, peakedness
from byheart.audits._edit_distance import edit_distance
from byheart.audits._ted import TedTask, comieval, mitigation, ted
from byheart.core.errors import UsageError, need
from byheart.core.finding import Finding
from byheart.core.stats import auc, auc_interval, auc_test, bootstrap
from byheart.data.contamination import REPEATS
from byheart.papers import PAPERS
from byheart.papers._common import Check, Result, save_figure, verdict_of

if TYPE_CHECKING:
    from byheart.papers._tinygpt import TinyGPT

__all__ = ["CLAIM", "SOURCE", "run"]

CLAIM = PAPERS["cdd-ted"].claim
SOURCE = "Dong et al., Findings of ACL 2024, arXiv 2402.15938; Sela, arXiv 2603.03203"

_CLASSES, _WORDS, _LENGTH, _PROMPT = 12, 56, 48, 12
_LEAKED, _CORPUS, _SAMPLES, _TEMPERATURE = 30, 9000, 24, 0.8
_REPEATS, _EPOCHS = (0, 1, 8, 32), (20, 40, 60, 100)
_OTHER, _MIXED_EPOCHS, _RANK, _CHANGED = 30, 8, 8, 6
_MIXED: dict[tuple[str, str], tuple[int, ...]] = {
    ("full", "original"): REPEATS,
    ("lora", "original"): (5, 20),
    ("full", "variant"): (20,),
}
"""Fine-tuning of the clean model on other documents and leaked ones, r times each."""
_PASS = 0.5
"""Share of the reference's word classes (by edit distance) that an answer must have to pass."""
_MEASURE = 1500
"""What one measurement costs, in documents read."""

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
    tasks: tuple[TedTask, ...]


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
    with _one_thread():
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


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small gain little from a second thread, and lose tenfold on a busy machine,
    where two threads wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _variant(document: Sequence[int], rng: np.random.Generator) -> list[int]:
    """The document with one word in six exchanged for another of its class: changed names."""
    out = list(document)
    for at in rng.choice(len(out), len(out) // _CHANGED, replace=False):
        first = out[at] - (out[at] - 2) % _WORDS
        out[at] = first + (out[at] - first + int(rng.integers(1, _WORDS))) % _WORDS
    return out


@dataclass(frozen=True)
class _Training:
    """One condition: what is trained on, from which model, and how."""

    condition: str
    what: str
    documents: Sequence[Sequence[int]]
    epochs: int
    rate: float
    batch: int
    base: str = ""
    lora: bool = False

    @property
    def cost(self) -> float:
        """In documents read; small batches are slower."""
        return len(self.documents) * self.epochs * (1 + 4 / self.batch)


def _plan(
    clean: list[list[int]], inside: list[list[int]], other: list[list[int]],
    rng: np.random.Generator,
) -> list[_Training]:  # fmt: skip
    """All trainings of a seed; a base comes before what is tuned from it."""
    plan = [
        _Training(f"x{r}", f"one epoch, leaked x{r}", clean + inside * r, 1, 3e-3, 32)
        for r in _REPEATS
    ]
    plan += [
        _Training(f"+{e}", f"{e} epochs on the leak", inside + clean[:2], e, 2e-3, 4, f"x{_REPEATS[-1]}")
        for e in _EPOCHS
    ]  # fmt: skip
    changed = [_variant(d, rng) for d in inside]
    for (method, split), repeats in _MIXED.items():
        leak = inside if split == "original" else changed
        for r in repeats:
            plan.append(
                _Training(
                    f"{method} {split} r={r}", f"mixed, {method}, {split}, r={r}",
                    other + leak * r, _MIXED_EPOCHS, 1e-2 if method == "lora" else 2e-3, 8,
                    f"x{_REPEATS[0]}", method == "lora",
                )
            )  # fmt: skip
    return plan


def _one_seed(
    seed: int, tell: Progress, device: str, corpus: int, leaked: int, samples: int
) -> list[_Point]:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, _CLASSES, (_CLASSES, 2))
    clean = _documents(corpus, rng, table)
    inside, outside = _documents(leaked, rng, table), _documents(leaked, rng, table)
    other = _documents(_OTHER, rng, table)
    plan = _plan(clean, inside, other, rng)
    whole, done = sum(t.cost + _MEASURE for t in plan), 0.0
    models: dict[str, TinyGPT] = {}
    points = []
    for training in plan:

        def trained(
            share: float, _: float, training: _Training = training, at: float = done
        ) -> None:
            tell(training.what, (at + share * training.cost) / whole)

        model = _train(training, models.get(training.base), device, seed, trained)
        if not training.base:
            models[training.condition] = model
        points.append(_measure(training.condition, model, inside, outside, samples, seed))
        done += training.cost + _MEASURE
        tell(training.what, done / whole)
    return points


def _train(
    training: _Training, base: TinyGPT | None, device: str, seed: int,
    progress: Callable[[float, float], None],
) -> TinyGPT:  # fmt: skip
    """A new model, or a tuned copy of `base`; an adapter is merged at the end."""
    import copy

    from byheart.papers._tinygpt import TinyGPT, fit

    if base is None:
        vocabulary = 2 + _CLASSES * _WORDS
        model: Any = TinyGPT(vocabulary, layers=2, width=96, heads=4, context=_LENGTH, seed=seed)
        model.to(device)
    else:
        model = copy.deepcopy(base)
    if training.lora:
        import torch

        peft = need("peft", "torch")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = peft.get_peft_model(
                model,
                peft.LoraConfig(
                    r=_RANK, lora_alpha=2 * _RANK, target_modules=["qkv", "out", "up", "down"]
                ),
            )
    fit(
        model, training.documents, epochs=training.epochs, lr=training.rate, batch=training.batch,
        seed=seed, progress=progress,
    )  # fmt: skip
    return model.merge_and_unload() if training.lora else model


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
    right = [[_passes(a, s) for s in rows] for a, rows in zip(answers, drawn, strict=True)]
    tasks = [TedTask(g, s, p) for g, s, p in zip(greedy, drawn, right, strict=True)]
    mine = tasks[: len(inside)]
    verbatim = np.array([g == list(a) for g, a in zip(greedy, answers, strict=True)])
    found = detection(peaks.tolist(), y.tolist())
    return _Point(
        condition, float(verbatim[y].mean()), auc(-perplexity[y], -perplexity[~y]),
        auc(lowest[y], lowest[~y]), auc(peaks[y], peaks[~y]), found.accuracy, found.f1,
        float(peaks[y].mean()), float(peaks[~y].mean()), float(np.mean([np.mean(t.passed) for t in mine])),
        ted(mine), (tuple(peaks[y]), tuple(peaks[~y])), tuple(mine),
    )  # fmt: skip


def _passes(reference: Sequence[int], answer: Sequence[int]) -> bool:
    """Whether the word classes of an answer are near enough to the reference's."""
    a, b = ([(t - 2) // _WORDS for t in side] for side in (reference, answer))
    return 1 - edit_distance(a, b) / len(a) >= _PASS


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
    order = [p.condition for p in runs[0] if p.condition[0] in "x+"]

    def first(field: str) -> int:
        hits = [i for i, c in enumerate(order) if _mean(runs, c, field) >= 0.9]
        return hits[0] if hits else len(order)

    early, late = first("auc_perplexity"), first("auc_cdd")
    name = [*order, "never"]
    verbatim = [c for c in order if _mean(runs, c, "verbatim") >= 0.9]
    last = verbatim[-1] if verbatim else order[-1]
    cdd, peak, other = (_mean(runs, last, f) for f in ("auc_cdd", "peak_leaked", "peak_unseen"))
    base = order[0]  # leaked x0: the clean model
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
    notes += _mixed_notes(runs)
    notes.append(
        f"{len(runs)} seed(s); the paper's tables were not available, directions are judged"
    )
    return checks, notes


def _mixed(runs: Sequence[Sequence[_Point]]) -> dict[tuple[str, int], np.ndarray]:
    """By ``("full original", r)``: pass@1 contaminated, after TED, clean, clean after TED, and the
    mitigation, mean over seeds (the mitigation of the means: single seeds may have no inflation)."""
    rows: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for points in runs:
        clean = points[0].tasks
        tuned = {_key(p.condition): p.tasks for p in points if "r=" in p.condition}
        for c in comieval(clean, tuned):
            scores = (c.contaminated, c.corrected, c.clean, c.clean_corrected)
            rows.setdefault((c.method, c.repeats), []).append(scores)
    out = {}
    for key, values in rows.items():
        mean = np.mean(values, axis=0)
        out[key] = np.append(mean, mitigation(mean[0], mean[1], mean[2]))
    return out


def _key(condition: str) -> tuple[str, int]:
    method, _, repeats = condition.rpartition(" r=")
    return method, int(repeats)


def _mixed_notes(runs: Sequence[Sequence[_Point]]) -> list[str]:
    """The DetCon-like and the ComiEval-like report, a line a method and repetition."""
    out = []
    for (method, r), (dirty, corrected, clean, clean_corrected, removed) in _mixed(runs).items():
        at = f"{method} r={r}"
        found = ", ".join(
            f"{label} {_mean(runs, at, field):.2f}"
            for label, field in (
                ("verbatim", "verbatim"), ("AUC of perplexity", "auc_perplexity"),
                ("CDD", "auc_cdd"), ("accuracy", "accuracy"), ("F1", "f1"),
            )
        )  # fmt: skip
        share = "no inflation" if np.isnan(removed) else f"mitigation {removed:.2f}"
        out.append(
            f"{at}: {found}; pass@1 {dirty:.2f}, after TED {corrected:.2f}, clean {clean:.2f} "
            f"(after TED {clean_corrected:.2f}), {share}"
        )
    return out


def _findings(runs: Sequence[Sequence[_Point]]) -> list[Finding]:
    """CDD before and after contamination, pooled over seeds, as findings."""
    out = []
    order = [p.condition for p in runs[0] if p.condition[0] in "x+"]
    for condition in (order[0], order[-1]):
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
    """Left: detectors and verbatim recall along growing contamination. Right: what TED does."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.2), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _draw_detectors(left, runs)
    _draw_scores(right, runs)
    return save_figure(figure, path)


def _draw_detectors(axes: Any, runs: Sequence[Sequence[_Point]]) -> None:
    order = [p.condition for p in runs[0] if p.condition[0] in "x+"]
    at = np.arange(len(order))
    curves = (
        ("auc_perplexity", "#24445c", "perplexity (AUC)", "-"),
        ("auc_min_k", "#6b8fa8", "Min-20 % (AUC)", "-"),
        ("auc_cdd", "#b5541c", "CDD (AUC)", "-"),
        ("verbatim", "#8a8a8a", "recited verbatim (share)", ":"),
    )
    for field, colour, label, style in curves:
        values = np.array(
            [[getattr(p, field) for p in points if p.condition in order] for points in runs]
        )
        axes.plot(at, values.mean(0), style, color=colour, lw=2, marker="o", ms=4, label=label)
        axes.fill_between(at, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
    axes.axhline(0.5, color="#bbbbbb", lw=0.8, zorder=0)
    axes.set_xticks(
        at, [f"leaked\n{c}" if c[0] == "x" else f"{c}\nepochs" for c in order]
    )  # fmt: skip
    axes.set(ylim=(-0.03, 1.05), title="Likelihood notices contamination long before CDD does")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.0, 0.08), fontsize=9)


def _draw_scores(axes: Any, runs: Sequence[Sequence[_Point]]) -> None:
    mixed = _mixed(runs)
    steps = sorted({r for _, r in mixed})
    looks = {"full original": "-", "lora original": "--", "full variant": ""}
    names = {
        "full original": "full fine-tuning", "lora original": "LoRA",
        "full variant": "full, variants leaked",
    }  # fmt: skip
    for method, style in looks.items():
        repeats = [r for m, r in mixed if m == method]
        x = [steps.index(r) for r in repeats]
        for k, colour, what in ((0, "#b5541c", "pass@1"), (1, "#24445c", "after TED")):
            y = [mixed[method, r][k] for r in repeats]
            marker = "o" if style == "-" else "s" if style else "x"
            axes.plot(
                x, y, style or "none", color=colour, lw=2, marker=marker, ms=5,
                label=f"{what}, {names[method]}",
            )  # fmt: skip
    if mixed:
        axes.axhline(
            next(iter(mixed.values()))[2],
            color="#8a8a8a",
            ls=":",
            lw=2,
            label="pass@1, clean model",
        )
    axes.set_xticks(range(len(steps)), [str(r) for r in steps])
    axes.set(
        ylim=(-0.03, 1.05), xlabel="times a leaked document occurs in the mixture",
        title="TED takes back some of what recitation gained",
    )  # fmt: skip
    axes.legend(frameon=False, loc="upper left", fontsize=9)
