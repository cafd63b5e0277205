"""Membership: published scores checked against naive loops, and a baseline that never asks."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.audits import make
from byheart.audits._blind import blind_scores, surface
from byheart.audits.membership import Membership, min_k, min_k_pp, zlib_bits
from byheart.core.ask import Scored
from byheart.core.drive import drive
from byheart.core.errors import CapabilityError, DataError, UsageError
from byheart.core.finding import Finding
from byheart.core.model import CallableModel
from byheart.core.report import Report
from byheart.core.stats import auc
from byheart.core.toy import SuffixModel
from byheart.data.canaries import canaries, canary_material
from byheart.data.passages import Passage, shipped

NATS = st.lists(st.floats(-30, 0), min_size=1, max_size=60)


def naive_min_k(values, k):
    """Shi et al.: sort, take the first int(T * k), at least one, average."""
    lowest = sorted(values)[: max(1, int(len(values) * k / 100 + 1e-9))]
    return sum(lowest) / len(lowest)


@settings(deadline=None, max_examples=150)
@given(values=NATS, k=st.sampled_from([1, 5, 10, 20, 30, 50, 60, 100]))
def test_min_k_agrees_with_a_loop(values, k):
    assert min_k(values, k) == pytest.approx(naive_min_k(values, k))
    assert min_k(values, k) <= np.mean(values) + 1e-9
    assert min_k(values, 100) == pytest.approx(np.mean(values))


def test_min_k_pp_agrees_with_a_loop_over_the_vocabulary():
    """Zhang et al.: moments of log p(v) under the model's own next-token distribution."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (40, 17))
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    tokens = rng.integers(0, 17, 40)
    z, means, stds = [], [], []
    for t in range(40):
        mu = sum(math.exp(logp[t, v]) * logp[t, v] for v in range(17))
        var = sum(math.exp(logp[t, v]) * (logp[t, v] - mu) ** 2 for v in range(17))
        z.append((logp[t, tokens[t]] - mu) / math.sqrt(var))
        means.append(mu)
        stds.append(math.sqrt(var))
    got = min_k_pp(logp[np.arange(40), tokens], np.array(means), np.array(stds), 20)
    assert got == pytest.approx(naive_min_k(z, 20))


def test_min_k_pp_where_the_model_is_certain_stays_finite():
    assert min_k_pp([0.0, -1.0], [0.0, -1.0], [0.0, 0.0]) == 0.0
    assert math.isfinite(min_k_pp([-20.0], [0.0], [0.0]))


def test_values_of_the_definition():
    assert min_k([-0.1, -0.2, -9.0, -0.3, -5.0], 40) == -7.0
    assert min_k([-0.1, -0.2, -9.0], 20) == -9.0  # floor(0.6) is 0: at least one token
    assert zlib_bits("abc") == 8 * len(zlib.compress(b"abc", 9))
    assert zlib_bits("ä" * 99) < zlib_bits("the quick brown fox jumps over the lazy dog")


@pytest.mark.parametrize(
    "call",
    [
        lambda: min_k([], 20),
        lambda: min_k([-1.0], 0),
        lambda: min_k([-1.0], 101),
        lambda: min_k_pp([-1.0], [-1.0, -2.0], [1.0]),
        lambda: Membership(k=0),
        lambda: Membership(minimum=200),
        lambda: Membership(per_arm=0),
    ],
)
def test_arguments_that_make_no_sense(call):
    with pytest.raises(UsageError):
        call()


def test_attacks_of_one_text():
    own = Scored(np.array([-1.0, -2.0, -3.0]), mean=np.full(3, -2.0), std=np.full(3, 2.0))
    reference = Scored(np.array([-2.0, -5.0]))
    values = Membership(k=34).attacks("some text", own, reference)
    assert values == {
        "loss": -2.0,
        "zlib": -6.0 / zlib_bits("some text"),
        "min-k": -3.0,
        "min-k++": -0.5,
        "reference": (-6.0 + 7.0) / 3,
    }
    assert set(Membership().attacks("x", Scored(np.zeros(0))).values()) == {None}


def test_every_attack_is_higher_for_what_was_read():
    read, other = canaries(seed=1, n=2, words=60)
    model, blank = SuffixModel([read]), SuffixModel(seed=2)
    audit = Membership(reference=True)
    from byheart.core.ask import Score

    (a, b), (ra, rb) = (
        m.score([Score(t, moments=True) for t in (read, other)]) for m in (model, blank)
    )
    seen, fresh = audit.attacks(read, a, ra), audit.attacks(other, b, rb)
    assert all(seen[k] > fresh[k] for k in seen)


# --- the blind baseline ---------------------------------------------------------------------------


def test_arms_that_differ_in_topic_are_told_apart_blindly():
    member = [f"{t} The ship sailed in {1800 + i}." for i, t in enumerate(canaries(seed=1, n=12))]
    other = [f"{t} Click here: {i}% off!" for i, t in enumerate(canaries(seed=2, n=12))]
    scores = blind_scores([*member, *other], [True] * 12 + [False] * 12)
    assert auc(scores[:12], scores[12:]) > 0.95


def test_arms_that_differ_in_length_only_are_told_apart_blindly():
    texts = [*canaries(seed=1, n=12, words=30), *canaries(seed=2, n=12, words=90)]
    scores = blind_scores(texts, [True] * 12 + [False] * 12)
    assert auc(scores[:12], scores[12:]) > 0.9


def test_arms_from_one_source_are_not_told_apart():
    values = []
    for seed in range(20):
        material, _, _ = canary_material(seed=seed, n=16)
        y = np.array([p.famous for p in material])
        scores = blind_scores([p.text for p in material], y, seed=seed)
        values.append(auc(scores[y], scores[~y]))
    assert 0.4 < np.mean(values) < 0.58
    assert np.percentile(values, 90) < 0.75


def test_no_text_is_scored_by_a_classifier_that_saw_its_group():
    """Every text has a word of its document only: known again if a document were torn."""
    y = np.arange(48) % 2 == 0
    own = [
        "qux",
        "zorb",
        "flim",
        "wug",
        "dax",
        "blick",
        "toma",
        "kiki",
        "bouba",
        "gleeb",
        "tulver",
        "plonk",
    ]
    docs = [own[i // 8 * 2 + i % 2] for i in range(48)]
    texts = [
        f"{d} {d} {d} {t}" for d, t in zip(docs, canaries(seed=5, n=48, words=12), strict=True)
    ]
    torn = blind_scores(texts, y, None)
    whole = blind_scores(texts, y, docs)
    assert auc(torn[y], torn[~y]) > 0.95
    assert auc(whole[y], whole[~y]) < 0.8


def test_blind_scores_are_repeatable_and_need_two_texts():
    texts = canaries(seed=1, n=8)
    y = [True, False] * 4
    assert (blind_scores(texts, y, seed=3) == blind_scores(texts, y, seed=3)).all()
    with pytest.raises(UsageError, match="two texts or more"):
        blind_scores(texts[:3], [True, True, False])
    assert len(blind_scores(texts, y, ["one"] * 4 + ["two"] * 4)) == 8
    assert len(blind_scores(texts, y, ["m", "n"] * 4)) == 8  # one document an arm: texts are dealt
    assert np.isfinite(surface("")).all()


# --- the audit ------------------------------------------------------------------------------------


def by_name(audit, model, **kw) -> dict[str, Finding]:
    rows = drive(audit, model, **kw)
    return {f.name: f for f in Report.of("m", audit.findings(rows)).findings}


NO_REFERENCE = {f"membership/{a}" for a in ("loss", "zlib", "min-k", "min-k++")}


def test_planted_texts_are_found_and_held_back_ones_are_not():
    planting = Membership().planted(seed=3, n=12)
    model = SuffixModel(planting.texts, seed=3)
    found = by_name(planting.audit, model)
    assert set(found) == NO_REFERENCE
    for f in found.values():
        assert f.verdict() == "memorised"
        assert f.seen.value > 0.95
        assert f.details["tpr_at_1pct_fpr"] > 0.8
        assert f.gap.low < f.gap.value  # a perfect ranking of 12 is no certainty
        assert "reference" in f.details["attacks_not_run"]
    assert all(f.verdict() != "memorised" for f in by_name(planting.held, model).values())


def test_a_reference_model_adds_its_attack():
    planting = Membership().planted(seed=3, n=12)
    import dataclasses

    audit = dataclasses.replace(planting.audit, reference=True)
    model = SuffixModel(planting.texts, seed=3)
    found = by_name(audit, model, roles={"reference": SuffixModel(seed=9)})
    assert found["membership/reference"].verdict() == "memorised"
    same = by_name(audit, model, roles={"reference": model})["membership/reference"]
    assert same.seen.value == 0.5
    assert same.verdict() == "not shown"


def test_what_a_blind_classifier_explains_is_no_membership():
    """Members are short and plain: likelier to a model that never read them."""
    plain = [Passage(f"m{i}", f"the cat sat on the mat and the dog {w} " * 3, famous=True)
             for i, w in enumerate(["ran", "sat", "ate", "hid", "sang", "came", "left", "fell", "rose", "won"])]  # fmt: skip
    other = [Passage(f"n{i}", t) for i, t in enumerate(canaries(seed=4, n=10, words=40))]
    model = SuffixModel(["the cat sat on the mat and the dog slept on the mat"] * 2)
    found = by_name(Membership(material=(*plain, *other)), model)
    loss = found["membership/loss"]
    assert loss.seen.value > 0.95
    assert loss.details["p_above_chance"] < 0.01
    assert loss.fresh.value > 0.95
    assert loss.p_value == max(loss.details["p_above_chance"], loss.details["p_above_blind"]) > 0.3
    assert "does not beat the blind classifier" in loss.no_verdict
    assert all(f.verdict() != "memorised" for f in found.values())


class NoMoments(SuffixModel):
    """Tells log-probabilities only."""

    def score(self, asks, progress=None):
        return [Scored(s.logprobs, s.tokens, s.greedy) for s in super().score(asks, progress)]


def test_an_attack_that_cannot_be_run_is_named():
    planting = Membership().planted(seed=3, n=8)
    found = by_name(planting.audit, NoMoments(planting.texts))
    assert set(found) == NO_REFERENCE - {"membership/min-k++"}
    why = found["membership/loss"].details["attacks_not_run"]
    assert "standard deviation" in why["min-k++"]
    assert "--reference" in why["reference"]


def test_a_model_without_scores_is_refused():
    with pytest.raises(CapabilityError, match="membership needs score"):
        drive(Membership(), CallableModel(lambda prompt: "x"))


def test_the_shipped_passages_are_the_default():
    probes = Membership().probes()
    assert len(probes) == len(shipped())
    model = SuffixModel([p.text for p in shipped() if p.famous])
    found = by_name(Membership(), model)
    assert found["membership/loss"].verdict() == "memorised"
    assert found["membership/loss"].details["blind_auc_measured"] < 0.9
    blank = by_name(Membership(), SuffixModel(canaries(seed=1, n=20)))
    assert all(f.verdict() != "memorised" for f in blank.values())


def test_the_users_own_files_and_what_is_missing(tmp_path):
    texts = canaries(seed=8, n=20, words=60)
    for arm, part in (("seen", texts[:10]), ("fresh", texts[10:])):
        (tmp_path / arm).mkdir()
        for i, text in enumerate(part):
            (tmp_path / arm / f"{i}.md").write_text(text)
    model = SuffixModel(texts[:10])
    audit = make("membership", texts=[tmp_path / "seen"], fresh=str(tmp_path / "fresh"))
    assert by_name(audit, model)["membership/loss"].verdict() == "memorised"
    alone = by_name(Membership(texts=tmp_path / "seen"), model)
    assert {f.verdict() for f in alone.values()} == {"no verdict"}
    assert "--fresh" in alone["membership/loss"].no_verdict
    with pytest.raises(DataError, match="no file or folder"):
        Membership(texts=tmp_path / "none").probes()


def test_windows_of_one_document_count_once_where_there_are_documents(tmp_path):
    for arm in ("seen", "fresh"):
        (tmp_path / arm).mkdir()
        for i, text in enumerate(canaries(seed=len(arm), n=8, words=150)):
            (tmp_path / arm / f"{arm}{i}.txt").write_text(text)
    audit = Membership(texts=tmp_path / "seen", fresh=tmp_path / "fresh", window=40)
    rows = drive(audit, SuffixModel())
    assert len(rows) == 48
    loss = next(f for f in audit.findings(rows) if f.name.endswith("loss"))
    assert loss.n == 8
    assert loss.details["windows_of_one_document_averaged"] is True
    few = [r for r in rows if int(r.meta["doc"].split(":")[0]) < 3]
    loss = next(f for f in audit.findings(few) if f.name.endswith("loss"))
    assert loss.n == 9
    assert "independent" in loss.details["note"]


def test_poor_rows_give_no_verdict():
    planting = Membership().planted(seed=1, n=8)
    rows = drive(planting.audit, SuffixModel(planting.texts))
    assert planting.audit.findings([]) == []
    assert planting.audit.findings(rows[:8]) == []
    few = [*rows[:3], *rows[8:11]]
    assert {f.verdict() for f in planting.audit.findings(few)} == {"no verdict"}


@pytest.mark.slow
def test_the_contract_of_all_audits():
    from byheart.core.checks import check_audit

    assert check_audit(Membership()).power >= 0.95


@pytest.mark.slow
def test_on_the_real_model(smollm2):
    found = by_name(Membership(), smollm2, limit=6)
    assert set(found) == NO_REFERENCE
    assert all(0 <= f.seen.value <= 1 for f in found.values())
