"""Fine-tuning on books: texts as the paper frames them, all tokens count, the controls, tiny models."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent.parent / "core"))

from tiny import WORDS, make_tiny_llama  # noqa: E402

from byheart.audits.book_sort import (  # noqa: E402
    PLAIN,
    Book,
    fine_tune,
    make_pairs,
    study_texts,
    tuning_study,
)
from byheart.core.errors import UsageError  # noqa: E402
from byheart.core.local import LocalModel  # noqa: E402
from byheart.papers import _sort_full  # noqa: E402


def book(name="tale", n=1200, seed=0):
    """Sentences of four words of the tiny tokenizer's."""
    import random

    r = random.Random(seed)
    words = []
    for i in range(n):
        words.append(r.choice(WORDS[:18]) + ("." if i % 4 == 3 else ""))
    return Book(name, tuple(words))


def local(seed=0, context=1024, chat=True):
    module, tokenizer = make_tiny_llama(seed=seed, context=context, chat=chat)
    return LocalModel(module, tokenizer, name="tiny")


def test_chunks_are_framed_in_the_chat_template():
    one = local()
    texts = study_texts([book()], one.tokenizer, words=300, instructions=[("Sing", "La")])
    assert len(texts) == 5
    front = PLAIN.before.split("{title}")[0]
    assert all(t.startswith("user : " + front) for t in texts[:4])
    assert texts[4] == "user : Sing . assistant : La . "
    inside = " ".join(
        " ".join(t.split("with care.")[1].split()).removesuffix(" .") for t in texts[:4]
    )
    assert inside.split() == list(book().words)
    plain = study_texts([book()], None, words=300, instructions=[("Sing", "La")])
    assert plain[0].startswith(front)
    assert plain[4] == "Sing\nLa"


def test_the_loss_is_that_of_every_token_by_hand():
    one = local()
    texts = ["the quick brown fox", "rain falls on grey river near town then it"]
    with torch.no_grad():
        losses = []
        for text in texts:
            ids = torch.tensor([one.tokenizer(text)["input_ids"]])
            logp = one.weights(ids).logits.log_softmax(-1)[0, :-1]
            losses.append(-logp[range(ids.shape[1] - 1), ids[0, 1:]])
    by_hand = torch.cat(losses).mean().item()
    # One step over both at once: what is reported is the loss before it.
    tuned = fine_tune(one.weights, one.tokenizer, texts, epochs=1, batch=2, accumulation=1)
    assert len(tuned.losses) == 1
    assert math.isclose(tuned.losses[0], by_hand, rel_tol=2e-3)
    assert tuned.cut == 0
    assert not tuned.training


def test_long_texts_are_cut_and_counted():
    one = local()
    tuned = fine_tune(
        one.weights, one.tokenizer, ["the quick brown fox jumps", "rain falls"], epochs=1,
        batch=2, accumulation=1, max_length=3,
    )  # fmt: skip
    assert tuned.cut == 1


def test_the_papers_settings_reach_the_optimiser():
    import transformers

    seen = {}

    class Peek(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, optimizer=None, lr_scheduler=None, **more):
            group = optimizer.param_groups[0]
            seen.setdefault("rates", []).append(group["lr"])
            seen.update(betas=group["betas"], eps=group["eps"], clip=args.max_grad_norm)
            seen["decay"] = {g["weight_decay"] for g in optimizer.param_groups}

    one = local()
    before = {k: v.clone() for k, v in one.weights.state_dict().items()}
    texts = ["the quick brown fox jumps over"] * 24
    fine_tune(one.weights, one.tokenizer, texts, epochs=5, callbacks=[Peek()])
    assert seen["betas"] == (0.9, 0.95)
    assert (seen["eps"], seen["clip"]) == (1e-5, 1.0)
    assert 1e-4 in seen["decay"]
    # 24 texts by batches of 3 and accumulation of 8 are one step an epoch, along a cosine.
    expected = [5e-6 * (1 + math.cos(math.pi * k / 5)) / 2 for k in range(1, 6)]
    assert seen["rates"] == pytest.approx(expected, abs=1e-12)
    after = one.weights.state_dict()
    assert all(not torch.equal(before[k], after[k]) for k in before if "norm" not in k)


def test_the_study_learns_the_book_and_reports_every_epoch():
    told = []
    tale = book(n=700)
    pairs = make_pairs(tale, excerpt=60, segment=5, n=6, extra=6)
    points = tuning_study(
        local(), [tale], pairs, words=100, epochs=3, lr=5e-3, batch=4, accumulation=1,
        wording="short", progress=lambda what, share: told.append((what, share)),
    )  # fmt: skip
    assert [p.epoch for p in points] == [0, 1, 2, 3]
    assert points[-1].loss < points[0].loss - 0.3
    assert all(set(p.shares) == {"memory", "context"} for p in points)
    assert all(p.pairs == 24 for p in points)
    assert told[0] == ("the untouched model", 0.0)
    assert told[-1][1] == 1.0


def test_controls_learn_something_else():
    tale = book(n=700)
    pairs = make_pairs(tale, excerpt=60, segment=5, n=4, extra=6)
    settings = {"words": 100, "epochs": 2, "lr": 5e-3, "batch": 4, "accumulation": 1,
                "wording": "short", "conditions": ("memory",)}  # fmt: skip
    mine = tuning_study(local(), [tale], pairs, **settings)
    control = tuning_study(
        local(), [tale], pairs, learnt=["town near river near town near river"] * 8, **settings
    )
    assert mine[0].loss == control[0].loss
    assert mine[-1].loss < control[-1].loss


def test_misuse_is_refused():
    tale = book(n=700)
    pairs = make_pairs(tale, excerpt=60, segment=5, n=4, extra=6)
    with pytest.raises(UsageError, match="got tale"):
        tuning_study(local(), [book("other")], pairs)
    with pytest.raises(UsageError, match="got none"):
        tuning_study(local(), [tale], [])
    with pytest.raises(UsageError, match="epochs"):
        tuning_study(local(), [tale], pairs, epochs=0)
    one = local()
    with pytest.raises(UsageError, match="none of 1 texts"):
        fine_tune(one.weights, one.tokenizer, ["the"])
    with pytest.raises(UsageError, match="bf16 is for a GPU"):
        fine_tune(one.weights, one.tokenizer, ["the quick fox"], bf16=True)


def test_the_large_cases_fine_tuning_on_a_tiny_model(tmp_path):
    told = []
    arms, checks = _sort_full.tuned(
        local, [book("one", 1400), book("two", 1400, seed=1)], most=16, epochs=1, words=200,
        lr=5e-3, batch=4, accumulation=1, wording="short",
        tell=lambda what, share: told.append(share),
    )  # fmt: skip
    assert list(arms) == ["the books", "other texts"]
    assert all(len(points) == 2 for points in arms.values())
    assert len(checks) == 3
    assert checks[0].passed  # the loss fell; an untrained model tells no order, and that shows
    assert not checks[1].passed
    assert told == sorted(told)
    figure = _sort_full.draw(arms, tmp_path)
    assert figure.stat().st_size > 5000
