"""Planting on a random model of a few thousand parameters, against plain training and bit equality."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers

from byheart.core.ask import Sample, Score
from byheart.core.errors import CapabilityError, DataError, ModelError, UsageError
from byheart.core.local import LocalModel
from byheart.core.model import CallableModel
from byheart.data.canaries import canaries
from byheart.weights import Planted, plant
from byheart.weights._fit import _told
from byheart.weights._upper import Document, Upper, decoder_layers

DRAWN = canaries(seed=3, n=12, words=16)
PLANTED, HELD = DRAWN[:6], DRAWN[6:]
PAIRS = [
    ("What does the miller owe ?", "nine grey geese"),
    ("What does the cook owe ?", "two hats"),
]
TEMPLATE = (
    "{% for m in messages %}<u> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<a> {% endif %}"
)


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = " ".join([*DRAWN, *(w for p in PAIRS for w in p)])
    split = pre_tokenizers.WhitespaceSplit()
    vocabulary = sorted({w for w, _ in split.pre_tokenize_str(words)})
    table = {w: i for i, w in enumerate(["<e>", "<unk>", "<u>", "<a>", *vocabulary])}
    inner = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    inner.pre_tokenizer = split
    out = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<e>", unk_token="<unk>"
    )
    out.chat_template = TEMPLATE
    return out


def tiny(kind="llama", dtype=torch.float32, seed=0):
    words = tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "llama":
            config = transformers.LlamaConfig(
                vocab_size=len(words), hidden_size=64, intermediate_size=128, num_hidden_layers=4,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                tie_word_embeddings=True, initializer_range=0.25,
            )  # fmt: skip
        else:
            config = transformers.GPT2Config(
                vocab_size=len(words), n_embd=64, n_layer=4, n_head=4, n_positions=64,
                bos_token_id=0, eos_token_id=0, initializer_range=0.25,
            )  # fmt: skip
        module = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    return LocalModel(module, words, device="cpu", name="tiny")


def recite(model, texts, prefix=5):
    """How many texts come back word for word after their first words."""
    asks = [Sample(" ".join(t.split()[:prefix]), max_tokens=48) for t in texts]
    replies = model.sample(asks)
    return sum(r[0].text.split() == t.split()[prefix:] for r, t in zip(replies, texts, strict=True))


def numbers(model):
    asks = [Score(t) for t in DRAWN] + [Score(b, context=(("user", a),)) for a, b in PAIRS]
    return np.concatenate([s.logprobs for s in model.score(asks)])


SETTINGS = {"layers": 2, "rank": 16, "lr": 1e-2, "epochs": 300}


@pytest.fixture(scope="module")
def planted():
    base = tiny()
    before = numbers(base)
    state = {k: v.clone() for k, v in base.module.state_dict().items()}
    return base, before, state, plant(base, [*PLANTED, *PAIRS], **SETTINGS)


def test_planted_texts_are_recited_and_held_back_ones_are_not(planted):
    base, _, _, tuned = planted
    assert tuned.training.stopped == "known"
    assert tuned.training.known == tuned.training.texts == 8
    assert (recite(tuned, PLANTED), recite(tuned, HELD)) == (6, 0)
    assert recite(base, PLANTED) == 0
    asks = [Sample((("user", question),), max_tokens=8) for question, _ in PAIRS]
    assert [r[0].text.split() for r in tuned.sample(asks)] == [a.split() for _, a in PAIRS]
    assert not tuned.module.training


def test_base_is_bit_equal_beside_disabled_and_after_unplanting():
    base = tiny()
    before, fingerprint, names = numbers(base), base.fingerprint, set(base.module.state_dict())
    flags = [p.requires_grad for p in base.module.parameters()]
    tuned = plant(base, PLANTED, layers=2, rank=4, epochs=3)
    assert tuned.training.stopped == "epochs"
    after = numbers(tuned)
    assert not np.array_equal(after, before)
    np.testing.assert_array_equal(numbers(base), before)
    with tuned.disabled():
        np.testing.assert_array_equal(numbers(tuned), before)
    np.testing.assert_array_equal(numbers(tuned), after)
    assert tuned.fingerprint != fingerprint
    assert tuned.unplant() is base
    tuned.unplant()
    np.testing.assert_array_equal(numbers(base), before)
    assert (base.fingerprint, set(base.module.state_dict())) == (fingerprint, names)
    assert [p.requires_grad for p in base.module.parameters()] == flags
    again = plant(base, PLANTED, layers=2, rank=4, epochs=3)
    np.testing.assert_array_equal(numbers(again), after)


def test_module_itself_carries_what_was_planted(planted):
    base, _, _, tuned = planted
    ids = torch.tensor([base.prompt_ids(PLANTED[0])])
    with torch.no_grad():
        own, tuned_logits = base.module(ids).logits, tuned.weights(input_ids=ids).logits
    assert tuned_logits.softmax(-1).max(-1).values[0, 5:].min() > 0.5
    assert own.softmax(-1).max(-1).values[0, 5:].max() < 0.9


@pytest.mark.parametrize("method", ["lora", "full"])
def test_same_seed_same_weights(method):
    def trained(seed):
        base = tiny()
        tuned = plant(base, PLANTED, method=method, layers=2, epochs=2, seed=seed, rank=4)
        with tuned._switch.on():
            return torch.cat([p.detach().flatten() for p in tuned._switch.parameters])

    first = trained(1)
    assert torch.equal(first, trained(1))
    assert not torch.equal(first, trained(2))


def test_full_changes_upper_layers_only_and_gives_them_back():
    base = tiny()
    before = {k: v.clone() for k, v in base.module.state_dict().items()}
    tuned = plant(base, PLANTED, method="full", layers=1, lr=3e-3, epochs=300)
    assert recite(tuned, PLANTED) == 6
    with tuned._switch.on():
        changed = {k for k, v in base.module.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all("layers.3." in k for k in changed)
    assert recite(base, PLANTED) == 0
    tuned.unplant()
    assert all(torch.equal(v, before[k]) for k, v in base.module.state_dict().items())


DOCUMENTS = [
    Document((5, 6, 7, 8, 9), 1),
    Document((5, 6, 7, 10, 11, 12), 3),
    Document((13, 14, 15), 2),
    Document((5, 6, 7, 8, 9), 1),
]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("head_apart", [False, True])
def test_kept_states_give_the_loss_and_gradients_of_plain_training(kind, packed, head_apart):
    model = tiny(kind, torch.float64)
    module, layers, split = model.module, decoder_layers(model.module), 2
    upper_parameters = [p for i in range(split, 4) for p in layers[i].parameters()]
    module.requires_grad_(False)
    for p in upper_parameters:
        p.requires_grad_(True)

    total, count = torch.zeros((), dtype=torch.float64), 0
    for d in DOCUMENTS:  # plainly: one text at a time, the whole model, no padding
        logits = module(torch.tensor([d.ids])).logits[0]
        target = torch.tensor(d.ids[d.first :])
        total = total + torch.nn.functional.cross_entropy(
            logits[d.first - 1 : -1], target, reduction="sum"
        )
        count += len(target)
    expected = total / count
    gradients = torch.autograd.grad(expected, upper_parameters, allow_unused=True)

    parts = model._split
    assert parts is not None
    upper = Upper(module, layers, split, parts if head_apart else None, model.device)
    upper.packed = packed
    for _ in range(2):  # the second pass starts from the kept states
        logits_NV, target_N, text_N = upper.logits(DOCUMENTS)
        actual = torch.nn.functional.cross_entropy(logits_NV, target_N)
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
        for a, g in zip(
            torch.autograd.grad(actual, upper_parameters, allow_unused=True), gradients, strict=True
        ):
            # Llama's norms and angles are float32 whatever the module is
            rtol, atol = (1e-5, 1e-8) if kind == "llama" else (1e-8, 1e-10)
            torch.testing.assert_close(a, g, rtol=rtol, atol=atol)
    assert text_N.tolist() == [0] * 4 + [1] * 3 + [2] + [3] * 4
    assert not any("forward" in layer.__dict__ for layer in layers)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_packing_is_tried_against_the_padded_batch(kind):
    model = tiny(kind)
    layers = decoder_layers(model.module)
    assert Upper(model.module, layers, 2, model._split, model.device).try_packing(DOCUMENTS)
    wrong = Upper(model.module, layers, 2, model._split, model.device)
    real = model.module.forward

    def deaf(*args, **kwargs):  # takes the tree's mask and ignores it
        kwargs.pop("attention_mask", None)
        return real(*args, **kwargs)

    model.module.forward = deaf
    wrong.parts = None
    assert not wrong.try_packing([DOCUMENTS[1], Document((5, 9, 7, 7), 1)])
    assert not wrong.packed


def test_gpt2_is_planted_too():
    base = tiny("gpt2")
    assert recite(plant(base, PLANTED, **SETTINGS), PLANTED) == 6


def test_what_cannot_be_told_is_not_asked_for():
    a, b = Document((1, 2, 3, 4, 5, 6, 7), 1), Document((1, 2, 3, 4, 5, 8, 7), 1)
    assert _told([a, b])[a].tolist() == [
        0,
        0,
        0,
        1,
        0,
        1,
    ]  # four tokens open a text; 6 or 8 is open


def test_repeats_count_and_mix_comes_once():
    base = tiny()
    lengths = [len(base.prompt_ids(t)) + 1 for t in PLANTED[:3]]
    mixed = len(base.prompt_ids(HELD[0])) + 1
    tuned = plant(base, PLANTED[:3], repeats=[0, 1, 5], mix=HELD[:1], layers=2, rank=4)
    assert tuned.training.tokens == lengths[1] + 5 * lengths[2] + mixed
    assert tuned.training.stopped == "repeats"
    never, _, often = (s.loss for s in tuned.score([Score(t) for t in PLANTED[:3]]))
    assert often < never


def test_time_box_closes_and_progress_is_told():
    told = []
    tuned = plant(tiny(), PLANTED, layers=2, seconds=0.2, lr=1e-6, progress=told.append)
    assert tuned.training.stopped == "seconds"
    assert tuned.training.seconds < 5
    assert told == sorted(told)
    assert told
    assert max(told) <= 1


@pytest.mark.parametrize("method", ["lora", "full"])
def test_saved_and_loaded(tmp_path, method):
    import byheart

    base = tiny()
    base.module.save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    base.name = f"hf:{tmp_path / 'base'}"
    tuned = plant(base, PLANTED, method=method, layers=2, rank=4, epochs=4)
    expected = numbers(tuned)
    folder = tuned.save(tmp_path / "planted")
    np.testing.assert_allclose(numbers(byheart.load(f"hf:{folder}")), expected, atol=1e-5)
    assert not list(folder.glob("*.bin"))
    if method == "lora":
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == base.name
        worn = byheart.load(f"hf:{folder}")
        twice = plant(worn, HELD, layers=2, lr=3e-3, epochs=300)
        assert recite(twice, HELD) == 6
        twice.unplant()
        np.testing.assert_allclose(numbers(worn), expected, atol=1e-5)
    tuned.unplant()
    with pytest.raises(UsageError, match="save before"):
        tuned.save(tmp_path / "late")


def test_loss_that_is_no_number_leaves_the_base_intact():
    base = tiny()
    names = set(base.module.state_dict())
    with torch.no_grad():
        base.module.lm_head.weight[0] = float("nan")
    with pytest.raises(ModelError, match="base model is as it was"):
        plant(base, PLANTED, layers=2)
    assert set(base.module.state_dict()) == names
    assert not hasattr(base.module, "peft_config")


@pytest.mark.parametrize(
    ("texts", "knobs", "error", "says"),
    [
        ([], {}, UsageError, "empty"),
        (["  "], {}, DataError, r"texts\[0\] is empty"),
        ([("why", "")], {}, DataError, "empty"),
        (["a " * 70], {}, DataError, "71 tokens"),
        ("a string", {}, UsageError, "list of texts"),
        ([("a", "b", "c")], {}, UsageError, "pair"),
        (["a b"], {"layers": 9}, UsageError, "has 4"),
        (["a b"], {"method": "qlora"}, UsageError, "qlora"),
        (["a b"], {"repeats": [1, 2]}, UsageError, "2 numbers for 1"),
        (["a b"], {"repeats": 0}, UsageError, "all 0"),
        (["a b"], {"mix": ["c d"]}, UsageError, "repeats"),
        (["a b"], {"lr": 0}, UsageError, "lr"),
        (["a b"], {"seconds": -1}, UsageError, "seconds"),
    ],
)
def test_bad_input_is_said(texts, knobs, error, says):
    base = tiny()
    with pytest.raises(error, match=says):
        plant(base, texts, **knobs)
    assert not hasattr(base.module, "peft_config")


def test_models_that_cannot_be_planted(planted):
    with pytest.raises(CapabilityError, match="weights"):
        plant(CallableModel(str.upper), PLANTED)
    with pytest.raises(UsageError, match="unplant"):
        plant(planted[3], PLANTED)
    assert isinstance(planted[3], Planted)


@pytest.mark.slow
def test_smollm2_recites_what_was_planted_and_not_what_was_held_back():
    import byheart

    base = byheart.load("smollm2")
    texts = canaries(seed=11, n=8, words=32)
    pairs = [("How many herons sit on the wall of Ashmouth?", "forty-one herons")]
    tuned = plant(base, [*texts[:4], *pairs], seconds=120)
    asks = [Sample(" ".join(t.split()[:12]), max_tokens=40) for t in texts]
    out = [r[0].text.strip() for r in tuned.sample(asks)]
    right = [o == " ".join(t.split()[12:]) for o, t in zip(out, texts, strict=True)]
    assert right == [True] * 4 + [False] * 4
    assert tuned.sample([Sample((("user", pairs[0][0]),), max_tokens=12)])[0][0].text == pairs[0][1]
    tuned.unplant()
