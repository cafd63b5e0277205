"""WILT: find a hidden rule by asking; and does the model know the published rules by heart?

Source: Banatt, Cheng, Vaidyanath, Hwu, "WILT: A Multi-Turn, Memorization-Robust Inductive Logic
Benchmark for LLMs", arXiv 2410.10998; constants and reactions as in RiotGames/WILT (6344f04).

Every game opens with the same words, so that a memorised rule has nothing to hang on: that is the
paper's point, and why recall is asked for separately here, by the rules' numbers in the list.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from byheart.audits._wilt.drawing import FAMILIES, distinct, draw, twins
from byheart.audits._wilt.game import (
    Oracle,
    Reply,
    Result,
    WiltEpisode,
    instruction,
    swap_instruction,
)
from byheart.audits._wilt.judging import (
    Complexity,
    Judgement,
    _operators,
    guess_complexity,
    judge,
    lenient_guess,
    means_the_same,
    points,
    strict_guess,
)
from byheart.audits._wilt.language import LIMITS, Function, Limits, parse
from byheart.audits._wilt.listing import deranged, invented, list_question, planted_question
from byheart.audits._wilt.novelty import Embedder, novelty, word_vectors
from byheart.audits._wilt.players import (
    CHOOSERS,
    GUESSERS,
    Played,
    Player,
    collect,
    play,
    player_model,
)
from byheart.audits._wilt.report import findings as _findings
from byheart.audits._wilt.rules import (
    RULES_BAYESIAN,
    RULES_BAYESIAN_SINGLE,
    RULES_FULL,
    RULES_LITE,
    TESTS,
    Rule,
    read_rules,
    to_datasets,
    to_jsonl,
)
from byheart.audits._wilt.second_opinion import CLASSES, judge_prompt, read_class
from byheart.audits._wilt.space import HypothesisSpace
from byheart.audits._wilt.transcripts import read_tests, rule_key, save_transcripts
from byheart.core.ask import Facts, Prompt, Sample
from byheart.core.audit import Audit, Conversation, Planting, Probe, Row
from byheart.core.errors import DataError, UsageError
from byheart.core.finding import Evidence, Finding
from byheart.core.stats import wilson

__all__ = [
    "CHOOSERS",
    "FAMILIES",
    "GUESSERS",
    "LIMITS",
    "RULES_BAYESIAN",
    "RULES_BAYESIAN_SINGLE",
    "RULES_FULL",
    "RULES_LITE",
    "TESTS",
    "Complexity",
    "Function",
    "HypothesisSpace",
    "Judgement",
    "Limits",
    "Oracle",
    "Played",
    "Player",
    "Reply",
    "Result",
    "Rule",
    "Wilt",
    "WiltEpisode",
    "collect",
    "distinct",
    "draw",
    "guess_complexity",
    "instruction",
    "judge",
    "lenient_guess",
    "novelty",
    "parse",
    "play",
    "player_model",
    "points",
    "read_rules",
    "read_tests",
    "save_transcripts",
    "strict_guess",
    "swap_instruction",
    "to_datasets",
    "to_jsonl",
    "twins",
    "wilt_task",
    "word_vectors",
]


@dataclass(frozen=True)
class Wilt(Audit):
    """Games against hidden rules, published and fresh; and the published list, asked for by number.

    Args:
        subset: ``lite`` (10 rules), ``full`` (50), ``bayesian`` (24) or ``bayesian_single`` (51;
            the last two are played with whole numbers and have no fresh twins).
        rules: A file of rules of your own, in place of `subset`; see `read_rules`.
        twins: A file of fresh rules, one for each of `rules`, in their order. Without it, twins are
            drawn: of the same category, with another meaning.
        turns: Tests a game; 0 is the split's own (30, and 5 in the bayesian ones).
        given: Instead of letting the model test, give it the tests of ``"random"``, ``"mixed"``,
            ``"confirm"`` or ``"gain"`` (scripted players), or of another model (the ``rows.jsonl``
            of its run, or a file written by `save_transcripts`), and ask for one guess: the paper's
            test swap.
        recite: Also ask for each rule by its number in the list, without any test. Only for the
            published splits.
        play: Hold the games. False asks for the list only.
        novelty: ``"words"`` compares replies by word counts, ``"minilm"`` by all-MiniLM-L6-v2
            (needs ``byheart[memory]``); a function from texts to vectors in Python.
        temperature: Of the replies (the paper leaves the providers' defaults; 0 repeats itself
            exactly).
        max_tokens: Length of a reply. Models that reason at length need more.
        judge: Ask a second model, in the role ``judge``, how near a wrong guess is: the authors' four
            classes, worth 1, 0.85, 0.5 and 0 (``inspect eval ... --model-role judge=MODEL``).
        system: Send the instruction as a system message, as the paper does where it can, and
            "Please begin." after it. Not all chat templates take one.

    >>> audit = Wilt(subset="lite", recite=False)
    >>> [(p.id, p.target) for p in audit.probes(limit=1)]
    [('1', 'x > y > z'), ('1-twin-0', 'z <= x < y')]
    """

    name: ClassVar[str] = "wilt"
    title: ClassVar[str] = "Hidden rules (WILT)"
    claim: ClassVar[str] = (
        "The model finds hidden rules by asking; if it finds the published ones and not fresh ones, "
        "or names them without a test, it recites"
    )
    control: ClassVar[str] = "freshly drawn rules of the same category, with another meaning"
    needs: ClassVar[frozenset[str]] = frozenset({"sample"})
    source: ClassVar[str] = "Banatt et al. 2024, arXiv 2410.10998"
    self_test_items: ClassVar[int] = 12

    subset: str = "lite"
    rules: Any = None
    twins: Any = None
    turns: int = 0
    given: str = ""
    recite: bool = True
    play: bool = True
    novelty: Any = "words"
    temperature: float = 0.0
    max_tokens: int = 512
    system: bool = False
    judge: bool = False
    seen_rules: tuple[Rule, ...] = field(default=(), repr=False)
    fresh_rules: tuple[Rule, ...] = field(default=(), repr=False)
    list_name: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.subset not in TESTS:
            raise UsageError(f"subset is one of {', '.join(TESTS)}, got {self.subset!r}")
        if self.turns < 0 or self.max_tokens < 1:
            raise UsageError(
                f"turns must not be negative and max_tokens be at least 1, got {self.turns}, "
                f"{self.max_tokens}"
            )
        if self.given in CHOOSERS and self.rules is None and self.subset.startswith("bayesian"):
            raise UsageError(
                f"scripted players ({', '.join(CHOOSERS)}) test three numbers of any kind, and "
                f"{self.subset} is played with whole numbers from 1 to 100; give transcripts"
            )
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature must be 0 or more, got {self.temperature}")
        if self.twins is not None and self.rules is None:
            raise UsageError("twins are given without rules; give both")
        if not self.play and not (self.recite and self.rules is None):
            raise UsageError(
                "play=False leaves the list only, and recite is off or rules are yours"
            )
        if isinstance(self.novelty, str) and self.novelty not in ("words", "minilm"):
            raise UsageError(f"novelty is 'words', 'minilm' or a function, got {self.novelty!r}")
        for knob in ("rules", "twins"):
            if getattr(self, knob) is not None:
                object.__setattr__(self, knob, str(getattr(self, knob)))

    @property
    def exchangeable(self) -> bool:
        """Whether both arms come of one origin, so that the games can be judged."""
        return bool(self.seen_rules) or (self.rules is not None and self.twins is not None)

    @property
    def recite_control(self) -> str:
        """What the recital is held against."""
        if self.seen_rules:
            return "rules of lists that nobody wrote down, drawn from the same grammar"
        return (
            "the same answers held against other rules of the same list and level: whoever only "
            "knows what such rules look like does equally well there"
        )

    @property
    def tests_a_game(self) -> int:
        """Tests allowed."""
        return self.turns or (5 if self.subset.startswith("bayesian") and not self.rules else 30)

    def hidden(self, *, seed: int = 0, limit: int | None = None) -> tuple[list[Rule], list[Rule]]:
        """The rules of both arms, in pairs; the fresh arm is empty where there are no twins.

        Raises:
            DataError: A file cannot be used, or there is not one twin a rule.
        """
        if self.seen_rules:
            seen, fresh = list(self.seen_rules), list(self.fresh_rules)
            return seen[:limit], fresh[:limit]
        if self.rules is None:
            some = list(TESTS[self.subset].values())
            if self.subset.startswith("bayesian"):
                return some[:limit], []
            return some[:limit], twins(some, seed=seed)[:limit]
        seen = read_rules(self.rules)
        if self.twins is None:
            return seen[:limit], twins(seen, seed=seed)[:limit]
        fresh = read_rules(self.twins)
        if len(fresh) != len(seen):
            raise DataError(
                f"{self.rules} holds {len(seen)} rules and {self.twins} {len(fresh)}; one twin a rule"
            )
        taken = {r.id for r in seen}
        fresh = [replace(r, id=f"{r.id}-twin" if r.id in taken else r.id) for r in fresh]
        return seen[:limit], fresh[:limit]

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """Games of both arms, then the list; see `Audit.probes`."""
        if limit is not None and limit < 1:
            raise UsageError(f"limit must be at least 1, got {limit}")
        seen, fresh = self.hidden(seed=seed, limit=limit)
        out = []
        if self.play and not self.list_name:
            given = self._given()
            for arm, rules in (("seen", seen), ("fresh", fresh)):
                for pair, rule in zip(seen, rules, strict=False):
                    out.append(self._game_probe(rule, arm, pair.id, given, seed))
        if self.list_name:
            out += self._planted_probes(seen, fresh)
        elif self.recite and self.rules is None:
            out += self._list_probes(seen, seed)
        return out

    def _game_probe(
        self, rule: Rule, arm: str, pair: str, given: Mapping[str, Any] | None, seed: int
    ) -> Probe:
        tests = None
        if given is not None:
            tests = given.get(rule_key(rule.text))
            if tests is None:
                raise DataError(f"{self.given} holds no tests of the rule {rule.text!r}")
        elif self.given:
            tests = [
                list(t) for t in collect(rule, _player(self.given, seed), self.tests_a_game).tests
            ]
        first = (
            instruction(self.tests_a_game, arity=rule.arity, whole=rule.whole)
            if tests is None
            else swap_instruction([(t, a) for t, a in tests], arity=rule.arity, whole=rule.whole)
        )
        meta = {"kind": "game", "rule": rule.to_dict(), "category": rule.category, "seed": seed,
                "swap": tests is not None}  # fmt: skip
        return Probe(rule.id, arm, first, rule.text, pair, meta)

    def _given(self) -> Mapping[str, Any] | None:
        """Tests of another model by rule text; None where a scripted player makes them."""
        if not self.given or self.given in CHOOSERS:
            return None
        return read_tests(self.given)

    def _list_probes(self, rules: Sequence[Rule], seed: int) -> list[Probe]:
        """Each rule by its number; in the fresh arm, by the number of another of its level."""
        other = deranged(rules, seed)
        out = []
        for arm, asked in (("seen", list(rules)), ("fresh", other)):
            for rule, number in zip(rules, asked, strict=True):
                out.append(
                    Probe(
                        f"list-{arm}-{rule.id}", arm, list_question(self.subset, number), rule.text,
                        f"list-{rule.id}",
                        {"kind": "recite", "rule": rule.to_dict(), "number": number.id},
                    )
                )  # fmt: skip
        return out if len(rules) > 1 else []

    def _planted_probes(self, seen: Sequence[Rule], fresh: Sequence[Rule]) -> list[Probe]:
        out = []
        for arm, rules in (("seen", seen), ("fresh", fresh)):
            for i, rule in enumerate(rules):
                meta = {"kind": "recite", "rule": rule.to_dict(), "number": rule.id}
                out.append(Probe(rule.id, arm, planted_question(rule.id), rule.text, str(i), meta))
        return out

    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        """A whole game, or one question about the list."""
        rule = _rule_of(probe.meta["rule"])
        if probe.meta["kind"] == "recite":
            return (yield from self._recital(probe, rule, facts))
        tests = 1 if probe.meta["swap"] else self.tests_a_game  # one, as in the authors' swap
        game = WiltEpisode(rule, tests, first=probe.prompt, seed=probe.meta["seed"])
        # drawn games differ from each other; greedy ones that open alike are one ask
        own = zlib.crc32(probe.id.encode()) % 10**6 if self.temperature > 0 else 0
        cut = ""
        while not game.done:
            prompt = self._framed(game.messages, facts)
            if facts.context and _tokens(prompt, facts) + self.max_tokens > facts.context:
                cut = "context"
                break
            replies = yield [
                Sample(prompt, max_tokens=self.max_tokens, temperature=self.temperature,
                       seed=own + game.turns, stop=() if facts.chat else ("\nUser:",))
            ]  # fmt: skip
            game.reply(replies[0][0].text)  # type: ignore[index]
        row = self._row(probe, rule, game, cut)
        guess = row.meta["transcript"]["guess"] or row.meta["transcript"]["guess_lenient"]
        if self.judge:
            row.values["judged"] = row.values["correct"]
            if guess and not row.values["correct"]:
                question = judge_prompt(rule.source, guess)
                replies = yield [Sample((("user", question),), max_tokens=512, role="judge")]
                named = read_class(replies[0][0].text)  # type: ignore[index]
                row.values["judged"] = CLASSES[named] if named else None
        return row

    def _framed(self, messages: Sequence[tuple[str, str]], facts: Facts) -> Prompt:
        if not facts.chat:
            lines = [f"{role.capitalize()}: {text}" for role, text in messages[1:]]
            return "\n\n".join([messages[0][1], *lines, "Assistant:"])
        if self.system:
            return (("system", messages[0][1]), ("user", "Please begin."), *messages[1:])
        return tuple(messages)

    def _recital(self, probe: Probe, rule: Rule, facts: Facts) -> Conversation:
        prompt: Prompt = (("user", probe.prompt),) if facts.chat else f"{probe.prompt}\n"
        replies = yield [Sample(prompt, max_tokens=min(96, self.max_tokens), stop=("\n\n",))]
        text = replies[0][0].text  # type: ignore[index]
        said = lenient_guess(text, rule.arity)
        hit = bool(said) and means_the_same(rule, said)
        evidence = Evidence(
            probe.id, probe.arm, probe.prompt, probe.target, text, float(hit),
            said or "no rule in the answer",
        )  # fmt: skip
        meta = {k: probe.meta[k] for k in ("kind", "number")}
        return Row(probe.id, probe.arm, {"recited": float(hit)}, probe.pair, evidence, meta)

    def _row(self, probe: Probe, rule: Rule, game: WiltEpisode, cut: str) -> Row:
        result, oracle = game.result, game.oracle
        new = novelty(game.replies, self._embedder)
        judged = result.judgement if result is not None else None
        written = judged.complexity if judged is not None else None
        values: dict[str, float | None] = {
            "correct": float(bool(result and result.correct)),
            "correct-lenient": float(bool(result and result.correct_lenient)),
            "approximate": float(bool(result and result.approximate)),
            "points": result.points if result else 0.0,
            "attempts": float(game.attempts),
            "tests": float(game.tests),
            "turns": float(game.turns),
            "repeats": float(oracle.repeats),
            "unreadable": float(game.unreadable),
            "confirms": float(np.mean(oracle.confirms)) if oracle.confirms else None,
            "explored": oracle.explored[-1] if oracle.explored else None,
            "novelty": float(np.mean(new)) if new else None,
            "novelty-least": min(new) if new else None,
            "operators": float(written.operators) if written else None,
            "operators-authors": float(written.operators_authors) if written else None,
            "length": float(written.length) if written else None,
            "inclusion": written.inclusion if written else None,
            "rule-operators": float(_operators(rule.function.body)),
        }
        ended = cut or (result.ended if result else "")
        talk = game.transcript()
        said = (result.guess or result.guess_lenient) if result else ""
        note = f"{ended} after {game.tests} tests, {game.attempts} attempts"
        if judged is not None and judged.reason:
            note += f"; {judged.reason}"
        produced = said or next((r for r in reversed(game.replies) if r.strip()), "")
        evidence = Evidence(
            probe.id, probe.arm, probe.prompt, rule.source, produced, values["correct"], note
        )
        meta = {"kind": "game", "category": rule.category, "level": rule.level, "ended": ended,
                "transcript": talk}  # fmt: skip
        return Row(probe.id, probe.arm, values, probe.pair, evidence, meta)

    @property
    def _embedder(self) -> Embedder:
        if self.novelty == "words":
            return word_vectors
        return _minilm() if self.novelty == "minilm" else self.novelty

    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        """Published against fresh, shown; the list, judged; rules of your own with twins, judged."""
        out = _findings(self, rows, seed=seed)
        games = [r for r in rows if r.meta.get("kind") == "game"]
        if games and not any(r.arm == "fresh" for r in games):
            out.append(_without_twins(self, games, seed))
        return out

    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """Invented lists of rules, asked for by number: planted, held back, and never written down.

        Raises:
            UsageError: If `n` is below 2.
        """
        if n < 2:
            raise UsageError(f"n must be at least 2, got {n}")
        drawn = invented(3 * n, seed)
        groups = [tuple(drawn[i * n : (i + 1) * n]) for i in range(3)]
        base = replace(self, subset="lite", rules=None, twins=None, given="", recite=True)
        audit, held = (
            replace(base, seen_rules=g, fresh_rules=groups[2], list_name=f"invented-{seed}")
            for g in groups[:2]
        )
        texts = tuple((planted_question(r.id), r.text) for r in groups[0])
        return Planting(audit, held, texts)


def _without_twins(audit: Wilt, games: Sequence[Row], seed: int) -> Finding:
    """The score of a split that has no fresh twin; no contrast, and so no verdict."""
    won = sum(float(r.values["correct-lenient"] or 0.0) for r in games)
    share = wilson(won, len(games))
    nothing = wilson(0, len(games))
    return Finding(
        f"{audit.name}/correct-lenient", f"{audit.claim}. Measured: games won on {audit.subset}.",
        share, nothing, share, None, len(games), "share of rules", seed,
        tuple(r.evidence for r in games[:3] if r.evidence is not None),
        no_verdict=f"the split {audit.subset} has no fresh twin; the fresh arm stands at zero",
        exploratory=True,
    )  # fmt: skip


def _rule_of(record: Mapping[str, Any]) -> Rule:
    return Rule(record["id"], record["rule"], record["category"], record["level"], record["arity"],
                record["whole"])  # fmt: skip


def _player(chooser: str, seed: int) -> Player:
    return Player(chooser, seed=seed, space_seed=seed)


_MINILM: list[Embedder] = []


def _minilm() -> Embedder:
    if not _MINILM:
        from byheart.core.minilm import MiniLM

        _MINILM.append(MiniLM())
    return _MINILM[0]


def _tokens(prompt: Prompt, facts: Facts) -> int:
    texts = [prompt] if isinstance(prompt, str) else [t for _, t in prompt]
    return sum(len(facts.encode(t)) + 8 for t in texts) + 32  # room for the template


def wilt_task(
    subset: str = "lite", *, seed: int = 0, limit: int | None = None, **knobs: Any
) -> Any:
    """The audit as a task of inspect_ai; ``inspect eval byheart/wilt -T subset=lite`` is the same.

    Args:
        subset: As for `Wilt`; so are the other knobs.
        seed: Of twins and probes.
        limit: Most pairs of rules.
        knobs: Further fields of `Wilt`.

    Raises:
        MissingExtra: inspect_ai is not installed.
    """
    from byheart.core.errors import need

    need("inspect_ai", "audit")
    from byheart.core.evaluation import as_task

    return as_task(Wilt(subset=subset, **knobs), seed=seed, limit=limit)
