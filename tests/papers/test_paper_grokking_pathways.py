"""grokking-pathways' case: its parts against transformers, its verdict on made-up and tiny runs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from byheart.core.errors import DataError, UsageError
from byheart.papers import PAPERS
from byheart.papers import _pathways_full as large
from byheart.papers import _pathways_net as net
from byheart.papers import grokking_pathways as paper

TINY = net.Size(p=7, hidden=16, layers=2, heads=2, experts=4, steps=40, every=4, lr=1e-2, probe=12)


def test_the_balancing_loss_is_that_of_transformers():
    from transformers.models.olmoe.modeling_olmoe import load_balancing_loss_func

    logits = tuple(torch.randn(30, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    torch.testing.assert_close(net.balance(logits, 8, 2), load_balancing_loss_func(logits, 8, 2))


def test_sums_are_right_and_shuffled_ones_are_not():
    x, y, seen, held = net.sums(TINY, 0, False)
    assert ((x[:, 0] + x[:, 1]) % 7 == y).all()
    assert sorted([*seen, *held]) == list(range(49))
    assert len(seen) == round(0.7 * 49)
    x2, y2, seen2, _ = net.sums(TINY, 0, True)
    assert (x2 == x).all()
    assert (seen2 == seen).all()
    assert sorted(y2.tolist()) == sorted(y.tolist())
    assert (y2 == y).float().mean() < 0.5


def test_training_is_the_same_for_the_same_seed():
    size = net.Size(**{**vars(TINY), "steps": 8})
    a, b, c = (net.train(size, seed=s).rows for s in (0, 0, 1))
    assert a == b
    assert a != c
    assert [r["step"] for r in a] == [4, 8]
    assert {"train", "test", "train_loss", "test_loss", "null_distance", "centred_cosine"} <= set(
        a[0]
    )


def test_a_tiny_run_is_judged_and_drawn(monkeypatch, tmp_path):
    """A model that has no time to find the rule: the case says so."""
    monkeypatch.setattr(net, "Size", lambda **k: net_size(**k))
    monkeypatch.setattr(paper, "_KNOWN", 0.0)
    told = []
    result = paper.run(seeds=2, out=tmp_path, progress=lambda what, share: told.append(share))
    assert result.key in PAPERS
    assert not result.checks[0].passed
    assert result.verdict == "not reproduced"
    assert [p.name for p in result.figures] == ["grokking-pathways.svg"]
    assert (tmp_path / "grokking-pathways.svg").read_text().startswith("<?xml")
    kept = json.loads((tmp_path / "result.json").read_text())
    assert len(kept["checks"]) == len(result.checks) > 10
    assert {f.verdict() for f in result.findings} == {"no verdict"}
    assert told == sorted(told)


def net_size(**changes):
    return type(TINY)(**{**vars(TINY), **changes})


def made_up(seed, *, fall=0.1, rise=0.5, shuffled=0.0, null=0.0, known=1.0):
    """Rows of a run in which both metrics move with accuracy, and of its control."""
    rng = np.random.default_rng(seed)
    out = []
    for scale, accuracy in ((1.0, np.linspace(0.4, 1, 20)), (shuffled, np.full(20, 0.03))):
        rows = []
        for i in range(20):
            t, e = i / 19, rng.normal(size=9) * 1e-3
            rows.append(
                {
                    "step": 50.0 * (i + 1), "train": known, "test": float(accuracy[i] + e[7]),
                    "train_loss": 0.02 + e[0], "loss": 0.02 + e[1], "test_loss": 1 - t,
                    "distance": 0.77 - scale * fall * t + e[2], "raw_distance": 12 - scale * t + e[3],
                    "char_distance": 15 - scale * t + e[4], "mean_cosine": 0.1 + scale * rise * t + e[5],
                    "centred_cosine": scale * rise * t + e[5], "consistency": 0.3 + scale * t + e[6],
                    "length": 14 + rng.normal(), "entropy": 2 + 0.01 * rng.normal(),
                    "null_distance": 0.78 - null * t + e[8], "null_cosine": 0.1 + null * t + e[8],
                    "distance/0": 0.7 - scale * fall * t, "distance/1": 0.7 - scale * fall * t,
                }
            )  # fmt: skip
        out.append(rows)
    return paper._Seed(*out)


def test_the_checks_hold_where_the_claim_does():
    checks = paper._checks([made_up(s) for s in range(3)])
    assert [c.name for c in checks if not c.passed] == []


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"fall": 0.0}, {"distance by length falls with accuracy", "it is not length and entropy"}),
        ({"rise": -0.5}, {"mean cosine of layers rises with accuracy"}),
        (
            {"shuffled": 0.9},
            {"control: shuffled answers, distance", "control: shuffled answers, cosine"},
        ),
        (
            {"null": 0.4},
            {"control: experts drawn anew, distance", "control: experts drawn anew, cosine"},
        ),
    ],
)
def test_the_checks_fail_where_it_does_not(options, names):
    failed = {
        c.name for c in paper._checks([made_up(s, **options) for s in range(3)]) if not c.passed
    }
    assert names <= failed


def test_one_seed_that_fails_fails_the_check():
    checks = paper._checks([made_up(0), made_up(1, fall=-0.1)])
    assert not next(c for c in checks if c.name.startswith("distance by length")).passed


def test_runs_that_never_know_their_sums_are_refused(monkeypatch):
    monkeypatch.setattr(net, "Size", lambda **k: net_size(**k))
    with pytest.raises(DataError, match="fewer than 5 checkpoints"):
        paper.run(seeds=1)


def test_settings_that_cannot_be():
    with pytest.raises(UsageError, match="seeds"):
        paper.run(seeds=0)
    with pytest.raises(UsageError, match="steps must be at least"):
        paper.run(steps=20)


def test_the_toy_holds_with_controlled_routing_and_few_clusters():
    toys = [paper.toy(s) for s in range(2)]
    held, drawn = paper._toy_checks(toys)
    assert held.passed
    assert not drawn.passed
    # with as many clusters as experts the distance is 15/16 at both ends
    flat = paper.toy(0, clusters=16)
    assert np.ptp(flat.controlled[:, 0]) < 0.02
    assert not paper._toy_checks([flat])[0].passed


# the large case, small


def test_test_items_are_none_of_the_training_samples():
    size = large.FullSize(probe=50)
    for d in large._domains(size, "it was a truth acknowledged " * 100, 0):
        assert len(d.train) == 50
        if d.name != "prose":
            assert not {"".join(t) for t in d.test} & set(d.train)
        assert all(large._encode("".join(t)) for t in d.test)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("sums", lambda q: str(sum(map(int, q[:-1].split("+"))))),
        ("sorting", lambda q: "".join(sorted(q[5:9]))),
        ("copying", lambda q: q.split()[1]),
    ],
)
def test_answers_of_the_domains_follow_their_rule(name, rule):
    rng = np.random.default_rng(0)
    for _ in range(50):
        question, answer = large.DOMAINS[name](rng)
        assert answer == rule(question) + "\n"


def test_facts_recur():
    rng = np.random.default_rng(0)
    seen: dict[str, str] = {}
    for _ in range(3000):
        question, answer = large._fact(rng)
        assert seen.setdefault(question, answer) == answer
    assert len(seen) < 2001


def test_answers_are_read_off_greedily_whatever_their_length():
    class Copies(torch.nn.Module):
        """Says the character that stood four before."""

        def forward(self, ids, use_cache=False):
            back = torch.roll(ids, 3, 1)
            return type("Out", (), {"logits": torch.nn.functional.one_hot(back, 96).float()})()

    items = [("abcd", "ab"), ("abcd", "ac"), ("wxyzwx", "yz"), ("abcd", "abcdabcd")]
    assert large._answers(Copies(), items, "cpu").tolist() == [1, 0, 1, 1]


def test_the_large_case_runs_small(monkeypatch, tmp_path):
    monkeypatch.setattr(large, "_prose", lambda: "")
    size = large.FullSize(
        hidden=32,
        layers=2,
        experts=4,
        block=48,
        batch=8,
        steps=12,
        checkpoints=6,
        probe=12,
        lr=3e-3,
    )
    result = large.run_full(
        seeds=1, out=tmp_path, progress=None, device="cpu", steps=None, size=size
    )
    assert [p.name for p in result.figures] == ["grokking-pathways-full.svg"]
    assert len(result.checks) == 4
    assert result.verdict == "not reproduced"
    assert sum("too few" in n or "rho" in n for n in result.notes) == 4


def test_the_large_case_judges_delays(monkeypatch):
    """Four samples memorised at once, items right two checkpoints later: a delay of two."""
    d = large._Domain("sums", ["a"] * 4, [("b", "c")] * 4)
    for t in range(8):
        d.rows.append(
            {**made_up(0).rule[2 * t], "test": min(1.0, 0.1 + 0.12 * t), "step": float(t)}
        )
        d.losses.append(np.array([0.1, 3.0, 3.0, 3.0]) if t >= 2 else np.full(4, 3.0))
        d.correct.append(np.array([1.0, 0, 0, 0]) if t >= 4 else np.zeros(4))

    class Encoder:
        def __call__(self, texts):
            return np.ones((len(texts), 3))

    monkeypatch.setattr("byheart.core.minilm.MiniLM", Encoder)
    checks, notes = large._judge([[d]])
    assert checks[-1].measured == "2"
    assert checks[-1].passed
    assert any("delays [2]" in n for n in notes)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_case_itself_with_one_seed(tmp_path):
    """What held in all three seeds of the page's run holds; what did not, did not."""
    result = paper.run(seeds=1, out=tmp_path)
    by = {c.name: c.passed for c in result.checks}
    for name in (
        "the rule is found after the sums are known",
        "distance by length falls with accuracy",
        "mean cosine of layers rises with accuracy",
        "it is not length and entropy",
        "control: experts drawn anew, distance",
        "control: shuffled answers, distance",
        "theory: controlled routing",
    ):
        assert by[name], name
    for name in (
        "control: experts drawn anew, cosine",
        "control: shuffled answers, cosine",
        "theory: a router drawn anew (the paper's toy)",
    ):
        assert not by[name], name
    assert result.verdict != "reproduced"
