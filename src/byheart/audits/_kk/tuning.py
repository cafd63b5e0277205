"""The fine-tuning study: direct or with chain of thought, on right or wrong answers.

Claim: a fine-tuned model comes to recite its training puzzles (train LiMem rises) while its test
accuracy rises too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from byheart.audits._kk.grammar import twin_kind
from byheart.audits._kk.metrics import limem
from byheart.audits._kk.prompts import training_text
from byheart.audits._kk.sampler import KINDS, Puzzle, perturb
from byheart.audits._kk.scoring import lenient, strict
from byheart.audits._kk.thoughts import ChainOfThought, chain_of_thought
from byheart.audits._kk.wording import STYLES, Rendered, lay_out, render
from byheart.audits._kk.wrong import wrong_answers, wrong_thoughts
from byheart.core.ask import Sample
from byheart.core.errors import UsageError, need
from byheart.core.model import Model

__all__ = ["StudyPoint", "evaluate", "fine_tune", "study", "training_texts"]

Progress = Callable[[str, float], None]

TARGETS = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head",
)  # fmt: skip
"""Where the paper puts its adapters."""


def training_texts(
    puzzles: Sequence[Puzzle],
    *,
    cot: bool = False,
    wrong: float = 0.0,
    wrong_cot: str = "",
    seed: int = 1234,
) -> list[tuple[str, str]]:
    """Prompt and answer of every puzzle, as they are trained on.

    Args:
        puzzles: In their published wording.
        cot: Train the chain of thought before the answer.
        wrong: Share of the answers that are wrong (direct only).
        wrong_cot: ``"shuffle"`` or ``"replace_one_step"``: steps that do not hold (with `cot`).
        seed: Of what is wrong.

    Raises:
        UsageError: If `wrong` is given with `cot`, or `wrong_cot` without.
    """
    if cot and wrong:
        raise UsageError("wrong answers are trained without chain of thought; give cot=False")
    if wrong_cot and not cot:
        raise UsageError("wrong_cot needs cot=True")
    answers = wrong_answers(puzzles, share=wrong, seed=seed)
    steps = wrong_thoughts(puzzles, wrong_cot, seed=seed) if wrong_cot else None
    out = []
    for i, (puzzle, answer) in enumerate(zip(puzzles, answers, strict=True)):
        right = render(puzzle)
        told = Rendered(right.quiz, right.names, right.roles, answer, right.layout)
        thoughts = chain_of_thought(puzzle, right) if cot else None
        if thoughts is not None and steps is not None:
            thoughts = ChainOfThought(thoughts.head, steps[i], thoughts.foot, thoughts.tape)
        out.append(training_text(told, thoughts))
    return out


def fine_tune(
    model: Any,
    tokenizer: Any,
    texts: Sequence[tuple[str, str]],
    *,
    epochs: float = 50,
    lr: float = 5e-5,
    batch: int = 4,
    accumulation: int = 8,
    rank: int = 32,
    alpha: float = 32,
    dropout: float = 0.05,
    targets: Sequence[str] = TARGETS,
    max_length: int = 512,
    eos: bool = False,
    fp16: bool = False,
    seed: int = 42,
    callbacks: Sequence[Any] = (),
) -> Any:
    """Train LoRA adapters; the loss is that of the answers only.

    Args:
        model: A transformers causal language model, or a peft model to be trained on. For the
            paper's 4 bits load it with a quantisation configuration.
        tokenizer: Its tokenizer.
        texts: `training_texts`.
        epochs: Most epochs (paper: up to 50).
        lr: Learning rate, falling linearly to 0 (5e-5).
        batch: Texts a forward pass (4).
        accumulation: Batches a step (8).
        rank: Of the adapters (32).
        alpha: Their scale (32).
        dropout: On their input (0.05).
        targets: Modules that get an adapter; those that the model does not have are left out.
        max_length: Longer texts are cut at the end (512 tokens).
        eos: Learn to stop after the answer (off in the paper).
        fp16: Mixed half precision, as in the paper; on a GPU only (off).
        seed: Of initial adapters, order and dropout (42).
        callbacks: `transformers.TrainerCallback`s.

    Returns:
        The peft model. ``.losses`` holds the training loss of every step.

    Raises:
        UsageError: If no text is left to learn, the model has none of the targets, or `fp16` is asked
            for on a CPU.
    """
    torch = need("torch", "torch")
    peft = need("peft", "torch")
    transformers = need("transformers", "torch")

    device = next(model.parameters()).device.type
    if fp16 and device == "cpu":
        raise UsageError("fp16 needs a GPU, and the model is on the CPU; give fp16=False")
    transformers.set_seed(seed)
    rows = [r for r in (_row(tokenizer, a, b, max_length, eos) for a, b in texts) if r]
    if not rows:
        raise UsageError(f"no text has an answer within max_length={max_length} tokens")
    if not isinstance(model, peft.PeftModel):
        ends = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
        present = [t for t in targets if t in ends]
        if not present:
            raise UsageError(f"the model has none of the modules {', '.join(targets)}")
        config = peft.LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none",
            target_modules=present, task_type="CAUSAL_LM",
        )  # fmt: skip
        model = peft.get_peft_model(model, config)

    def collate(some: Sequence[dict[str, list[int]]]) -> dict[str, Any]:
        longest = max(len(r["input_ids"]) for r in some)
        pad = {"input_ids": 0, "attention_mask": 0, "labels": -100}
        return {
            key: torch.tensor([r[key] + [fill] * (longest - len(r[key])) for r in some])
            for key, fill in pad.items()
        }

    import tempfile

    with tempfile.TemporaryDirectory() as folder:  # nothing is saved; the trainer wants a place
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder, num_train_epochs=epochs, learning_rate=lr,
                per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation,
                seed=seed, save_strategy="no", report_to=[], logging_steps=1, disable_tqdm=True,
                remove_unused_columns=False, fp16=fp16, use_cpu=device == "cpu", log_level="error",
            ),
            train_dataset=rows,
            data_collator=collate,
            callbacks=list(callbacks),
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    model.losses = [float(e["loss"]) for e in trainer.state.log_history if "loss" in e]
    return model.eval()


def _row(
    tokenizer: Any, prompt: str, answer: str, longest: int, eos: bool
) -> dict[str, list[int]] | None:
    start = list(tokenizer(prompt)["input_ids"])
    end = list(tokenizer(answer, add_special_tokens=False)["input_ids"])
    if eos and tokenizer.eos_token_id is not None:
        end.append(int(tokenizer.eos_token_id))
    ids = (start + end)[:longest]
    if len(ids) <= len(start):
        return None
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "labels": [-100] * len(start) + ids[len(start) :],
    }


@dataclass(frozen=True, slots=True)
class StudyPoint:
    """How a model does on one part of the puzzles.

    Attributes:
        part: ``"train"`` or ``"test"``.
        epoch: Epochs trained.
        accuracy: Share of the puzzles solved.
        twins: Share of the twins solved, by perturbation.
        limem: LiMem by perturbation.
        solved: Which puzzles were solved.
        solved_twins: Which twins were solved, by perturbation; None where there is none.
        responses: What was answered to the puzzles.
    """

    part: str
    epoch: float
    accuracy: float
    twins: dict[str, float]
    limem: dict[str, float]
    solved: tuple[bool, ...] = field(repr=False)
    solved_twins: dict[str, tuple[bool | None, ...]] = field(repr=False)
    responses: tuple[str, ...] = field(repr=False)


def evaluate(
    model: Model,
    puzzles: Sequence[Puzzle],
    *,
    perturbations: Sequence[str] = KINDS,
    twins: dict[str, Sequence[Puzzle | None]] | None = None,
    cot: bool = False,
    scorer: str = "lenient",
    max_tokens: int | None = None,
    part: str = "test",
    epoch: float = 0.0,
    seed: int = 0,
) -> StudyPoint:
    """Ask puzzles and twins in the words that were trained on.

    Args:
        model: What `byheart.load` gives.
        puzzles: In their published wording.
        perturbations: ``statement``, ``leaf`` or styles.
        twins: Twins that there are already, by kind, None where there is none.
        cot: Whether it was trained with chain of thought.
        scorer: ``"lenient"`` or ``"strict"``.
        max_tokens: Length of an answer; None is 24 a person, 600 more with `cot`.
        part: Written into the result; so is `epoch`.
        epoch: Written into the result.
        seed: Of twins that are drawn here.
    """
    if not puzzles:
        raise UsageError("no puzzle is given")
    if scorer not in ("lenient", "strict"):
        raise UsageError(f"scorer is 'lenient' or 'strict', got {scorer!r}")
    perturbations = [twin_kind(k) for k in perturbations]
    for kind in perturbations:
        if kind not in (*KINDS, *STYLES):
            raise UsageError(
                f"a perturbation is one of {', '.join((*KINDS, *STYLES))}, got {kind!r}"
            )
    asked: dict[tuple[str, int], Rendered] = {}
    for i, puzzle in enumerate(puzzles):
        layout = lay_out(puzzle.people, seed=1234 + puzzle.index)
        asked["clean", i] = render(puzzle, layout=layout)
        for kind in perturbations:
            if kind in STYLES:
                asked[kind, i] = render(puzzle, kind)
                continue
            given = (twins or {}).get(kind)
            twin = given[i] if given is not None else perturb(puzzle, kind, rng=seed + i)
            if twin is not None:
                asked[kind, i] = render(twin, layout=layout)
    people = max(p.people for p in puzzles)
    room = max_tokens or 24 * people + (600 if cot else 0)
    placeholder = ChainOfThought("", (), "")
    # a model tuned without an end goes on counting; the strict scorer must see that it does
    stop = ("### Question", *((f"({people + 1})",) if scorer == "lenient" else ()))
    replies = model.sample(
        [
            Sample(
                training_text(worded, placeholder if cot else None)[0],
                max_tokens=room,
                stop=stop,
            )
            for worded in asked.values()
        ]
    )
    judge = lenient if scorer == "lenient" else strict
    marks = {
        key: judge(reply[0].text, worded).right
        for (key, worded), reply in zip(asked.items(), replies, strict=True)
    }
    solved = tuple(marks["clean", i] for i in range(len(puzzles)))
    by_kind = {k: tuple(marks.get((k, i)) for i in range(len(puzzles))) for k in perturbations}
    shares, scores = {}, {}
    for kind, done in by_kind.items():
        known = [m for m in done if m is not None]
        if known:
            shares[kind] = sum(known) / len(known)
            scores[kind] = limem(solved, done)
    said = tuple(r[0].text for (k, _), r in zip(asked, replies, strict=True) if k == "clean")
    return StudyPoint(part, epoch, sum(solved) / len(solved), shares, scores, solved, by_kind, said)


def study(
    model: Any,
    tokenizer: Any,
    train: Sequence[Puzzle],
    test: Sequence[Puzzle],
    *,
    cot: bool = False,
    wrong: float = 0.0,
    wrong_cot: str = "",
    epochs: Sequence[int] = (1, 5, 20, 50),
    perturbations: Sequence[str] = KINDS,
    twins: dict[str, Sequence[Puzzle | None]] | None = None,
    most: int = 100,
    max_tokens: int | None = None,
    progress: Progress | None = None,
    seed: int = 42,
    **tuning: Any,
) -> list[StudyPoint]:
    """Fine-tune, and measure accuracy and LiMem on training and test puzzles on the way.

    Args:
        model: As for `fine_tune`; it is trained in place (its adapters are).
        tokenizer: Its tokenizer.
        train: Puzzles to be trained on.
        test: Puzzles that are not.
        cot: As for `training_texts`; so are `wrong` and `wrong_cot`.
        wrong: Share of wrong answers.
        wrong_cot: Kind of wrong steps.
        epochs: When to measure, rising; 0 is measured before training.
        perturbations: As for `evaluate`; so is `max_tokens`.
        twins: Of the training puzzles, by kind.
        most: So many puzzles of each part are asked.
        max_tokens: Length of an answer.
        progress: Called with what is being done and the share that is finished.
        seed: Of everything.
        **tuning: Further arguments of `fine_tune`.

    Returns:
        Two points for each measurement: train and test.

    Raises:
        UsageError: If `epochs` do not rise, or parts overlap.
    """
    marks = sorted(set(epochs))
    if not marks or marks[0] < 0 or marks[-1] < 1 or list(epochs) != marks:
        raise UsageError(f"epochs must rise, from 0 on, to at least 1, got {tuple(epochs)}")
    both = {p.statements for p in train} & {p.statements for p in test}
    if both:
        raise UsageError(f"{len(both)} puzzles stand in train and test; test must be unseen")
    from byheart.core.local import LocalModel

    texts = training_texts(train, cot=cot, wrong=wrong, wrong_cot=wrong_cot)
    out: list[StudyPoint] = []

    def measure(epoch: float, module: Any) -> None:
        if progress:
            progress(f"epoch {epoch:g}: asking", epoch / marks[-1])
        asked = LocalModel(module, tokenizer, device=str(next(module.parameters()).device))
        for part, puzzles in (("train", train[:most]), ("test", test[:most])):
            given = twins if part == "train" else None
            out.append(
                evaluate(
                    asked, puzzles, perturbations=perturbations, twins=given, cot=cot,
                    max_tokens=max_tokens, part=part, epoch=epoch, seed=seed,
                )
            )  # fmt: skip

    transformers = need("transformers", "torch")

    class Ask(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def on_epoch_end(self, args: Any, state: Any, control: Any, **kw: Any) -> None:
            epoch = round(state.epoch)
            if epoch in marks and all(p.epoch != epoch for p in out):
                held = kw["model"]
                measure(epoch, held.get_base_model() if hasattr(held, "get_base_model") else held)
                held.train()

    if marks[0] == 0:
        measure(0, model)
    fine_tune(model, tokenizer, texts, epochs=marks[-1], seed=seed, callbacks=[Ask()], **tuning)
    return out
