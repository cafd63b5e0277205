"""Verbatim: recitation is found where it is, and measured as a naive loop would measure it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.audits import make
from byheart.audits._verbatim_match import (
    after,
    compare,
    cut,
    encode,
    likelihood,
    longest_run,
    rank,
    split,
    zlib_nats,
)
from byheart.audits.verbatim import Verbatim
from byheart.core.ask import Completion, Facts, Sample, Scored
from byheart.core.drive import drive
from byheart.core.errors import DataError, UsageError
from byheart.core.finding import Finding
from byheart.core.model import CallableModel
from byheart.core.report import Report
from byheart.core.toy import SuffixModel
from byheart.data.canaries import canaries
from byheart.data.passages import shipped

SMALL = st.lists(st.integers(0, 3), max_size=12)


def naive_run(a, b):
    return max(
        (n for n in range(len(a) + 1) for i in range(len(a) - n + 1) for j in range(len(b) - n + 1)
         if a[i : i + n] == b[j : j + n]),
        default=0,
    )  # fmt: skip


def naive_edit(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0] = range(len(a) + 1), range(len(b) + 1)
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            table[i, j] = min(
                table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (x != y)
            )
    return int(table[-1, -1])


def naive_lcs(a, b):
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + naive_lcs(a[1:], b[1:])
    return max(naive_lcs(a[1:], b), naive_lcs(a, b[1:]))


@settings(deadline=None, max_examples=150)
@given(produced=SMALL, target=st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_measures_agree_with_naive_ones(produced, target):
    values = compare(produced, target)
    head = produced[: len(target)]
    assert values["exact"] == (head == target)
    assert values["run"] == naive_run(produced[: len(target) + 4], target)
    assert values["share"] == values["run"] / len(target)
    if head:
        assert values["similarity"] == pytest.approx(1 - naive_edit(head, target) / len(target))
    common = naive_lcs(head, target)
    assert values["rouge_l"] == pytest.approx(2 * common / (len(head) + len(target)))


@settings(deadline=None)
@given(a=SMALL, b=SMALL)
def test_longest_run_is_symmetric_and_naive(a, b):
    assert longest_run(a, b) == longest_run(b, a) == naive_run(a, b)


def test_an_empty_continuation_matches_nothing():
    assert set(compare([], [1, 2]).values()) == {0.0}


def test_cut_does_not_tear_words():
    text = "It is a truth universally acknowledged, that a man"
    assert text[: cut(text, 5, None)] == "It is a truth universally"
    assert text[: cut(text, 6, None)] == "It is a truth universally acknowledged,"
    assert text[: cut(text, 99, None)] == text
    letters = Facts(encode=lambda t: list(t.encode()), own_tokens=True)
    assert text[: cut(text, 6, letters)] == "It is a"


@settings(deadline=None, max_examples=50)
@given(prefix=st.integers(1, 30), suffix=st.integers(1, 30))
def test_prefix_and_suffix_have_the_asked_tokens_and_no_word_more(prefix, suffix):
    text = shipped()[0].text
    facts = SuffixModel().facts()
    piece = split(text, prefix, suffix, facts)
    assert text.startswith(piece.prompt + piece.suffix)
    assert piece.suffix.startswith(" ")
    assert piece.target == encode(piece.suffix, facts)
    for part, least in ((piece.prompt, prefix), (piece.suffix, suffix)):
        assert len(facts.encode(part)) >= least
        assert len(facts.encode(part.rsplit(None, 1)[0])) < least or len(part.split()) == 1


def test_a_reply_that_repeats_the_question_is_read_from_its_end():
    assert after("Call me Ishmael. Some years", "Call me") == " Ishmael. Some years"
    assert after("Call  me\nIshmael", "Call me") == " Ishmael"
    assert after("something else", "Call me") == "something else"


def test_runs_of_blanks_and_line_breaks_are_one_blank():
    facts = SuffixModel().facts()  # its tokens count every stretch of white space
    assert encode(" so  it\n\ngoes ", facts) == encode("so it goes", facts)
    assert len(encode("so it goes", facts)) == 5
    assert encode(" \n", facts) == []


def test_likelihood_is_a_mean_and_the_reference_is_taken_off():
    own = Scored(np.array([-1.0, -3.0]))
    reference = Scored(np.array([-1.0, -1.0, -4.0]))  # other tokens, same text
    assert likelihood(own, reference) == {"logprob": -2.0, "calibrated": 1.0}
    assert likelihood(None, None) == {"logprob": None, "calibrated": None}
    assert likelihood(own, None)["calibrated"] is None


def test_zlib_nats_is_small_for_what_was_said_before():
    said = "the quick brown fox jumps over the lazy dog"
    assert zlib_nats(said, " " + said) < 0.3 * zlib_nats(
        said, " nine grey herons wait by the river!"
    )
    assert zlib_nats("", "x") > 0


def test_guesses_are_ranked_by_strength():
    right, wrong, other = (1, 2), (3, 4), (5, 6)
    guesses = [wrong, right, right, other]
    values = rank(guesses, {wrong: -1.0, right: -2.0, other: -3.0}, right, None)
    assert values == {"top": 0.0, "any": 1.0, "reciprocal": 0.5, "hits": 0.5, "draw": None}
    assert rank(guesses, {wrong: 1.0, right: 2.0, other: 1.0}, right, None)["top"] == 1.0
    absent = rank([wrong], {wrong: 0.0}, right, Scored(np.array([-1.0])))
    assert absent == {"top": 0.0, "any": 0.0, "reciprocal": 0.0, "hits": 0.0, "draw": -1.0}


def by_name(audit, model, **kw) -> dict[str, Finding]:
    rows = drive(audit, model, **kw)
    return {f.name: f for f in Report.of("m", audit.findings(rows)).findings}


def test_a_model_that_read_the_famous_passages_is_found_out():
    model = SuffixModel([p.text for p in shipped() if p.famous], order=24)
    found = by_name(Verbatim(), model)
    assert found["verbatim/exact"].verdict() == "memorised"
    assert found["verbatim/longest-run"].verdict() == "memorised"
    assert found["verbatim/exact"].seen.value > 0.8
    assert found["verbatim/exact"].fresh.value == 0
    logprob = found["verbatim/logprob"]
    assert logprob.gap.value > 1
    assert logprob.verdict() == "no verdict"
    assert "reference" in logprob.no_verdict
    best = found["verbatim/exact"].evidence[0]
    assert best.produced.strip().startswith(best.expected.strip())


def test_a_model_that_read_both_arms_shows_no_contrast():
    found = by_name(Verbatim(), SuffixModel([p.text for p in shipped()], order=24))
    assert found["verbatim/exact"].seen.value > 0.8
    assert all(f.verdict() != "memorised" for f in found.values())


def test_planted_is_found_and_held_back_is_not():
    planting = Verbatim(samples=3).planted(seed=5, n=12)
    model = SuffixModel(planting.texts, seed=5, order=24)
    found = by_name(planting.audit, model)
    judged = {n for n, f in found.items() if not f.exploratory}
    assert judged == {f"verbatim/{m}" for m in ("exact", "longest-run", "guesses", "logprob")}
    assert all(found[n].verdict() == "memorised" for n in judged)
    assert all(f.verdict() != "memorised" for f in by_name(planting.held, model).values())
    assert found["verbatim/guesses"].details["discoverable_n10_p0.5_seen"] > 0.8
    assert found["verbatim/guesses"].details["discoverable_n1000_p0.5_fresh"] == 0


def test_common_runs_of_a_parrot_are_no_memory():
    """A model that always says the same common words matches easy texts, and others as well."""
    said = "the man and the woman and the house of the man"

    def easy(i):
        return f"start{i} " * 40 + "of the man " * 12

    def hard(i):
        return f"begin{i} " * 40 + " ".join(f"w{i}x{j}" for j in range(36))

    from byheart.data.passages import Passage

    material = tuple(
        Passage(f"{kind}{i}", text(i), pair=str(i), famous=kind == "easy")
        for kind, text in (("easy", easy), ("hard", hard))
        for i in range(12)
    )
    audit = Verbatim(prefix=40, suffix=30, material=material)
    run = by_name(audit, CallableModel(lambda prompt: said))["verbatim/longest-run"]
    assert run.gap.value > 0
    assert run.details["p_raw"] < 0.01
    assert run.details["p_beyond_control"] > 0.5
    assert run.control_gap.value == pytest.approx(run.gap.value)
    assert run.verdict() == "not shown"


def test_a_model_that_only_answers_is_audited_without_scores():
    asked: list[str] = []

    def model(prompt):
        asked.append(prompt)
        return ""

    found = by_name(Verbatim(samples=3), CallableModel(model), limit=6)
    assert set(found) == {
        f"verbatim/{m}" for m in ("exact", "longest-run", "similarity", "guesses")
    }
    assert found["verbatim/guesses"].details["ranked_by"] == "how often a guess came"
    assert found["verbatim/exact"].details["tokens"] == "words"
    assert all(f.seen.value == f.fresh.value == 0 for f in found.values())
    assert len(asked) == 6 * 2 * 3
    assert all(f.verdict() != "memorised" for f in found.values())


def test_a_reference_model_makes_log_probability_judgeable():
    famous = [p.text for p in shipped() if p.famous]
    audit = Verbatim(reference=True)
    blank = {"reference": SuffixModel(seed=3)}
    found = by_name(audit, SuffixModel(famous), roles=blank)["verbatim/logprob"]
    assert found.verdict() == "memorised"
    same = by_name(audit, SuffixModel(famous), roles={"reference": SuffixModel(famous)})
    assert same["verbatim/logprob"].gap.value > 1  # as likely to the reference: nothing of its own
    assert same["verbatim/logprob"].verdict() == "not shown"
    assert same["verbatim/logprob"].control_gap.value == pytest.approx(
        same["verbatim/logprob"].gap.value
    )


@pytest.fixture
def folders(tmp_path):
    texts = canaries(seed=8, n=24, words=80)
    for arm, part in (("seen", texts[:12]), ("fresh", texts[12:])):
        (tmp_path / arm).mkdir()
        for i, text in enumerate(part):
            (tmp_path / arm / f"{i}.txt").write_text(text)
    return tmp_path, texts[:12]


def test_the_users_own_files_are_audited(folders):
    folder, seen = folders
    audit = make("verbatim", texts=str(folder / "seen"), fresh=[folder / "fresh"], prefix=20)
    found = by_name(audit, SuffixModel(seen))
    assert found["verbatim/exact"].verdict() == "memorised"
    assert found["verbatim/exact"].n == 12
    assert found["verbatim/exact"].details["paired"] is True


def test_without_twins_there_are_numbers_and_no_verdict(folders):
    folder, seen = folders
    model = SuffixModel(seen, order=24)
    found = by_name(Verbatim(texts=folder / "seen", prefix=20), model)
    assert found["verbatim/exact"].seen.value > 0.8
    assert {f.verdict() for f in found.values()} == {"no verdict"}
    assert "--fresh" in found["verbatim/exact"].no_verdict


def test_windows_of_one_file_are_resampled_together(tmp_path):
    for arm, seed in (("seen", 1), ("fresh", 2)):
        (tmp_path / arm).mkdir()
        for i, text in enumerate(canaries(seed=seed, n=8, words=240)):
            (tmp_path / arm / f"{arm}{i}.txt").write_text(text)
    audit = Verbatim(texts=tmp_path / "seen", fresh=tmp_path / "fresh")
    rows = drive(audit, SuffixModel(canaries(seed=1, n=8, words=240)))
    assert len({r.meta["doc"] for r in rows}) == 16
    assert len(rows) == 48
    exact = audit.findings(rows)[0]
    assert exact.details["paired"] is False
    assert exact.verdict() == "memorised"
    few = [r for r in rows if r.meta["doc"][:1] in "01"]
    assert "independent" in audit.findings(few)[0].details["note"]


def test_windows_of_twin_files_are_resampled_together(tmp_path):
    for arm, seed in (("seen", 1), ("fresh", 2)):
        (tmp_path / arm).mkdir()
        for i, text in enumerate(canaries(seed=seed, n=7, words=140)):
            (tmp_path / arm / f"{i}.txt").write_text(text)
    audit = Verbatim(texts=tmp_path / "seen", fresh=tmp_path / "fresh", per_arm=14)
    rows = drive(audit, SuffixModel(canaries(seed=1, n=7, words=140)))
    run = next(f for f in audit.findings(rows) if f.name == "verbatim/longest-run")
    assert run.n == 14
    # seven documents are seven signs to flip, whatever the windows: p cannot be below 2^-7
    assert 2**-7 <= run.details["p_raw"] < 0.05


def test_one_file_an_arm_or_one_short_file(tmp_path):
    (tmp_path / "a.txt").write_text("too short")
    (tmp_path / "b.txt").write_text(canaries(n=1, words=200)[0])
    audit = Verbatim(texts=tmp_path / "a.txt", fresh=tmp_path / "b.txt")
    with pytest.raises(DataError, match="longest has 2 words"):
        audit.probes()
    one = Verbatim(texts=tmp_path / "b.txt", windows_per_text=1)
    found = by_name(one, SuffixModel())
    assert {f.verdict() for f in found.values()} == {"no verdict"}


def test_too_few_items_give_no_verdict():
    planting = Verbatim().planted(seed=1, n=4)
    found = by_name(planting.audit, SuffixModel(planting.texts))
    assert found["verbatim/exact"].seen.value > 0.7
    assert "only 4 items" in found["verbatim/exact"].no_verdict


def test_rows_that_failed_take_their_twins_with_them():
    planting = Verbatim().planted(seed=1, n=10)
    rows = drive(planting.audit, SuffixModel(planting.texts))
    assert planting.audit.findings(rows[3:])[0].n == 7
    assert planting.audit.findings(rows[:10]) == []
    assert planting.audit.findings([]) == []


def test_what_is_asked_is_what_was_planted():
    planting = Verbatim().planted(seed=2, n=4)
    for probe, text in zip(planting.audit.probes(limit=4), planting.texts, strict=False):
        assert probe.arm == "seen"
        assert any((probe.prompt + probe.target) in t for t in planting.texts), text
    talk = planting.audit.ask(planting.audit.probes()[0], SuffixModel().facts())
    first = next(talk)[0]
    assert isinstance(first, Sample)
    assert any(t.startswith(first.prompt) for t in planting.texts)


def test_limit_seed_and_config():
    audit = Verbatim()
    assert len(audit.probes(limit=3)) == 6
    assert audit.probes(seed=1, limit=3) != audit.probes(seed=2, limit=3)
    assert audit.probes(seed=1) == audit.probes(seed=1)
    assert audit.config()["prefix"] == 32
    assert isinstance(Verbatim().planted(n=3).audit.config()["material"], list)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"prefix": 0}, "prefix must be at least 1, got 0"),
        ({"samples": 4, "temperature": 0.0}, "4 guesses need a temperature above 0"),
        ({"windows_per_text": -1}, "windows_per_text"),
    ],
)
def test_knobs_that_cannot_mean_what_they_say(knobs, message):
    with pytest.raises(UsageError, match=message):
        Verbatim(**knobs)


def test_a_guess_of_many_draws():
    from byheart.audits._verbatim_findings import _found

    assert _found(math.log(0.5), 1) == pytest.approx(0.5)
    assert _found(math.log(0.1), 10) == pytest.approx(1 - 0.9**10)
    assert _found(-1000.0, 10**6) == 0.0
    assert _found(0.0, 1) == pytest.approx(1.0)


def test_a_chat_reply_with_other_line_breaks_is_still_exact():
    text = shipped()[0].text

    def reciter(prompt):
        at = text.find(prompt)
        return text[at + len(prompt) :].replace(", ", ",\n") if at >= 0 else "I cannot say."

    rows = drive(Verbatim(), CallableModel(reciter))
    exact = {r.id: r.values["exact"] for r in rows}
    assert exact.pop("seen:pride-famous#0") == 1.0
    assert set(exact.values()) == {0.0}
    assert Completion("x").text == "x"


@pytest.mark.slow
def test_the_contract_of_all_audits():
    from byheart.core.checks import check_audit

    checked = check_audit(Verbatim())
    assert checked.power >= 0.95
    check_audit(Verbatim(samples=4), seeds=60, power_seeds=20)


@pytest.mark.slow
def test_on_the_real_model(smollm2):
    found = by_name(Verbatim(), smollm2, limit=6)
    assert found["verbatim/exact"].details["tokens"] == "the model's own"
    assert 0 <= found["verbatim/exact"].seen.value <= 1
    assert 0.5 < found["verbatim/logprob"].fresh.value < 8
