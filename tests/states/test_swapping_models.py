"""Swapping in real models: transformers' decoders, adapters, wrappers, the Trainer."""

from __future__ import annotations

import os

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from byheart.core.errors import UsageError  # noqa: E402
from byheart.states.swapping import SwapCallback, find_blocks, offload_activations  # noqa: E402

GIB = 1 << 30
SMALL = {"vocab_size": 97, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def make(kind, **more):
    """Six layers, float64."""
    torch.manual_seed(1)
    shape = {
        "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 6,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
    }  # fmt: skip
    config = {
        "llama": lambda: transformers.LlamaConfig(**SMALL, **shape, **more),
        "qwen2": lambda: transformers.Qwen2Config(**SMALL, **shape, **more),
        "qwen3": lambda: transformers.Qwen3Config(**SMALL, **shape, head_dim=12, **more),
        "gemma2": lambda: transformers.Gemma2Config(**SMALL, **shape, head_dim=12, **more),
        "neox": lambda: transformers.GPTNeoXConfig(
            **SMALL, hidden_size=48, intermediate_size=80, num_hidden_layers=6,
            num_attention_heads=4, **more,
        ),
        "gpt2": lambda: transformers.GPT2Config(
            **SMALL, n_embd=48, n_layer=6, n_head=4, n_positions=256, **more
        ),
        "mixtral": lambda: transformers.MixtralConfig(
            **SMALL, **shape, num_local_experts=4, num_experts_per_tok=2,
            experts_implementation="eager", **more,
        ),
    }[kind]()  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config).double().train()


IDS = torch.randint(3, 97, (2, 61), generator=torch.Generator().manual_seed(4))


def gradients(model, ids=IDS, **more):
    model.zero_grad()
    torch.manual_seed(5)
    loss = model(ids, labels=ids, **more).loss
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


def same(a, b):
    assert len(a) == len(b)
    for one, two in zip(a, b, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("alpha", [0, 0.3, 1, "auto"])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma2", "neox", "gpt2", "mixtral"])
def test_decoders(kind, alpha):
    model = make(kind)
    plain = gradients(model)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB) as swapper:
        same(plain, gradients(model))
        same(plain, gradients(model))
    assert swapper.stats.passes == 8
    if kind in ("llama", "qwen2", "qwen3", "neox", "gpt2"):
        assert swapper.stats.whole_blocks == ()
        assert swapper.stats.overflows == 0


def test_experts_that_other_tokens_ask_for(monkeypatch):
    """Few tokens alone ask for fewer experts than all together, and then less is saved.

    A long text comes first, on which both ask for every expert, so that the check is passed.
    """
    from byheart.states._swapping.passes import Pass

    torch.manual_seed(1)
    model = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            **SMALL, hidden_size=48, intermediate_size=80, num_hidden_layers=6,
            num_attention_heads=4, num_key_value_heads=2, num_local_experts=6,
            num_experts_per_tok=1, experts_implementation="eager",
        )
    ).train()  # fmt: skip
    runs = []
    real = Pass.run_again

    def counted(self, begin, *, whole=False):
        runs.append(whole)
        return real(self, begin, whole=whole)

    monkeypatch.setattr(Pass, "run_again", counted)
    draw = torch.Generator().manual_seed(3)
    long = torch.randint(3, 97, (1, 240), generator=draw)
    with offload_activations(model, alpha=0.7, cpu_bytes=GIB) as swapper:
        gradients(model, long)
        assert swapper.stats.whole_blocks == ()
        for _ in range(4):
            ids = torch.randint(3, 97, (1, 19), generator=draw)
            got = gradients(model, ids)
            swapper.__exit__(None, None, None)
            plain = gradients(model, ids)
            swapper.__enter__()
            for one, two in zip(plain, got, strict=True):
                torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    assert any(runs)  # some had to be run as a whole
    assert not all(runs)


@pytest.mark.parametrize("more", [{"use_cache": True}, {"attention_mask": "padded"}])
def test_caches_and_masks(more):
    model = make("llama")
    if "attention_mask" in more:
        mask = torch.ones_like(IDS)
        mask[0, :9] = 0
        more = {"attention_mask": mask}
    plain = gradients(model, **more)
    for alpha in (0, 0.5, 1):
        with offload_activations(model, alpha=alpha, cpu_bytes=GIB):
            same(plain, gradients(model, **more))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_written_out_is_run_again_as_a_whole(attention):
    model = make("llama", attn_implementation=attention)
    plain = gradients(model)
    with offload_activations(model, alpha=0.5, cpu_bytes=GIB) as swapper:
        same(plain, gradients(model))
    assert swapper.stats.whole_blocks == ((0, 1, 2, 3) if attention == "eager" else ())


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_adapters(alpha):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, lora_dropout=0.2, target_modules=["q_proj", "up_proj"])
    model = peft.get_peft_model(make("llama"), config).train()
    assert len(find_blocks(model)) == 6
    plain = gradients(model)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB) as swapper:
        same(plain, gradients(model))
    assert swapper.stats.whole_blocks == ()


def test_a_model_that_recomputes_by_itself_is_refused():
    model = make("llama")
    model.gradient_checkpointing_enable()
    with (
        pytest.raises(UsageError, match="gradient_checkpointing_disable"),
        offload_activations(model),
    ):
        pass


def test_the_trainer(tmp_path):
    def trained(callbacks):
        model = make("llama").float()
        rows = [{"input_ids": r, "labels": r} for r in IDS.tolist() * 4]
        args = transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=3, per_device_train_batch_size=2,
            gradient_accumulation_steps=2, report_to=[], save_strategy="no", use_cpu=True,
            disable_tqdm=True, seed=3,
        )  # fmt: skip
        collate = transformers.default_data_collator
        transformers.Trainer(
            model=model, args=args, train_dataset=rows, data_collator=collate, callbacks=callbacks
        ).train()
        return [p.detach().clone() for p in model.parameters()]

    callback = SwapCallback(alpha=1.0, cpu_bytes=GIB)
    for a, b in zip(trained([]), trained([callback]), strict=True):
        assert torch.equal(a, b)
    assert callback.swapper.stats.passes == 4 * 3 * 2
    assert not callback.swapper._handles


@pytest.fixture
def group(tmp_path):
    """A process group of this process alone."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_ddp(group, alpha):
    model = make("llama")
    plain = gradients(model)
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    with offload_activations(wrapped, alpha=alpha, cpu_bytes=GIB) as swapper:
        same(plain, gradients(wrapped))
    assert swapper.stats.passes == 4


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_fsdp2(group, alpha):
    from torch.distributed.fsdp import fully_shard

    model = make("llama")
    plain = gradients(model)
    for block in find_blocks(model):
        fully_shard(block)
    fully_shard(model)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB) as swapper:
        got = gradients(model)
    same(plain, [got[0], *(g.full_tensor() for g in got[1:])])
    assert swapper.stats.passes == 4


def _worker(rank, folder, alpha):
    import torch.distributed as dist

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    model = make("llama")
    plain = torch.nn.parallel.DistributedDataParallel(make("llama"))
    ids = IDS[rank : rank + 1]
    expected = gradients(plain, ids)
    wrapped = torch.nn.parallel.DistributedDataParallel(model)
    with offload_activations(wrapped, alpha=alpha, cpu_bytes=GIB):
        got = gradients(wrapped, ids)
    same(expected, got)
    from torch.distributed.fsdp import fully_shard

    sharded = make("llama")
    for block in find_blocks(sharded):
        fully_shard(block)
    fully_shard(sharded)
    with offload_activations(sharded, alpha=alpha, cpu_bytes=GIB):
        got = gradients(sharded, ids)
    same(expected, [got[0], *(g.full_tensor() for g in got[1:])])
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.5, 1])
def test_two_processes(tmp_path, alpha):
    torch.multiprocessing.spawn(_worker, (str(tmp_path), alpha), nprocs=2)
