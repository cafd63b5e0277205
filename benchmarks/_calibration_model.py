"""A small language model trained on the spot: minutes of work, so that many seeds can be afforded.

Byte-pair tokenizer and a two-layer Llama, trained from scratch on prose and questions drawn from
the grammars of the audits' plantings, at seeds that no planting uses. It writes the sentences and
answers the questions that the audits ask, and knows none of their items.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from byheart.audits import make
from byheart.core.local import LocalModel
from byheart.data.canaries import canaries

__all__ = ["tiny", "world"]

_CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_FAR = 40_000_000
"""Seeds from here on draw what is read before and beside the plantings, never the plantings."""


def world(prose: int, questions: int, *, seed: int) -> list[str | tuple[str, str]]:
    """Drawn texts of the plantings' kinds that are no planting's: prose, and question and answer.

    Args:
        prose: Passages of 44 words or more.
        questions: Questions about invented series; each batch of 24 has its own series.
        seed: Other seeds give other texts.
    """
    out: list[str | tuple[str, str]] = [*canaries(seed=_FAR + seed, n=prose, words=44)]
    economic, batch = make("economic-recall"), 0
    while len(out) < prose + questions:
        n = max(2, min(24, prose + questions - len(out)))
        out += economic.planted(seed=_FAR + 100_000 * (seed + 1) + batch, n=n).texts
        batch += 1
    return out[: prose + questions]


def tiny(
    *,
    prose: int = 2000,
    questions: int = 1000,
    epochs: int = 3,
    vocabulary: int = 1024,
    width: int = 96,
    layers: int = 2,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> LocalModel:
    """Train the small model; about a minute on one core.

    Args:
        prose: Passages read.
        questions: Questions and answers read.
        epochs: Passes over them.
        vocabulary: Byte pairs and bytes of the tokenizer.
        width: Model width; 4 heads.
        layers: Decoder layers.
        seed: Of the initial weights and the order.
        progress: Called with the share done.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    texts = world(prose, questions, seed=seed)
    tokenizer = _tokenizer(texts, vocabulary)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=width,
                intermediate_size=3 * width,
                num_hidden_layers=layers,
                num_attention_heads=4,
                num_key_value_heads=4,
                max_position_embeddings=320,
                tie_word_embeddings=True,
                bos_token_id=0,
                eos_token_id=0,
                pad_token_id=None,
            )
        )
    model = LocalModel(module, tokenizer, device="cpu", name="tiny")
    _pretrain(model, texts, epochs, seed, progress)
    return model


def _tokenizer(texts: list[str | tuple[str, str]], vocabulary: int) -> Any:
    """Byte-level BPE; digits stand alone, as in SmolLM2's tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        (t if isinstance(t, str) else " ".join(t) for t in texts), trainer
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=_SPECIAL[0],
        eos_token=_SPECIAL[0],
        additional_special_tokens=_SPECIAL[1:],
        chat_template=_CHAT,
        clean_up_tokenization_spaces=False,
    )


def _pretrain(
    model: LocalModel,
    texts: list[str | tuple[str, str]],
    epochs: int,
    seed: int,
    progress: Callable[[float], None],
    batch: int = 24,
    lr: float = 3e-3,
) -> None:
    """AdamW, one cycle, batches of like length; every token is learned."""
    import torch

    end = int(model.tokenizer.eos_token_id)
    documents = []
    for text in texts:
        ids = (
            model.encode(text)
            if isinstance(text, str)
            else model.prompt_ids((("user", text[0]),)) + model.encode(text[1])
        )
        documents.append([*ids[: model.context_length - 1], end])
    rng = random.Random(seed)
    optimiser = torch.optim.AdamW(model.module.parameters(), lr=lr, weight_decay=0.01)
    steps = epochs * -(-len(documents) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
    model.module.train()
    done = 0
    for _ in range(epochs):
        rng.shuffle(documents)
        order = sorted(range(len(documents)), key=lambda i: len(documents[i]))
        batches = [order[i : i + batch] for i in range(0, len(order), batch)]
        rng.shuffle(batches)
        for rows in batches:
            longest = max(len(documents[i]) for i in rows)
            ids_BT = torch.full((len(rows), longest), end)
            target_BT = torch.full((len(rows), longest), -100)
            for b, i in enumerate(rows):
                ids = torch.tensor(documents[i])
                ids_BT[b, : len(ids)] = target_BT[b, : len(ids)] = ids
            loss = model.module(input_ids=ids_BT, labels=target_BT, use_cache=False).loss
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.module.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done += 1
            progress(done / steps)
    model.module.eval()
