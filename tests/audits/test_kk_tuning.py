"""The weights side on tiny models: features, probes, classifiers, tuning, the study."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from byheart.audits._kk.probing import linear, probe_texts
from byheart.audits._kk.tuning import evaluate, training_texts
from byheart.audits.knights_and_knaves import (
    Sampler,
    chain_of_thought,
    fine_tune,
    labels,
    mlp_features,
    model_classifier,
    probe_layers,
    prompt,
    published,
    published_puzzles,
    puzzle_classifier,
    render,
    study,
    training_text,
)
from byheart.core.errors import CapabilityError, UsageError
from byheart.core.model import CallableModel


def tiny(words, seed=0, width=48):
    """A two-layer Llama with one token a word."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    pieces = sorted({p for text in words for p in _split(text)})
    vocab = {w: i for i, w in enumerate(["[UNK]", "<s>", "</s>", *pieces])}
    raw = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\w+|\s+|[^\w\s]"), behavior="isolated")
    from tokenizers import decoders

    raw.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]", eos_token="</s>")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocab), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=1024, eos_token_id=2,
        bos_token_id=1, pad_token_id=None, tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval(), tokenizer


def _split(text):
    import re

    return re.findall(r" ?\w+|\s+|[^\w\s]", text)


PUZZLES = Sampler(2, seed=3).sample(40)
TEXTS = [a + b for p in PUZZLES for a, b in [training_text(render(p))]]


def test_features_are_the_blocks_outputs_over_the_tokens():
    model, tokenizer = tiny(TEXTS)
    texts = ["Zoey is a knight", TEXTS[0], "Mia"]
    batched = mlp_features(model, tokenizer, texts, batch=3)
    assert batched.shape == (3, 2, 48)
    for pool in ("mean", "sum"):
        rows = mlp_features(model, tokenizer, texts, pool=pool, batch=3)
        for i, text in enumerate(texts):
            kept = []
            hook = model.model.layers[1].mlp.register_forward_hook(
                lambda m, a, out, kept=kept: kept.append(out)
            )
            with torch.no_grad():
                model(torch.tensor([tokenizer(text)["input_ids"]]))
            hook.remove()
            expected = getattr(kept[0][0], pool)(0).numpy()
            np.testing.assert_allclose(rows[i, 1], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match="pool"):
        mlp_features(model, tokenizer, texts, pool="max")
    with pytest.raises(UsageError, match="no text"):
        mlp_features(model, tokenizer, [])
    with pytest.raises(CapabilityError, match="no blocks"):
        mlp_features(_Mlpless(), tokenizer, texts)


class _Mlpless(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.config = type("C", (), {"num_hidden_layers": 1})()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2)])


def test_half_precision_does_not_overflow_in_the_sum():
    model, tokenizer = tiny(TEXTS)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.mul_(3e4)
    rows = mlp_features(model.to(torch.bfloat16), tokenizer, TEXTS[:2], pool="sum")
    assert np.isfinite(rows).all()


def test_probe_texts_are_right_and_wrong_statements():
    texts, right, group = probe_texts(PUZZLES[:5])
    assert len(texts) == 20
    assert sum(right) == 10
    assert sorted(set(group)) == [0, 1, 2, 3, 4]
    for text, ok, g in zip(texts, right, group, strict=True):
        worded = render(PUZZLES[g])
        name, _, role = text.removeprefix(worded.quiz).strip().rstrip(".").partition(" is ")
        assert (f"{name} is a {role}" in worded.gold) == bool(ok)


def test_a_probe_finds_what_is_there_and_not_what_is_not():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    x = rng.normal(size=(200, 2, 8)).astype(np.float32)
    x[:, 1, 0] += 3 * y
    scores = linear(x, y.tolist())
    assert scores.best == 1
    assert scores.test[1] > 0.85
    assert 0.25 < scores.test_auc[0] < 0.75
    assert (scores.n_train, scores.n_test) == (160, 40)
    groups = np.repeat(np.arange(50), 4)
    assert linear(x, y.tolist(), groups=groups.tolist()).n_test == 40
    with pytest.raises(UsageError, match="at least 5"):
        linear(x[:6], [1, 1, 1, 1, 1, 0])


def test_probes_on_a_model():
    model, tokenizer = tiny(TEXTS)
    scores = probe_layers(model, tokenizer, PUZZLES[:20])
    assert len(scores.test) == 2
    assert scores.n_train + scores.n_test == 80
    with pytest.raises(UsageError, match="at least 10"):
        probe_layers(model, tokenizer, PUZZLES[:3])


@pytest.mark.parametrize("features", ["tfidf", "bow", "words", "chars", "combine"])
def test_the_puzzle_classifier_finds_a_planted_cue(features):
    records = published(3, split="test")
    marked = [i % 2 for i in range(len(records))]
    for r, y in zip(records, marked, strict=True):
        r["response"] = "steady answer " * (4 if y else 1) + ("zebra" if y else "apple")
    score = puzzle_classifier(records, marked, features=features, fields="response")
    assert score.test_auc == 1.0
    rng = np.random.default_rng(1)
    noise = rng.permutation(marked).tolist()
    blind = puzzle_classifier(
        records, noise, features=features, fields=("quiz", "cot_repeat_steps")
    )
    assert blind.test_auc < 0.85


def test_labels_are_balanced_and_unknown_ones_left_out():
    records = published(3, split="test")
    some = [None if i % 3 == 0 else int(i % 10 == 1) for i in range(100)]
    rare = sum(y == 1 for y in some)
    score = puzzle_classifier(records, some, features="chars")
    assert score.n_train + score.n_test == 2 * rare
    score = puzzle_classifier(records, some, features="chars", balanced=False)
    assert score.n_train + score.n_test == sum(y is not None for y in some)
    for call, says in (
        (lambda: puzzle_classifier(records, some[:5]), "100 records and 5 labels"),
        (lambda: puzzle_classifier(records, [1] * 100), "at least 5"),
        (lambda: puzzle_classifier(records, some, features="vowels"), "features is one of"),
        (lambda: puzzle_classifier(records, some, fields="response"), "no field 'response'"),
    ):
        with pytest.raises(UsageError, match=says):
            call()


def test_the_model_classifier_leaves_unknown_labels_out():
    model, tokenizer = tiny(TEXTS)
    prompts = [prompt(render(p).quiz) for p in PUZZLES]
    y = labels([1] * 40, [i % 2 if i < 30 else None for i in range(40)])
    scores = model_classifier(model, tokenizer, prompts, y)
    assert scores.n_train + scores.n_test == 30
    with pytest.raises(UsageError, match="no label"):
        model_classifier(model, tokenizer, prompts, [None] * 40)


def test_training_texts_right_wrong_and_with_thoughts():
    right = training_texts(PUZZLES)
    wrong = training_texts(PUZZLES, wrong=1.0)
    assert [a for a, _ in right] == [a for a, _ in wrong]
    assert all(a != b for (_, a), (_, b) in zip(right, wrong, strict=True))
    half = training_texts(PUZZLES, wrong=0.5)
    assert sum(a != b for a, b in zip(half, right, strict=True)) == 20
    thoughts = training_texts(PUZZLES, cot=True)
    assert thoughts[0][1].startswith(" " + chain_of_thought(PUZZLES[0]).head)
    shuffled = training_texts(PUZZLES, cot=True, wrong_cot="shuffle")
    assert thoughts != shuffled
    assert thoughts[0][1].split("CONCLUSION")[1] == shuffled[0][1].split("CONCLUSION")[1]
    with pytest.raises(UsageError, match="cot=False"):
        training_texts(PUZZLES, cot=True, wrong=0.5)
    with pytest.raises(UsageError, match="cot=True"):
        training_texts(PUZZLES, wrong_cot="shuffle")


def test_tuning_learns_the_answers_and_leaves_the_base_alone():
    model, tokenizer = tiny(TEXTS)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    texts = training_texts(PUZZLES[:8])
    tuned = fine_tune(model, tokenizer, texts, epochs=12, lr=1e-2, batch=4, accumulation=1, rank=16)
    assert len(tuned.losses) == 24
    assert tuned.losses[-1] < 0.5 * tuned.losses[0]
    for name, value in tuned.get_base_model().state_dict().items():
        plain = name.replace(".base_layer", "")
        if plain in before:
            assert torch.equal(before[plain], value), name
    with pytest.raises(UsageError, match="max_length"):
        fine_tune(model, tokenizer, texts, max_length=5)


def test_the_loss_is_that_of_the_answer_only():
    from byheart.audits._kk.tuning import _row

    _, tokenizer = tiny(TEXTS)
    head, answer = training_text(render(PUZZLES[0]))
    row = _row(tokenizer, head, answer, 512, True)
    learned = [i for i, y in zip(row["input_ids"], row["labels"], strict=True) if y != -100]
    assert tokenizer.decode(learned[:-1]) == answer
    assert learned[-1] == tokenizer.eos_token_id
    assert _row(tokenizer, head, answer, 5, False) is None


def test_evaluation_of_known_models():
    from byheart.audits.knights_and_knaves import read_quiz

    def solver(text):
        quiz = text[text.index("### Question: ") + 14 : text.index("\n### Answer")]
        puzzle, layout = read_quiz(quiz)
        return "\nCONCLUSION:\n" + render(puzzle, layout=layout).solution_text_format

    point = evaluate(CallableModel(solver), PUZZLES, perturbations=("statement", "leaf", "flip_role"))  # fmt: skip
    assert point.accuracy == 1
    assert point.limem == {"statement": 0, "leaf": 0, "flip_role": 0}
    keys = {render(p).names: p for p in PUZZLES}

    def table(text):
        quiz = text[text.index("### Question: ") + 14 : text.index("\n### Answer")]
        _, layout = read_quiz(quiz)
        known = render(keys[layout.names], layout=layout)
        return "\nCONCLUSION:\n" + known.solution_text_format

    point = evaluate(CallableModel(table), PUZZLES, perturbations=("statement", "leaf"))
    assert point.accuracy == 1
    assert point.limem == {"statement": 1, "leaf": 1}
    with pytest.raises(UsageError, match="perturbation"):
        evaluate(CallableModel(table), PUZZLES, perturbations=("other",))


def test_the_study_measures_on_the_way_and_refuses_leaks():
    model, tokenizer = tiny(TEXTS)
    train, test = PUZZLES[:8], PUZZLES[8:12]
    told = []
    points = study(
        model, tokenizer, train, test, epochs=(1, 3), lr=3e-3, batch=4, accumulation=1, rank=8,
        most=4, max_tokens=24, progress=lambda what, share: told.append(share),
    )  # fmt: skip
    assert [(p.part, p.epoch) for p in points] == [("train", 1), ("test", 1), ("train", 3), ("test", 3)]  # fmt: skip
    assert all(len(p.solved) == 4 and set(p.limem) <= {"statement", "leaf"} for p in points)
    assert told == sorted(told)
    with pytest.raises(UsageError, match="train and test"):
        study(model, tokenizer, train, train)
    for epochs in ((0,), (-1, 2), ()):
        with pytest.raises(UsageError, match="rise"):
            study(model, tokenizer, train, test, epochs=epochs)
    with pytest.raises(UsageError, match="rise"):
        study(model, tokenizer, train, test, epochs=(3, 1))


def test_the_study_measures_the_untouched_model_at_epoch_0():
    model, tokenizer = tiny(TEXTS)
    points = study(
        model, tokenizer, PUZZLES[:6], PUZZLES[8:10], epochs=(0, 1), batch=4, accumulation=1, rank=2,
        most=2, max_tokens=8, perturbations=("perturbed_leaf", "reorder"),
    )  # fmt: skip
    assert [(p.part, p.epoch) for p in points] == [("train", 0), ("test", 0), ("train", 1), ("test", 1)]  # fmt: skip
    assert set(points[0].solved_twins) == {"leaf", "reorder_statement"}
    untouched, _ = tiny(TEXTS)
    from byheart.core.local import LocalModel

    asked = LocalModel(untouched, tokenizer, device="cpu")
    alone = evaluate(asked, PUZZLES[:2], max_tokens=8, perturbations=("leaf",))
    assert points[0].responses == alone.responses


def test_half_precision_needs_a_gpu():
    model, tokenizer = tiny(TEXTS)
    with pytest.raises(UsageError, match="fp16"):
        fine_tune(model, tokenizer, training_texts(PUZZLES[:4]), fp16=True)


@pytest.mark.slow
def test_a_tiny_model_learns_its_puzzles_by_heart():
    """At the end it recites: train accuracy high, leaf LiMem high."""
    model, tokenizer = tiny(TEXTS, width=96)
    points = study(
        model, tokenizer, PUZZLES[:12], PUZZLES[24:36], epochs=(150,), lr=5e-3, batch=6,
        accumulation=1, rank=64, dropout=0.0, max_tokens=40,
    )  # fmt: skip
    train, test = points
    assert train.accuracy >= 0.9
    assert train.limem["statement"] >= 0.8
    assert test.accuracy <= 0.5


def test_published_wordings_are_used():
    first = published_puzzles(2)[0]
    assert training_texts([first])[0][0].count(published(2)[0]["quiz"]) == 1
