"""The training loop of `plant`: until every text is known, or a stream of given repeats."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from byheart.core.errors import ModelError
from byheart.weights._upper import Document, Upper

__all__ = ["Report", "Settings", "fit"]

_RIVALS = 8
"""Strongest tokens of the base model kept in the shortlist, at every learned position."""
_OPENING = 4
"""Tokens at the beginning of a text that need not be known."""
_CHECK = 32
"""Texts looked at in one batch when recall is checked."""


@dataclass(frozen=True)
class Settings:
    """Knobs of `fit`; see `byheart.weights.planting.plant`."""

    repeats: tuple[int, ...] | None
    epochs: int
    batch: int
    lr: float
    target: float
    seed: int
    seconds: float | None


@dataclass(frozen=True)
class Report:
    """What a training did.

    Attributes:
        texts: How many texts were to be planted.
        known: How many of them the model recites at the end: each token that can be told from what
            stands before it is the likeliest of the whole vocabulary.
        loss: Mean negative log-probability over their learned tokens, at the end; nats.
        steps: Steps of the optimiser.
        tokens: Tokens that passed the trained layers, repeats counted.
        seconds: Wall-clock time.
        cpu_seconds: Processor time of all threads.
        stopped: ``"known"`` (all texts are), ``"repeats"`` (the stream ended), ``"epochs"`` or
            ``"seconds"``.
    """

    texts: int
    known: int
    loss: float
    steps: int
    tokens: int
    seconds: float
    cpu_seconds: float
    stopped: str


class _Run:
    """State of one training."""

    def __init__(self, upper: Upper, parameters: Sequence[Any], settings: Settings) -> None:
        import torch

        self.upper, self.settings = upper, settings
        self.parameters = list(parameters)
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=settings.lr, betas=(0.9, 0.98), weight_decay=0.0
        )
        self.started, self.cpu = time.perf_counter(), time.process_time()
        self.steps = self.tokens = 0
        self.rng = random.Random(settings.seed)

    @property
    def late(self) -> bool:
        """Whether the time box is closed. On a CPU that others use too it stays open until the work
        of that many seconds is done, at most twice as long: what is learned should not depend on
        the neighbours."""
        import torch

        seconds = self.settings.seconds
        if seconds is None:
            return False
        wall = time.perf_counter() - self.started
        if wall <= seconds or self.upper.device.type != "cpu":
            return wall > seconds
        work = (time.process_time() - self.cpu) / torch.get_num_threads()
        return work >= 0.9 * seconds or wall > 2 * seconds

    def step(self, batch: Sequence[Document], lr: float, head: _Shortlist | None) -> Any:
        """One step; the loss of every learned token ``[N]`` before it, and its text ``[N]``."""
        import torch

        for group in self.optimiser.param_groups:
            group["lr"] = lr * min(1.0, (self.steps + 1) / 8)
        upper = self.upper if head is None else head.upper
        logits_NV, target_N, row_N = upper.logits(batch)
        if head is not None:
            target_N = head.places(target_N)
        loss_N = torch.nn.functional.cross_entropy(logits_NV, target_N, reduction="none")
        loss = loss_N.mean()
        if not bool(torch.isfinite(loss)):
            raise ModelError(
                f"the loss became {loss.item()} at step {self.steps}; nothing was planted and the "
                f"base model is as it was; try a smaller lr than {self.settings.lr:g}"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.steps += 1
        self.tokens += sum(len(d.ids) for d in batch)
        return loss_N.detach().cpu(), row_N

    def batches(self, documents: Sequence[Document]) -> list[list[Document]]:
        """Shuffled; texts that share their beginning, or are of like length, come together."""
        documents = list(documents)
        self.rng.shuffle(documents)
        size, out = self.settings.batch, []
        for begin in range(0, len(documents), 8 * size):
            chunk = sorted(documents[begin : begin + 8 * size], key=self.upper.order)
            out += [chunk[i : i + size] for i in range(0, len(chunk), size)]
        self.rng.shuffle(out)
        return out


class _Shortlist:
    """The output layer over some tokens only: exact losses among those, at a tenth of the cost."""

    def __init__(self, upper: Upper, tokens: Any) -> None:
        self._whole, self._tokens = upper, tokens
        self._build()

    def _build(self) -> None:
        import torch

        decoder, head = self._whole.parts  # type: ignore[misc]
        self._place = torch.full((head.weight.shape[0],), -1, device=self._tokens.device)
        self._place[self._tokens] = torch.arange(len(self._tokens), device=self._tokens.device)
        weight = head.weight.detach()[self._tokens]
        bias = head.bias.detach()[self._tokens] if head.bias is not None else None

        def short(hidden: Any) -> Any:
            return torch.nn.functional.linear(hidden, weight, bias)

        self.upper = replace(self._whole, parts=(decoder, short))

    def places(self, target_N: Any) -> Any:
        return self._place[target_N]

    def add(self, tokens: Any) -> None:
        """Take in further tokens."""
        import torch

        merged = torch.cat([self._tokens, tokens]).unique()
        if len(merged) > len(self._tokens):
            self._tokens = merged
            self._build()


def fit(
    upper: Upper,
    parameters: Sequence[Any],
    documents: Sequence[Document],
    mix: Sequence[Document],
    settings: Settings,
    progress: Callable[[float], None] | None = None,
) -> Report:
    """Train `parameters`; see `byheart.weights.planting.plant`.

    Raises:
        ModelError: The loss is not a number.
    """
    upper.try_packing([*documents, *mix])
    run = _Run(upper, parameters, settings)
    tell = progress or (lambda share: None)
    if settings.repeats is None:
        stopped, known, loss = _until_known(run, documents, tell)
    else:
        stopped = _stream(run, documents, mix, tell)
        known, loss, _, _ = _check(run, documents, float("inf"), None)
    return Report(
        len(documents), known, loss, run.steps, run.tokens, time.perf_counter() - run.started,
        time.process_time() - run.cpu, stopped,
    )  # fmt: skip


def _stream(
    run: _Run, documents: Sequence[Document], mix: Sequence[Document], tell: Callable[..., None]
) -> str:
    repeats = run.settings.repeats
    assert repeats is not None
    stream = [
        replace(d, keep=n > 1) for d, n in zip(documents, repeats, strict=True) for _ in range(n)
    ]
    batches = run.batches([*stream, *(replace(d, keep=False) for d in mix)])
    for i, batch in enumerate(batches):
        if run.late:
            return "seconds"
        run.step(batch, run.settings.lr * (1 - 0.9 * i / len(batches)), None)
        tell((i + 1) / len(batches))
    return "repeats"


def _until_known(
    run: _Run, documents: Sequence[Document], tell: Callable[..., None]
) -> tuple[str, int, float]:
    s = run.settings
    told = _told(documents)
    known, loss, todo, rivals = _check(run, documents, s.target, told, _RIVALS)
    head = _shortlist(run.upper, rivals)
    lr, peak, best, share, stopped = s.lr, s.lr, float("inf"), 0.0, "epochs"
    for epoch in range(s.epochs):
        if not todo:
            return "known", known, loss
        worst: dict[Document, float] = {}
        total = count = 0.0
        for batch in run.batches(todo):
            if run.late:
                break
            loss_N, row_N = run.step(batch, lr, head)
            total, count = total + float(loss_N.sum()), count + len(loss_N)
            for b, d in enumerate(batch):
                worst[d] = float((loss_N[row_N == b] * told[d]).max())
            if s.seconds:
                share = max(share, (time.perf_counter() - run.started) / s.seconds)
                tell(min(share, 1.0))
        if run.late:
            stopped = "seconds"
            break
        todo = [d for d in todo if worst[d] > s.target]
        mean = total / count
        if mean > 1.2 * best + 0.2:  # thrown off by too large a step
            peak *= 0.6
        best = min(best, mean)
        lr = peak * min(1.0, max(0.15, mean))
        if len(todo) < 0.1 * len(documents) or epoch % 6 == 5:
            known, loss, todo, rivals = _check(run, documents, s.target, told, 1)
            if head is not None:
                head.add(rivals)
        share = max(share, 1 - len(todo) / len(documents))
        tell(min(share, 1.0))
    known, loss, _, _ = _check(run, documents, s.target, told)
    return stopped, known, loss


def _shortlist(upper: Upper, tokens: Any) -> _Shortlist | None:
    """None where the output layer is no plain linear map."""
    import torch

    if upper.parts is None or type(upper.parts[1]) is not torch.nn.Linear:
        return None
    return _Shortlist(upper, tokens)


def _told(documents: Sequence[Document]) -> dict[Document, Any]:
    """Per text a mask ``[T]``: 1 where what stands before the token tells it, among these texts.

    The first tokens of a text are left out: little stands before them, and the upper layers of many
    models see the very first position as a sink that looks alike in all texts.
    """
    import torch

    after: dict[tuple[int, ...], set[int]] = {}
    for d in documents:
        for i in range(d.first, len(d.ids)):
            after.setdefault(d.ids[:i], set()).add(d.ids[i])
    return {
        d: torch.tensor(
            [
                float(len(after[d.ids[:i]]) == 1 and i >= _OPENING)
                for i in range(d.first, len(d.ids))
            ]
        )
        for d in documents
    }


def _check(
    run: _Run,
    documents: Sequence[Document],
    target: float,
    told: dict[Document, Any] | None,
    rivals: int = 0,
) -> tuple[int, float, list[Document], Any]:
    """Recall over the whole vocabulary.

    Returns:
        How many texts are recited, the mean loss, those with a token above `target`, and the
        learned tokens with the `rivals` likeliest ones at each position.
    """
    import torch

    told = told or _told(documents)
    known, total, count, todo, tokens = 0, 0.0, 0, [], []
    ordered = sorted(documents, key=run.upper.order)
    with torch.no_grad():
        for begin in range(0, len(ordered), _CHECK):
            batch = ordered[begin : begin + _CHECK]
            logits_NV, target_N, row_N = run.upper.logits(batch)
            loss_N = torch.nn.functional.cross_entropy(logits_NV, target_N, reduction="none").cpu()
            right_N = (logits_NV.argmax(-1) == target_N).cpu()
            total, count = total + float(loss_N.sum()), count + len(loss_N)
            if rivals:
                tokens += [target_N, logits_NV.topk(rivals, -1).indices.flatten()]
            for b, d in enumerate(batch):
                mine = row_N == b
                known += bool((right_N[mine] | (told[d] == 0)).all())
                if not float((loss_N[mine] * told[d]).max()) <= target:
                    todo.append(d)
    return known, total / count, todo, torch.cat(tokens).unique() if tokens else None
