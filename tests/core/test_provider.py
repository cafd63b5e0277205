"""The inspect_ai provider `byheart/`: batches, choices, scores and isolated failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from inspect_ai.model import ChatMessageUser, GenerateConfig, get_model

from byheart.core.ask import Sample, Score, Scored
from byheart.core.endpoint import InspectModel, reply_to
from byheart.core.errors import ModelError, UsageError
from byheart.core.model import Model
from byheart.core.provider import as_inspect_model, pack, unpack
from byheart.core.toy import SuffixModel

TEXT = "the quick brown fox jumps over the lazy dog and sleeps under the old tree"


class Recorder(SuffixModel):
    """A toy that notes its batches and fails on one word."""

    def __init__(self) -> None:
        super().__init__([TEXT], name="recorder")
        self.batches: list[int] = []

    def sample(self, asks: Any, progress: Any = None) -> Any:
        self.batches.append(len(asks))
        if any("poison" in str(a.prompt) for a in asks):
            raise ModelError("poisoned")
        return super().sample(asks, progress)

    def score(self, asks: Any, progress: Any = None) -> Any:
        self.batches.append(len(asks))
        if any("poison" in a.text for a in asks):
            raise ModelError("poisoned")
        return super().score(asks, progress)


def _open(model: Model) -> Any:
    return get_model("byheart/x", loaded=model, memoize=False)


def _run(*calls: Callable[[], Coroutine[Any, Any, Any]]) -> list[Any]:
    async def everything() -> list[Any]:
        return await asyncio.gather(*(c() for c in calls), return_exceptions=True)

    return asyncio.run(everything())


def _raw(text: str, **mark: Any) -> list[ChatMessageUser]:
    return [ChatMessageUser(content=text, metadata={"byheart": {"raw": True, **mark}})]


def _same(a: Scored, b: Scored) -> None:
    np.testing.assert_array_equal(a.logprobs, b.logprobs)
    np.testing.assert_array_equal(a.greedy, b.greedy)
    assert a.tokens == b.tokens
    for x, y in ((a.mean, b.mean), (a.std, b.std)):
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y)


def test_concurrent_calls_are_batched() -> None:
    toy = Recorder()
    model = _open(toy)
    prompts = [f"the quick brown {i}" for i in range(60)]
    config = GenerateConfig(temperature=0.0, max_tokens=5)
    outputs = _run(*(lambda p=p: model.generate(_raw(p), config=config) for p in prompts))
    direct = SuffixModel([TEXT]).sample([Sample(p, max_tokens=5) for p in prompts])
    assert [o.completion for o in outputs] == [d[0].text for d in direct]
    assert sum(toy.batches) == 60
    assert len(toy.batches) <= 6


def test_raw_text_chat_and_settings() -> None:
    toy = SuffixModel([TEXT])
    model = _open(toy)
    config = GenerateConfig(temperature=0.0, max_tokens=6, stop_seqs=["jumps"])
    raw, chat = _run(
        lambda: model.generate(_raw("the quick brown"), config=config),
        lambda: model.generate([ChatMessageUser(content="the quick brown")], config=config),
    )
    assert raw.completion == " fox "
    assert raw.choices[0].stop_reason == "stop"
    ask = Sample((("user", "the quick brown"),), max_tokens=6, stop=("jumps",))
    assert chat.completion == toy.sample([ask])[0][0].text
    assert raw.usage.output_tokens == 3
    (long,) = _run(
        lambda: model.generate(
            _raw("the quick"), config=GenerateConfig(temperature=0.0, max_tokens=2)
        )
    )
    assert long.choices[0].stop_reason == "max_tokens"


def test_num_choices() -> None:
    toy = SuffixModel([TEXT])
    config = GenerateConfig(num_choices=5, temperature=1.0, max_tokens=8, seed=3)
    (output,) = _run(lambda: _open(toy).generate(_raw("zebra"), config=config))
    expected = toy.sample([Sample("zebra", n=5, temperature=1.0, max_tokens=8, seed=3)])[0]
    assert [c.message.text for c in output.choices] == [c.text for c in expected]
    assert output.metadata["byheart"]["tokens"] == [list(c.tokens) for c in expected]
    assert len({c.message.text for c in output.choices}) > 1


def test_prompt_logprobs() -> None:
    toy = SuffixModel([TEXT])
    config = GenerateConfig(prompt_logprobs=1, max_tokens=1, temperature=0.0)
    (output,) = _run(lambda: _open(toy).generate(_raw("the quick brown fox"), config=config))
    expected = toy.score([Score("the quick brown fox")])[0]
    found = output.choices[0].prompt_logprobs.content
    assert [e.logprob for e in found] == pytest.approx(expected.logprobs.tolist())
    assert len(found) == len(expected.tokens)


@pytest.mark.parametrize("moments", [True, False])
@pytest.mark.parametrize("context", ["", "the quick", (("user", "hello"),)])
def test_scores_come_back_whole(moments: bool, context: Any) -> None:
    toy = SuffixModel([TEXT])
    ask = Score(" brown fox jumps", context=context, moments=moments)
    (found,) = _run(lambda: reply_to(ask, _open(toy)))
    _same(found, toy.score([ask])[0])


def test_pack_survives_json() -> None:
    import json

    scored = SuffixModel([TEXT]).score([Score(TEXT, moments=True)])[0]
    _same(unpack(json.loads(json.dumps(pack(scored)))), scored)


def test_one_bad_request_does_not_fail_the_others() -> None:
    model = _open(Recorder())
    config = GenerateConfig(temperature=0.0, max_tokens=5)
    texts = ["the quick brown", "poison", "over the lazy"]
    outputs = _run(*(lambda t=t: model.generate(_raw(t), config=config) for t in texts))
    assert outputs[0].completion == " fox jumps over"[: len(outputs[0].completion)]
    assert outputs[0].completion
    assert isinstance(outputs[1], ModelError)
    assert outputs[2].completion
    scores = _run(*(lambda t=t: reply_to(Score(f"a {t}"), model) for t in texts))
    assert [isinstance(s, ModelError) for s in scores] == [False, True, False]


def test_samples_and_scores_at_once() -> None:
    toy = Recorder()
    model = _open(toy)
    asks = [Score("the quick fox"), Sample("the quick", max_tokens=3)] * 10
    found = _run(*(lambda a=a: reply_to(a, model) for a in asks))
    assert [isinstance(f, Scored) for f in found] == [True, False] * 10
    assert sum(toy.batches) == 20


def test_a_model_that_cannot_score_says_so() -> None:
    import byheart

    model = as_inspect_model(byheart.load(str.upper, name="shouter"))
    (found,) = _run(lambda: reply_to(Score("a b c"), model))
    assert isinstance(found, byheart.CapabilityError)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown model arguments colour"):
        get_model("byheart/x", loaded=SuffixModel([TEXT]), memoize=False, colour="red")


def test_as_inspect_model_keeps_what_is_one_already() -> None:
    model = as_inspect_model(SuffixModel([TEXT], name="toy"))
    assert str(model) == "byheart/toy"
    wrapped = InspectModel.__new__(InspectModel)
    wrapped.inspect_model = model
    assert as_inspect_model(wrapped) is model
