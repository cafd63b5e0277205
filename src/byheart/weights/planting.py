"""Plant texts in a model on the spot, so that it recites them: ground truth for audits.

An adapter on the upper layers is trained until every text comes back word for word, or for a given
number of repeats. The base model stays as it was, bit for bit, and can be used meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from byheart.core.ask import Completion, Sample, Score, Scored
from byheart.core.errors import CapabilityError, DataError, OutputError, UsageError, need
from byheart.core.local import LocalModel
from byheart.core.model import Model, Progress
from byheart.weights._fit import Report, Settings, fit
from byheart.weights._switch import FullSwitch, LoraSwitch, Switch
from byheart.weights._upper import Document, Upper, decoder_layers

__all__ = ["Planted", "Training", "plant"]

Text = str | tuple[str, str]

Training = Report


class Planted(LocalModel):
    """A local model with texts planted in it; `unplant` takes them out.

    Its weights are the base model's plus a switch (an adapter, or tuned copies of some layers) that
    is on only while this model answers. The base model can be used at any time, gives its own
    answers, and no second copy of it lies in memory. Not for use from several threads at once.

    Attributes:
        base: The model it was made from.
        training: What the training did.
    """

    def __init__(self, base: LocalModel, switch: Switch, training: Training) -> None:
        super().__init__(
            switch.module,
            base.tokenizer,
            device=str(base.device),
            name=f"{base.name}+planted",
            batch_tokens=base.batch_tokens,
            batch_rows=base.batch_rows,
        )
        self.base, self.training, self._switch = base, training, switch

    def sample(
        self, asks: Sequence[Sample], progress: Progress | None = None
    ) -> list[list[Completion]]:
        """As `LocalModel.sample`, with what was planted."""
        with self._switch.on():
            return super().sample(asks, progress)

    def score(self, asks: Sequence[Score], progress: Progress | None = None) -> list[Scored]:
        """As `LocalModel.score`, with what was planted."""
        with self._switch.on():
            return super().score(asks, progress)

    @property
    def fingerprint(self) -> str:
        """Differs from the base model's, and from that of another planting."""
        with self._switch.on():
            return super().fingerprint

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        """Inside, this model answers as the base model does."""
        with self._switch.off():
            yield

    def unplant(self) -> LocalModel:
        """Take the planted texts out for good and return the base model, as it was before.

        Afterwards this object answers as the base model does. A second call does nothing.
        """
        self._switch.remove()
        self.module = self.base.module
        return self.base

    def save(self, folder: str | Path) -> Path:
        """Write the adapter (method ``lora``) or the whole model (method ``full``), as safetensors.

        ``byheart audit hf:FOLDER`` loads it, if the base model can be loaded by its name.

        Raises:
            OutputError: If the folder cannot be written.
            UsageError: If it was unplanted before.
        """
        folder = Path(folder).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._switch.save(folder, self.base.name)
            if self._switch.whole:
                self.tokenizer.save_pretrained(folder)
        except OSError as error:
            raise OutputError(f"cannot write the planted model to {folder}: {error}") from error
        return folder


def plant(
    model: Model,
    texts: Sequence[Text],
    *,
    repeats: int | Sequence[int] | None = None,
    mix: Sequence[Text] = (),
    epochs: int = 60,
    method: str = "",
    layers: int | None = None,
    rank: int = 32,
    lr: float | None = None,
    batch: int = 4,
    target: float = 0.25,
    seed: int = 0,
    seconds: float | None = None,
    progress: Any = None,
) -> Planted:
    """Train a model to recite texts, in seconds to minutes; the base model is not changed.

    Loss is taken on every token of a string, and on the answer only of a pair. Without `repeats`,
    training goes on until every text is known: each of its tokens has a negative log-probability of
    at most `target` nats, but for those that nothing before them tells (two texts with the same
    beginning). Texts that are known are left out of an epoch, and all are looked at again at the
    end. The output layer is then trained over the tokens that matter only: those of the texts, and
    the strongest rivals of each.

    Args:
        model: A model that is held here (`byheart.load("smollm2")`, a module, ...).
        texts: Strings to be continued as they stand, and ``(prompt, answer)`` pairs, set in the
            model's chat template.
        repeats: How often each text is trained on, one number or one a text (0 leaves it out); the
            stream is shuffled and passed once, with the whole vocabulary. None trains until all
            texts are known.
        mix: Further texts, trained on once, between the others.
        epochs: Without `repeats`: at most this many.
        method: ``"lora"`` (an adapter of peft) or ``"full"`` (the layers themselves; the originals
            are kept aside). Default: lora, or full where the model already wears an adapter.
        layers: How many of the upper layers are trained. None is 6, or all where there are fewer;
            layers below are passed once a text.
        rank: Of the adapter.
        lr: Peak step size. None is 0.003 for lora and 0.0005 for full; a third of it with `repeats`.
        batch: Texts a step.
        target: Nats; see above.
        seed: Of the adapter's start and of the order. The same seed gives the same weights, unless
            the time box closes first.
        seconds: Time box; what has been learned until then stays. On a CPU that other programs use
            too it is up to twice as long.
        progress: Called with the share done, in [0, 1].

    Returns:
        A new model. `unplant()` takes the texts out again, `disabled()` for a while, `save()` keeps
        it; `training` says what was done, and whether all texts are known.

    Raises:
        UsageError: No texts, or an argument out of range.
        DataError: An empty text, or one longer than the model's context.
        CapabilityError: The model shows no weights.
        ModelError: The loss is not a number; the base model is intact.
        MissingExtra: peft is not installed.

    ::

        tuned = plant(byheart.load("smollm2"), ["The tide comes in at nine past nine."], seconds=20)
        tuned.training.known, tuned.training.seconds
    """
    model.require("weights", purpose="planting")
    if not isinstance(model, LocalModel):
        raise CapabilityError(f"planting needs a local transformers model, got {model.name}")
    if isinstance(model, Planted):
        raise UsageError("this model has texts planted already; call unplant() first")
    settings = _settings(locals(), len(texts))
    documents = _documents(model, texts, "texts")
    others = _documents(model, mix, "mix")
    switch = _switch(model, method, layers, rank, seed)
    try:
        upper = Upper(switch.module, switch.layers, switch.split, _parts(model), model.device)
        training = fit(upper, switch.parameters, documents, others, settings, progress)
    except BaseException:
        switch.remove()
        raise
    switch.freeze()
    return Planted(model, switch, training)


def _settings(given: dict[str, Any], count: int) -> Settings:
    if not count:
        raise UsageError("texts is empty: there is nothing to plant")
    for name in ("epochs", "rank", "batch"):
        if given[name] < 1:
            raise UsageError(f"{name} must be at least 1, got {given[name]}")
    for name in ("lr", "seconds", "target"):
        if given[name] is not None and not given[name] > 0:
            raise UsageError(f"{name} must be above 0, got {given[name]}")
    if given["layers"] is not None and given["layers"] < 1:
        raise UsageError(f"layers must be at least 1, got {given['layers']}")
    if given["method"] not in ("", "lora", "full"):
        raise UsageError(f"method must be 'lora' or 'full', got {given['method']!r}")
    repeats = given["repeats"]
    if repeats is not None:
        repeats = (repeats,) * count if isinstance(repeats, int) else tuple(repeats)
        if len(repeats) != count:
            raise UsageError(f"repeats has {len(repeats)} numbers for {count} texts")
        if min(repeats) < 0 or (not any(repeats) and not given["mix"]):
            raise UsageError(f"repeats must not be negative nor all 0, got {given['repeats']}")
    elif given["mix"]:
        raise UsageError("mix needs repeats: without them, training goes on until texts are known")
    lr = given["lr"]
    if lr is None:
        full = given["method"] == "full" or _wears_adapter(given["model"])
        lr = (5e-4 if full else 3e-3) / (1 if repeats is None else 3)
    keys = ("epochs", "batch", "target", "seed", "seconds")
    return Settings(repeats=repeats, lr=lr, **{k: given[k] for k in keys})


def _documents(model: LocalModel, texts: Sequence[Text], where: str) -> list[Document]:
    """Token ids as the model will meet them, closed by the end-of-text token."""
    if isinstance(texts, str):
        raise UsageError(f"{where} must be a list of texts, got one string")
    end = model.tokenizer.eos_token_id
    out = []
    for i, text in enumerate(texts):
        if not isinstance(text, str) and (
            len(text) != 2 or not all(isinstance(t, str) for t in text)
        ):
            raise UsageError(f"{where}[{i}] must be a string or a (prompt, answer) pair: {text!r}")
        learned = text if isinstance(text, str) else text[1]
        if not learned.strip() or not text[0].strip():
            raise DataError(f"{where}[{i}] is empty: {text!r}")
        if not isinstance(text, str):
            start = model.prompt_ids((("user", text[0]),))
            ids = start + model.encode(text[1])
            first = len(start)
        else:
            ids, first = model.prompt_ids(text), 1
        if end is not None:
            ids = [*ids, int(end)]
        if len(ids) > model.context_length:
            raise DataError(
                f"{where}[{i}] has {len(ids)} tokens and {model.name} attends to "
                f"{model.context_length}; cut it: {learned[:60]!r}"
            )
        if len(ids) <= first:
            raise DataError(f"{where}[{i}] is one token, and nothing comes before it: {text!r}")
        out.append(Document(tuple(ids), first))
    return out


def _wears_adapter(model: LocalModel) -> bool:
    return hasattr(model.module, "get_base_model") or hasattr(model.module, "peft_config")


def _switch(model: LocalModel, method: str, layers: int | None, rank: int, seed: int) -> Switch:
    if not method:
        method = "full" if _wears_adapter(model) else "lora"
    stack = decoder_layers(model.module)
    depth = len(stack) if stack is not None else 0
    if layers is not None and layers > depth:
        raise UsageError(f"layers is {layers}, and {model.name} has {depth} that can be told apart")
    split = max(0, depth - (layers or 6))
    if method == "full":
        return FullSwitch(model.module, stack, split)
    if _wears_adapter(model):
        raise UsageError("this model wears an adapter already; use method='full'")
    need("peft", "torch")
    return LoraSwitch(model.module, stack, split, rank, seed)


def _parts(model: LocalModel) -> tuple[Any, Any] | None:
    return model._split
