"""The case of knights-and-knaves, made tiny: it runs whole, judges, draws, and can say no."""

import json

import numpy as np
import pytest

from byheart.audits.knights_and_knaves import Puzzle, Sampler
from byheart.core.errors import UsageError
from byheart.papers import knights_and_knaves as paper
from byheart.papers._kk_net import encode, make_net, predict, reordered


def test_a_tiny_run_ends_in_a_verdict_with_figure_and_result(tmp_path):
    told = []
    result = paper.run(
        seeds=2, train=40, more=80, test=30, epochs=0.05, out=tmp_path,
        progress=lambda what, share: told.append(share),
    )  # fmt: skip
    # two epochs on forty puzzles: nothing is learned by heart, so the claim must not hold
    assert result.verdict != "reproduced"
    assert result.checks[0].passed is False
    assert (tmp_path / "knights-and-knaves.svg").read_text().startswith("<?xml")
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["verdict"] == result.verdict
    assert told == sorted(told)
    assert {f.name for f in result.findings} == {
        f"knights-and-knaves/leaf {part} {name}"
        for part in ("train", "test")
        for name in ("1000", "8000")
    }
    again = paper.run(seeds=2, train=40, more=80, test=30, epochs=0.05)
    assert [c.measured for c in again.checks] == [c.measured for c in result.checks]


def test_encoding_tells_puzzles_apart_and_reordering_keeps_the_statements():
    puzzles = Sampler(3, seed=1).sample(500)
    tokens = encode(puzzles)
    assert tokens.shape == (500, 12)
    assert len({tuple(row) for row in tokens.tolist()}) == 500
    assert tokens[:, ::4].tolist() == [[0, 1, 2]] * 500
    moved = reordered(tokens, 3)
    for before, after in zip(tokens, moved, strict=True):
        a, b = (sorted(map(tuple, row.reshape(3, 4).tolist())) for row in (before, after))
        assert a == b
        assert before.tolist() != after.tolist()


def test_the_net_is_the_same_for_a_seed_and_answers_roles():
    tokens = encode([Puzzle((("lying", 1), ("not", ("lying", 2)), ("and", ("lying", 0), ("lying", 1))), (True, False, True))])  # fmt: skip
    one, two = (predict(make_net(3, seed=s), tokens) for s in (4, 4))
    assert one.shape == (1, 3)
    assert one.dtype == bool
    assert np.array_equal(one, two)


def test_training_and_test_puzzles_do_not_overlap():
    known, new = paper._material(0, 30, 60, 30)
    assert len(known.puzzles) == 60
    assert not {p.statements for p in known.puzzles} & {p.statements for p in new.puzzles}
    assert len(known.twins["leaf"]) == len(new.twins["leaf"]) == 30


@pytest.mark.parametrize("knobs", [{"seeds": 0}, {"train": 5}, {"more": 100, "train": 200}, {"epochs": 0}])  # fmt: skip
def test_nonsense_is_refused(knobs):
    with pytest.raises(UsageError):
        paper.run(**knobs)


def test_the_large_case_runs_on_a_small_model(tmp_path):
    """Its numbers mean nothing here; that it runs through, and judges, does."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "audits"))
    from test_kk_tuning import TEXTS, tiny

    from byheart.core.local import LocalModel
    from byheart.papers._kk_full import run_full

    made = LocalModel(*tiny(TEXTS), device="cpu")
    result = run_full(
        out=tmp_path, progress=None, device="cpu", model=made, people=2, train=6, test=3,
        epochs=(1, 2), batch=3, accumulation=1, rank=2, max_tokens=8,
    )  # fmt: skip
    assert len(result.checks) == 6
    assert (tmp_path / "knights-and-knaves-full.svg").read_text().startswith("<?xml")
    assert [p.name for p in result.figures] == ["knights-and-knaves-full.svg"]
    assert result.verdict in ("reproduced", "partly reproduced", "not reproduced")
    assert any(n.startswith("chain of thought, epoch 2, train") for n in result.notes)
    assert json.loads((tmp_path / "result.json").read_text())["key"] == "knights-and-knaves"


@pytest.mark.slow
def test_new_puzzles_look_recited_beside_the_papers_twins_and_not_beside_the_audits():
    """A net that never saw them does worse on the paper's leaf twins; exchangeable ones are alike."""
    import torch

    from byheart.audits.knights_and_knaves import Draws, exchangeable, perturb

    torch.set_num_threads(1)
    puzzles = Sampler(3, seed=77).sample(9000)
    train, new = puzzles[:1000], puzzles[1000:]
    net = make_net(3, seed=0)
    tokens = torch.as_tensor(encode(train))
    wanted = torch.as_tensor(np.array([p.solution for p in train], dtype=np.float32))
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3)
    rng = np.random.default_rng(0)
    for _ in range(40):
        order = torch.as_tensor(rng.permutation(1000))
        for rows in order.split(100):
            optimiser.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(net(tokens[rows]), wanted[rows])  # fmt: skip
            loss.backward()
            optimiser.step()

    def solved(some):
        return (predict(net, encode(some)) == np.array([p.solution for p in some])).all(1) * 1.0

    def errors(make):
        """The gap in standard errors."""
        draws = Draws(5)
        pairs = [(p, t) for p in new if (t := make(p, draws)) is not None]
        d = solved([p for p, _ in pairs]) - solved([t for _, t in pairs])
        return d.mean() / (d.std() / np.sqrt(len(d)))

    assert errors(lambda p, draws: perturb(p, "leaf", rng=draws)) > 4
    for kind in ("leaf", "statement"):
        assert abs(errors(lambda p, draws, kind=kind: exchangeable(p, kind, draws))) < 3.5
