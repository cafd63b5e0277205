"""Models behind any provider of inspect_ai, OpenAI-compatible endpoints included."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from byheart.core.ask import Ask, Completion, Facts, Reply, Sample, Score, Scored
from byheart.core.errors import (
    ByheartError,
    CapabilityError,
    DataError,
    EndpointError,
    MissingExtra,
    ModelError,
    need,
)
from byheart.core.model import Model, Progress, _cut

if TYPE_CHECKING:
    from inspect_ai.model import GenerateConfig, ModelOutput
    from inspect_ai.model import Model as InspectAIModel

__all__ = ["InspectModel", "facts_of", "reply_to"]

_MANY = frozenset(
    {"byheart", "google", "grok", "openai", "openai-api", "sglang", "together", "vllm"}
)
"""Providers that may answer `num_choices` with several choices."""
_SCORING = frozenset({"byheart", "sglang", "vllm", "vllm-completions"})
"""Providers that return the log-probabilities of a prompt."""
_TIMEOUT, _RETRIES, _AT_ONCE = 120, 2, 16

CONTINUE = (
    "Continue the following text exactly where it breaks off. "
    "Reply with the continuation only, without quotation marks or comments.\n\n"
)
"""Set before a plain text on endpoints that take only chat."""

T = TypeVar("T")


def facts_of(model: InspectAIModel) -> Facts:
    """What audits may know of a model of inspect_ai."""
    local = getattr(model.api, "model", None)
    if isinstance(local, Model):
        return local.facts()
    capabilities = {"sample"} | ({"score"} if _provider(model) in _SCORING else set())
    raw = _provider(model).endswith("completions")
    return Facts(str(model), frozenset(capabilities), chat=not raw, raw=raw)


def _provider(model: InspectAIModel) -> str:
    return str(model).split("/", 1)[0]


async def reply_to(ask: Ask, model: InspectAIModel) -> Reply:
    """Answer one ask through inspect_ai.

    Raises:
        CapabilityError: A score is asked of a provider that gives no prompt log-probabilities.
        EndpointError: The endpoint is unreachable, refuses, or does not answer in time.
        ModelError: Any other failure of the provider.
    """
    return await (_sample(ask, model) if isinstance(ask, Sample) else _score(ask, model))


async def _sample(ask: Sample, model: InspectAIModel) -> list[Completion]:
    import anyio
    from inspect_ai.model import GenerateConfig

    config = GenerateConfig(
        temperature=ask.temperature,
        max_tokens=ask.max_tokens,
        top_p=ask.top_p if ask.top_p < 1 else None,
        top_k=ask.top_k or None,
        stop_seqs=list(ask.stop) or None,
        seed=ask.seed,
        num_choices=ask.n if ask.n > 1 and _provider(model) in _MANY else None,
    )
    messages = _messages(ask, model)
    out = _completions(await _generate(model, messages, config), ask)
    # providers that give one choice a call are asked for the others at once, each with its own
    # seed: one after the other, every conversation would wait for all, and end with all
    config = config.model_copy(update={"num_choices": None})
    further: list[list[Completion]] = [[] for _ in range(len(out), ask.n)]

    async def one(i: int) -> None:
        own = config.model_copy(update={"seed": ask.seed + ask.n - len(further) + i})
        further[i] = _completions(await _generate(model, messages, own), ask)

    try:
        async with anyio.create_task_group() as group:
            for i in range(len(further)):
                group.start_soon(one, i)
    except BaseExceptionGroup as errors:
        raise _single(errors) from None
    return [*out, *(c for found in further for c in found)][: ask.n]


def _completions(output: ModelOutput, ask: Sample) -> list[Completion]:
    """The choices of one call; an empty text where there are none."""
    tokens = ((output.metadata or {}).get("byheart") or {}).get("tokens")
    out = []
    for i, choice in enumerate(output.choices):
        own = tuple(tokens[i]) if tokens else ()
        stop = "length" if choice.stop_reason == "max_tokens" else "stop"
        out.append(Completion(_cut(choice.message.text, ask.stop), own, stop))
    return out or [Completion("", (), "stop")]


def _single(errors: BaseExceptionGroup[Any]) -> BaseException:
    """The first real error of a group; cancellations only if there is nothing else."""
    for error in errors.exceptions:
        found = _single(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, Exception):
            return found
    return errors.exceptions[0]


def _messages(ask: Sample, model: InspectAIModel) -> list[Any]:
    from inspect_ai.model import ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

    if isinstance(ask.prompt, str):
        if facts_of(model).raw:
            return [ChatMessageUser(content=ask.prompt, metadata={"byheart": {"raw": True}})]
        return [ChatMessageUser(content=CONTINUE + ask.prompt)]
    kinds = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
    }
    return [kinds[role](content=text) for role, text in ask.prompt]


async def _score(ask: Score, model: InspectAIModel) -> Scored:
    from inspect_ai.model import ChatMessageUser, GenerateConfig

    if _provider(model) not in _SCORING:
        raise CapabilityError(f"{model} tells no log-probabilities of a prompt")
    mark = {"score": True, "context": ask.context, "moments": ask.moments}
    own = _provider(model) == "byheart"
    context = ask.context if isinstance(ask.context, str) else ""
    if not own and not isinstance(ask.context, str):
        raise CapabilityError(f"{model} can be scored on plain text only, not after a chat")
    message = ChatMessageUser(
        content=ask.text if own else context + ask.text, metadata={"byheart": mark}
    )
    config = GenerateConfig(max_tokens=1, prompt_logprobs=1, temperature=0.0)
    output = await _generate(model, [message], config)
    record = (output.metadata or {}).get("byheart")
    if record:
        from byheart.core.provider import unpack

        return unpack(record)
    logprobs = output.choices[0].prompt_logprobs if output.choices else None
    if logprobs is None:
        raise CapabilityError(f"{model} returned no prompt log-probabilities")
    values, seen = [], 0
    for entry in logprobs.content:
        seen += len(entry.token)
        if seen > len(context):
            values.append(entry.logprob)
    return Scored(np.asarray(values, dtype=float))


async def _generate(
    model: InspectAIModel, messages: list[Any], config: GenerateConfig, timeout: int = _TIMEOUT
) -> ModelOutput:
    """One call, bounded in time, with the provider's errors as ours."""
    import anyio

    bounds = {"timeout": timeout, "max_retries": _RETRIES if timeout == _TIMEOUT else 0}
    local = isinstance(getattr(model.api, "model", None), Model)
    try:
        if local:
            return await model.generate(messages, config=config)
        with anyio.fail_after(timeout + 1):
            return await model.generate(messages, config=config.model_copy(update=bounds))
    except ByheartError:
        raise
    except Exception as error:
        raise _ours(error, model, timeout) from error


def _ours(error: BaseException, model: InspectAIModel, timeout: int) -> ByheartError:
    """The provider's error in our tree; looks through wrappers."""
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    for link in chain:
        if isinstance(link, ByheartError):
            return link
    names = " ".join(type(link).__name__ for link in chain)
    url = getattr(model.api, "base_url", None)
    where = f"{model}" + (f" at {url}" if url else "")
    told = next((link for link in chain if type(link).__name__ != "RetryError"), error)
    said = str(told).splitlines()[0][:300] if str(told) else type(told).__name__
    if "JSONDecodeError" in names or "NoneType" in said or "Unexpected non-" in said:
        return EndpointError(
            f"{where} answered, but not as an OpenAI-compatible server does ({said}); "
            "is the address right? It usually ends in /v1"
        )
    if "Timeout" in names:
        return EndpointError(
            f"{where} did not answer within {timeout} s; is the server overloaded or hanging?"
        )
    if "Connect" in names:
        return EndpointError(f"{where} cannot be reached ({said}); is the server running there?")
    if any(word in names for word in ("Authentication", "Permission", "StatusError", "NotFound",
                                      "RateLimit", "ServerError", "RetryError")):  # fmt: skip
        return EndpointError(f"{where} refused: {said}")
    return ModelError(f"{where} failed: {type(error).__name__}: {said}")


class InspectModel(Model):
    """A model of inspect_ai as a byheart model.

    Args:
        spec: ``PROVIDER/NAME`` as inspect_ai takes it.
        name: How reports call it.
    """

    def __init__(self, spec: str, *, name: str | None = None) -> None:
        need("inspect_ai", "audit")
        from inspect_ai.model import get_model

        if "/" not in spec:
            raise DataError(f"inspect:{spec} names no provider; write inspect:PROVIDER/NAME")
        try:
            # the address is in the environment: one model a load, not one a name
            self.inspect_model = get_model(spec, memoize=False)
        except ByheartError:
            raise
        except (ValueError, LookupError, ImportError, OSError, RuntimeError) as error:
            raise DataError(f"inspect_ai cannot open {spec}: {_plain(error)}") from error
        except Exception as error:  # inspect_ai raises its own PrerequisiteError
            if type(error).__name__ != "PrerequisiteError":
                raise
            kind = MissingExtra if "pip install" in str(error) else DataError
            raise kind(f"inspect_ai cannot open {spec}: {_plain(error)}") from error
        facts = facts_of(self.inspect_model)
        self.name = name or f"inspect:{spec}"
        self.capabilities, self.chat, self.raw = facts.capabilities, facts.chat, facts.raw

    def facts(self) -> Facts:
        return dataclasses.replace(facts_of(self.inspect_model), name=self.name)

    def ping(self, timeout: int = 30) -> None:
        """One tiny call.

        Raises:
            EndpointError: If there is no answer within `timeout` seconds.
        """
        from inspect_ai.model import ChatMessageUser, GenerateConfig

        config = GenerateConfig(max_tokens=1, temperature=0.0)
        call = functools.partial(
            _generate, self.inspect_model, [ChatMessageUser(content="Hi")], config, timeout
        )
        _in_loop(call)

    def sample(
        self, asks: Sequence[Sample], progress: Progress | None = None
    ) -> list[list[Completion]]:
        self.require("sample", purpose="sampling")
        return self._answer(asks, progress)

    def score(self, asks: Sequence[Score], progress: Progress | None = None) -> list[Scored]:
        self.require("score", purpose="scoring")
        return self._answer(asks, progress)

    def _answer(self, asks: Sequence[Any], progress: Progress | None) -> list[Any]:
        async def everything() -> list[Any]:
            import anyio

            limiter = anyio.CapacityLimiter(_AT_ONCE)
            out: list[Any] = [None] * len(asks)

            async def one(i: int) -> None:
                async with limiter:
                    out[i] = await reply_to(asks[i], self.inspect_model)
                if progress:
                    progress(1)

            async with anyio.create_task_group() as group:
                for i in range(len(asks)):
                    group.start_soon(one, i)
            return out

        try:
            return _in_loop(everything)
        except BaseExceptionGroup as errors:
            raise _single(errors) from None


def _plain(error: BaseException) -> str:
    """An error's text in one line, without markup."""

    text = " ".join(re.sub(r"\[/?[a-z ]*\]", "", str(error)).split())
    return text.removeprefix("ERROR: ")[:400] or type(error).__name__


def _in_loop(call: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end, from plain code or from inside a running loop (a notebook)."""
    import anyio
    import sniffio

    try:
        sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        return anyio.run(call)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, call).result()
