"""The fine-tuning study: does a model that was trained on a book tell its order without the text?

Claim: the text is learnt (the loss on it falls), and order recall from memory stays near chance.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from byheart.audits._sort.books import Book
from byheart.audits._sort.judge import table
from byheart.audits._sort.pairs import Pair
from byheart.audits._sort.prompts import PLAIN, Wording
from byheart.audits._sort.prompts import training_texts as chunks
from byheart.core.ask import Score
from byheart.core.errors import UsageError, need
from byheart.core.finding import Estimate
from byheart.core.local import LocalModel

__all__ = ["TuningPoint", "fine_tune", "study_texts", "tuning_study"]

Progress = Callable[[str, float], None]
_ASKED = 200
"""Tokens of a chunk's middle over which the loss on the books is told."""


def study_texts(
    books: Sequence[Book],
    tokenizer: Any = None,
    *,
    words: int = 5000,
    wording: Wording = PLAIN,
    instructions: Sequence[tuple[str, str]] = (),
) -> list[str]:
    """Chunks of books as the reading part of a question, in the chat template, and instructions.

    Args:
        books: To be learnt (paper: eight, 116 chunks).
        tokenizer: Its chat template is put around every text; None, or one without, leaves them.
        words: Of a chunk; it goes on to the end of a sentence (paper: about 5,000).
        wording: Its `before` frames a chunk.
        instructions: Prompts with replies that are mixed in (paper: 3,500 of OpenHermes-2.5, so that
            the model still answers questions).

    >>> book = Book("Tales", ("It", "rained.", "We", "left."))
    >>> study_texts([book], words=2)[1].split()[-2:]
    ['We', 'left.']
    """
    chat = tokenizer is not None and getattr(tokenizer, "chat_template", None)
    out = []
    for book in books:
        for text in chunks(book, words=words, wording=wording):
            turns = [{"role": "user", "content": text}]
            out.append(tokenizer.apply_chat_template(turns, tokenize=False) if chat else text)
    for prompt, reply in instructions:
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
        out.append(
            tokenizer.apply_chat_template(turns, tokenize=False) if chat else f"{prompt}\n{reply}"
        )
    return out


def fine_tune(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    epochs: float = 5,
    lr: float = 5e-6,
    batch: int = 3,
    accumulation: int = 8,
    betas: tuple[float, float] = (0.9, 0.95),
    eps: float = 1e-5,
    weight_decay: float = 1e-4,
    clip: float = 1.0,
    max_length: int = 8192,
    bf16: bool | None = None,
    checkpointing: bool = False,
    seed: int = 0,
    callbacks: Sequence[Any] = (),
) -> Any:
    """Train all weights on texts, every token counting; the paper's settings are the defaults.

    AdamW, a learning rate that falls along a cosine from the first step, no warm-up.

    Args:
        model: A transformers causal language model; it is changed.
        tokenizer: Its tokenizer.
        texts: `study_texts`.
        epochs: Passes over them (5).
        lr: Highest learning rate (5e-6).
        batch: Texts a forward pass (3).
        accumulation: Passes a step (8).
        betas, eps, weight_decay: Of AdamW (.9 and .95, 1e-5, 1e-4).
        clip: Largest norm of a gradient (1).
        max_length: Longer texts are cut at the end (8,192 tokens).
        bf16: Mixed bfloat16; None is yes on a GPU.
        checkpointing: Recompute activations: slower, far less memory.
        seed: Of the order.
        callbacks: `transformers.TrainerCallback`s.

    Returns:
        The model, in evaluation mode. ``.losses`` holds the training loss of every step, and
        ``.cut`` how many texts were longer than `max_length`.

    Raises:
        UsageError: If there is nothing to learn, or `bf16` is asked for on a CPU.
    """  # fmt: skip
    torch = need("torch", "torch")
    transformers = need("transformers", "torch")
    device = next(model.parameters()).device.type
    bf16 = device != "cpu" if bf16 is None else bf16
    if bf16 and device == "cpu":
        raise UsageError("bf16 is for a GPU, and the model is on the CPU; give bf16=False")
    transformers.set_seed(seed)
    framed = bool(getattr(tokenizer, "chat_template", None))  # which opens texts by itself
    ids = [list(tokenizer(t, add_special_tokens=not framed)["input_ids"]) for t in texts]
    rows = [{"input_ids": i[:max_length]} for i in ids if len(i[:max_length]) > 1]
    if not rows:
        raise UsageError(
            f"none of {len(texts)} texts has two tokens within max_length={max_length}"
        )

    def collate(some: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        longest = max(len(r["input_ids"]) for r in some)
        pad = [longest - len(r["input_ids"]) for r in some]
        told = [r["input_ids"] for r in some]
        return {
            "input_ids": torch.tensor([t + [0] * p for t, p in zip(told, pad, strict=True)]),
            "attention_mask": torch.tensor(
                [[1] * len(t) + [0] * p for t, p in zip(told, pad, strict=True)]
            ),
            "labels": torch.tensor([t + [-100] * p for t, p in zip(told, pad, strict=True)]),
        }

    if checkpointing:
        model.gradient_checkpointing_enable()
    with tempfile.TemporaryDirectory() as folder:  # nothing is saved; the trainer wants a place
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder, num_train_epochs=epochs, learning_rate=lr, warmup_steps=0,
                lr_scheduler_type="cosine", per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulation, adam_beta1=betas[0], adam_beta2=betas[1],
                adam_epsilon=eps, weight_decay=weight_decay, max_grad_norm=clip, seed=seed,
                save_strategy="no", report_to=[], logging_steps=1, disable_tqdm=True, bf16=bf16,
                remove_unused_columns=False, use_cpu=device == "cpu", log_level="error",
            ),
            train_dataset=rows,
            data_collator=collate,
            callbacks=list(callbacks),
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    model.losses = [float(e["loss"]) for e in trainer.state.log_history if "loss" in e]
    model.cut = sum(len(i) > max_length for i in ids)
    return model.eval()


@dataclass(frozen=True, slots=True)
class TuningPoint:
    """How a model does after some epochs.

    Attributes:
        epoch: Passes over the texts; 0 is the untouched model, the paper's baseline for
            contamination.
        loss: Nats a token over stretches of the books.
        shares: Debiased share right by condition, with its interval.
        said_a: Share of A among its answers by condition.
        pairs: On how many pairs.
    """

    epoch: float
    loss: float
    shares: dict[str, Estimate]
    said_a: dict[str, float | None]
    pairs: int


def tuning_study(
    local: LocalModel,
    books: Sequence[Book],
    pairs: Sequence[Pair],
    *,
    learnt: Sequence[str] | None = None,
    instructions: Sequence[tuple[str, str]] = (),
    words: int = 5000,
    epochs: int = 5,
    conditions: Sequence[str] = ("memory", "context"),
    wording: str = "v2",
    progress: Progress | None = None,
    **tuning: Any,
) -> list[TuningPoint]:
    """Train on books and ask for their order before and after every epoch.

    Args:
        local: A model with weights; it is changed.
        books: What is asked about, and learnt unless `learnt` says otherwise.
        pairs: Of these books (`make_pairs`).
        learnt: Texts to learn instead: the controls (only instructions; summaries of the books).
        instructions: Mixed in; see `study_texts`.
        words: Of a chunk.
        epochs: How many.
        conditions: Asked each time.
        wording: As in `BookSort`; ``"v2"`` is the paper's default for fine-tuning.
        progress: Called with what is being done and the share that is finished.
        **tuning: As for `fine_tune`.

    Returns:
        One point before, and one after each epoch.

    Raises:
        UsageError: If there are no pairs, or a pair is of no book that is given.
    """
    transformers = need("transformers", "torch")
    if epochs < 1:
        raise UsageError(f"epochs must be at least 1, got {epochs}")
    ids = {b.id for b in books}
    if not pairs or any(p.book not in ids for p in pairs):
        stray = next((p.book for p in pairs if p.book not in ids), "none")
        raise UsageError(f"pairs must be of the books {', '.join(sorted(ids))}; got {stray}")
    tokenizer = local.tokenizer
    texts = (
        study_texts(books, tokenizer, words=words, instructions=instructions)
        if learnt is None
        else list(learnt)
    )
    asked = [
        Score(b.text(at, min(_ASKED, len(b) - at)))
        for b in books
        for at in np.linspace(0, max(0, len(b) - _ASKED), 8).astype(int).tolist()
    ]
    points: list[TuningPoint] = []

    def tell(what: str, share: float) -> None:
        if progress:
            progress(what, share)

    def look(epoch: float) -> None:
        from byheart.audits.book_sort import BookSort
        from byheart.core.run import measure

        # A model of its own each time: a fingerprint is that of the weights as they are now.
        now = LocalModel(local.weights, tokenizer, device=str(local.device), name=local.name)
        audit = BookSort(
            pairs=(tuple(pairs), ()), conditions=tuple(conditions), wording=wording,
            excerpt=pairs[0].excerpt_length, segment=pairs[0].segment_length,
        )  # fmt: skip
        done = measure(now, audit, probes=audit.probes())
        if done.stopped is not None:
            raise done.stopped
        scored = now.score(asked)
        loss = -sum(s.total for s in scored) / max(1, sum(len(s.logprobs) for s in scored))
        cells = {c["condition"]: c for c in table(done.rows, by=["condition"])}
        points.append(
            TuningPoint(
                epoch, float(loss), {k: c["debiased"] for k, c in cells.items()},
                {k: c["said_a"] for k, c in cells.items()}, len(pairs),
            )
        )  # fmt: skip
        tell(f"after {epoch:g} of {epochs} epochs", epoch / epochs)

    class _Look(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def on_epoch_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            local.weights.eval()
            look(round(state.epoch))
            local.weights.train()

    tell("the untouched model", 0.0)
    look(0)
    fine_tune(local.weights, tokenizer, texts, epochs=epochs, callbacks=[_Look()], **tuning)
    return [replace(p) for p in points]
