"""The rewards in a real GRPOTrainer: a tiny Llama with a character tokenizer, trained for two rollouts."""

import string

import pytest
import torch

from byheart.audits.random_calculation import extract as found_in
from byheart.audits.random_calculation import generate, reference_reward, rewards, to_datasets

trl = pytest.importorskip("trl", reason="trl comes with the development tools (group dev)")


def tiny():
    from tokenizers import Tokenizer, decoders, models
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    characters = ["<pad>", "<eos>", *string.printable]
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(characters)}, merges=[]))
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>",
        chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}",
    )  # fmt: skip
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(characters), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=256,
        pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    return LlamaForCausalLM(config), tokenizer


@pytest.mark.parametrize("chat", [False, True])
def test_a_trainer_of_trl_takes_every_reward(chat, tmp_path):
    rows = to_datasets(generate(8, steps=1, seed=1)).add_column("majority_answer", ["7"] * 8)
    if chat:
        rows = rows.map(lambda r: {"prompt": [{"role": "user", "content": r["prompt"]}]})
    calls = {}

    def watched(reward):
        def call(completions, **columns):
            out = reward(completions=completions, **columns)
            calls.setdefault(reward.__name__, []).append((completions, columns, out))
            return out

        call.__name__ = reward.__name__
        return call

    some = [
        rewards.correct(), rewards.inverted(), rewards.correct("math"), rewards.random(0.5, seed=3),
        rewards.majority_incorrect(), rewards.majority(group=4), rewards.formatted(), rewards.python_like(),
    ]  # fmt: skip
    model, tokenizer = tiny()
    trainer = trl.GRPOTrainer(
        model, reward_funcs=[watched(r) for r in some], train_dataset=rows, processing_class=tokenizer,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path), num_generations=4, generation_batch_size=8,
            per_device_train_batch_size=4, max_steps=3, max_completion_length=8, loss_type="grpo", beta=0.0,
            use_cpu=True, bf16=False, report_to=[], logging_steps=1, save_strategy="no", disable_tqdm=True,
        ),
    )  # fmt: skip
    trainer.train()
    assert set(calls) == {r.__name__ for r in some}
    assert len(calls) == len(some)
    logged = [h for h in trainer.state.log_history if "rewards/random/mean" in h]
    assert len(logged) == 2  # two updates a rollout
    for name, made in calls.items():
        assert [len(out) for _, _, out in made] == [8, 8], name
        for (_, _, out), entry in zip(made, logged, strict=True):
            assert entry[f"rewards/{name}/mean"] == pytest.approx(sum(out) / 8, abs=1e-5)
    coins = rewards.random(0.5, seed=3)
    assert [out for _, _, out in calls["random"]] == [coins(completions=["any"] * 8) for _ in "ab"]
    for completions, columns, out in calls["correct_arithmetic"]:
        texts = [c[-1]["content"] if chat else c for c in completions]
        assert all(isinstance(t, str) for t in texts)
        assert out == [reference_reward(found_in(t), k) for t, k in zip(texts, columns["answer"], strict=True)]  # fmt: skip
    right, wrong = (calls[f"{k}_arithmetic"] for k in ("correct", "inverted"))
    assert all(a + b == 1 for r, w in zip(right, wrong, strict=True) for a, b in zip(r[2], w[2], strict=True))  # fmt: skip
