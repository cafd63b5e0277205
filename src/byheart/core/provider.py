"""The inspect_ai provider `byheart/`: local models, batched, with prompt log-probabilities.

``--model byheart/smollm2``, ``byheart/hf:NAME``, ``byheart/gguf:FILE``. Conventions beyond plain
chat, all in a message's ``metadata["byheart"]``:

- ``{"raw": true}``: the text is continued as it stands, without the chat template;
- ``{"score": true, "context": ..., "moments": bool}``: nothing is generated; the text's token
  log-probabilities come back as ``prompt_logprobs`` and, whole, in ``output.metadata["byheart"]``.

Without them, a request with ``prompt_logprobs`` is answered with those of the rendered prompt.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    Logprob,
    Logprobs,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    modelapi,
)
from inspect_ai.model import Model as InspectAIModel
from inspect_ai.tool import ToolChoice, ToolInfo

from byheart.core.ask import Ask, Completion, Reply, Sample, Score, Scored
from byheart.core.errors import ByheartError, CapabilityError, UsageError
from byheart.core.model import Model, load

__all__ = ["ByheartAPI", "as_inspect_model", "byheart_provider"]

_IDLE = 0.01
"""Seconds without a new request after which a batch is sent off."""
_ROWS = 128
_TEXTS = 64


class _Batcher:
    """One thread that answers asks from many callers in batches."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._queue: queue.SimpleQueue[tuple[Ask, Future[Reply]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def submit(self, ask: Ask) -> Future[Reply]:
        """Queue an ask; its reply, or its error, comes in the future."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="byheart")
                self._thread.start()
        future: Future[Reply] = Future()
        self._queue.put((ask, future))
        return future

    def _work(self) -> None:
        waiting: list[tuple[Ask, Future[Reply]]] = []
        while True:
            if not waiting:
                waiting.append(self._queue.get())
            while True:
                try:
                    waiting.append(self._queue.get(timeout=_IDLE))
                except queue.Empty:
                    break
            batch, waiting = _take(waiting)
            live = [(a, f) for a, f in batch if f.set_running_or_notify_cancel()]
            self._answer(live)

    def _answer(self, batch: Sequence[tuple[Ask, Future[Reply]]]) -> None:
        if not batch:
            return
        asks = [a for a, _ in batch]
        try:
            replies: Sequence[Reply] = (
                self._model.sample(asks)  # type: ignore[arg-type]
                if isinstance(asks[0], Sample)
                else self._model.score(asks)  # type: ignore[arg-type]
            )
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
            else:  # one bad request must not fail the others
                for pair in batch:
                    self._answer([pair])
            return
        for (_, future), reply in zip(batch, replies, strict=True):
            future.set_result(reply)


def _take(
    waiting: list[tuple[Ask, Future[Reply]]],
) -> tuple[list[tuple[Ask, Future[Reply]]], list[tuple[Ask, Future[Reply]]]]:
    """The next batch, of the first ask's kind, and what stays waiting."""
    kind = type(waiting[0][0])
    batch: list[tuple[Ask, Future[Reply]]] = []
    rest: list[tuple[Ask, Future[Reply]]] = []
    rows = 0
    for pair in waiting:
        size = pair[0].n if isinstance(pair[0], Sample) else 1
        limit = _ROWS if kind is Sample else _TEXTS
        if type(pair[0]) is kind and (not batch or rows + size <= limit):
            batch.append(pair)
            rows += size
        else:
            rest.append(pair)
    return batch, rest


async def _wait(future: Future[Reply]) -> Reply:
    import sniffio

    if sniffio.current_async_library() == "asyncio":
        import asyncio

        return await asyncio.wrap_future(future)
    import anyio

    return await anyio.to_thread.run_sync(future.result, abandon_on_cancel=True)


class ByheartAPI(ModelAPI):
    """Serves a byheart `Model` to inspect_ai.

    Args:
        model_name: What `byheart.load` takes.
        base_url: Unused.
        api_key: Unused.
        config: Defaults of inspect_ai.
        loaded: A model that is loaded already.
        device: As for `byheart.load`.
        dtype: As for `byheart.load`.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 (the interface of inspect_ai)
        *,
        loaded: Model | None = None,
        device: str | None = None,
        dtype: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if unknown:
            raise UsageError(
                f"unknown model arguments {', '.join(sorted(unknown))}; there are device and dtype"
            )
        self.model = loaded if loaded is not None else load(model_name, device=device, dtype=dtype)
        self._batcher = _Batcher(self.model)

    async def answer(self, ask: Ask) -> Reply:
        """Answer one ask, batched with those of other callers."""
        return await _wait(self._batcher.submit(ask))

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        if tools:
            raise CapabilityError(f"{self.model_name}: the byheart provider calls no tools")
        started = time.perf_counter()
        marks = [(m.metadata or {}).get("byheart") for m in input]
        mark: dict[str, Any] = next((m for m in marks if m), {})
        if mark.get("score"):
            context = mark.get("context", "")
            if not isinstance(context, str):
                context = tuple((role, text) for role, text in context)
            scored = await self.answer(Score(input[-1].text, context, bool(mark.get("moments"))))
            assert isinstance(scored, Scored)
            return self._scored_output(scored, started)
        prompt = (
            input[-1].text
            if mark.get("raw") or (not self.model.chat and len(input) == 1)
            else tuple((m.role if m.role != "tool" else "user", m.text) for m in input)
        )
        ask = Sample(
            prompt,
            n=config.num_choices or 1,
            temperature=1.0 if config.temperature is None else config.temperature,
            max_tokens=config.max_tokens or 256,
            top_p=1.0 if config.top_p is None else config.top_p,
            top_k=config.top_k or 0,
            stop=tuple(config.stop_seqs or ()),
            seed=config.seed or 0,
        )
        completions = await self.answer(ask)
        assert isinstance(completions, list)
        prompt_logprobs = None
        if config.prompt_logprobs is not None:
            text = prompt if isinstance(prompt, str) else self._rendered(prompt)
            scored = await self.answer(Score(text))
            assert isinstance(scored, Scored)
            prompt_logprobs = self._logprobs(scored)
        read = len(self.model.encode(str(prompt)))
        written = sum(len(c.tokens) or len(c.text.split()) for c in completions)
        return ModelOutput(
            model=self.model_name,
            choices=[self._choice(c, prompt_logprobs) for c in completions],
            usage=ModelUsage(input_tokens=read, output_tokens=written, total_tokens=read + written),
            time=time.perf_counter() - started,
            metadata={"byheart": {"tokens": [list(c.tokens) for c in completions]}},
        )

    def _rendered(self, messages: tuple[tuple[str, str], ...]) -> str:
        tokenizer = getattr(self.model, "tokenizer", None)
        if tokenizer is None:
            from byheart.core.toy import flatten

            return flatten(messages)
        chat = [{"role": role, "content": text} for role, text in messages]
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))

    def _choice(self, c: Completion, prompt_logprobs: Logprobs | None) -> ChatCompletionChoice:
        return ChatCompletionChoice(
            message=ChatMessageAssistant(content=c.text, model=self.model_name, source="generate"),
            stop_reason="max_tokens" if c.stop == "length" else "stop",
            prompt_logprobs=prompt_logprobs,
        )

    def _logprobs(self, scored: Scored) -> Logprobs:
        tokenizer = getattr(self.model, "tokenizer", None)
        names = (
            tokenizer.convert_ids_to_tokens(list(scored.tokens))
            if tokenizer is not None
            else [str(t) for t in scored.tokens]
        )
        pairs = zip(names, scored.logprobs, strict=True)
        return Logprobs(content=[Logprob(token=t, logprob=float(p)) for t, p in pairs])

    def _scored_output(self, scored: Scored, started: float) -> ModelOutput:
        choice = self._choice(Completion("", (), "stop"), self._logprobs(scored))
        n = len(scored.logprobs)
        return ModelOutput(
            model=self.model_name,
            choices=[choice],
            usage=ModelUsage(input_tokens=n, output_tokens=0, total_tokens=n),
            time=time.perf_counter() - started,
            metadata={"byheart": pack(scored)},
        )

    def max_connections(self) -> int:
        """As many as may wait: they are answered in batches."""
        return 10_000

    def max_tokens(self) -> int | None:
        return 256

    def should_retry(self, ex: Exception) -> bool:
        return False

    def connection_key(self) -> str:
        return f"{self.model_name}:{id(self.model)}"


def pack(scored: Scored) -> dict[str, Any]:
    """A `Scored` as JSON values; `unpack` is its inverse."""
    return {
        "logprobs": scored.logprobs.tolist(),
        "tokens": list(scored.tokens),
        "greedy": scored.greedy.tolist(),
        "mean": None if scored.mean is None else scored.mean.tolist(),
        "std": None if scored.std is None else scored.std.tolist(),
    }


def unpack(record: dict[str, Any]) -> Scored:
    """The `Scored` of a `pack`."""
    return Scored(
        np.asarray(record["logprobs"], dtype=float),
        tuple(record["tokens"]),
        np.asarray(record["greedy"], dtype=bool),
        None if record["mean"] is None else np.asarray(record["mean"]),
        None if record["std"] is None else np.asarray(record["std"]),
    )


@modelapi(name="byheart")
def byheart_provider() -> type[ModelAPI]:
    """The provider, as inspect_ai registers it."""
    return ByheartAPI


def as_inspect_model(model: Model) -> InspectAIModel:
    """Any byheart model as a model of inspect_ai."""
    inner = getattr(model, "inspect_model", None)
    if inner is not None:
        return inner
    if not isinstance(model, Model):
        raise ByheartError(f"not a byheart model: {type(model).__name__}")
    from inspect_ai.model import get_model

    return get_model(f"byheart/{model.name}", loaded=model, memoize=False)
