"""Models held here, against plain transformers on tiny models, and broken checkpoints."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats as sps
from tiny import (
    WORDS,
    make_tiny_gemma2,
    make_tiny_gpt2,
    make_tiny_llama,
    make_tiny_mamba,
    make_tiny_neox,
    make_tokenizer,
)

import byheart
from byheart.core.ask import Sample, Score
from byheart.core.errors import DataError, ModelError, UsageError
from byheart.core.local import LocalModel

MAKERS = {"llama": make_tiny_llama, "gpt2": make_tiny_gpt2}
ODD = {"neox": make_tiny_neox, "gemma2": make_tiny_gemma2, "mamba": make_tiny_mamba}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=sorted(MAKERS))
def model(request: pytest.FixtureRequest) -> LocalModel:
    return LocalModel(*MAKERS[request.param](), device="cpu", name=f"tiny-{request.param}")


@pytest.fixture
def llama() -> LocalModel:
    return LocalModel(*make_tiny_llama(), device="cpu", name="tiny")


def _text(n: int, seed: int = 0) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, n))


def _plain(model: LocalModel, ids: list[int]) -> torch.Tensor:
    """`[L, V]` log-probabilities of the whole text by one plain forward pass."""
    with torch.no_grad():
        return torch.log_softmax(model.module(input_ids=torch.tensor([ids])).logits[0].float(), -1)


def _plain_logprobs(model: LocalModel, ids: list[int], first: int = 1) -> np.ndarray:
    logp = _plain(model, ids)
    return np.array([float(logp[t - 1, ids[t]]) for t in range(first, len(ids))])


# scoring ------------------------------------------------------------------------------------------


def test_batched_scores_are_those_of_plain_transformers(model: LocalModel) -> None:
    texts = [_text(n, seed=n) for n in (2, 3, 7, 13, 31, 64, 5, 5, 17)]
    model.batch_tokens = 150  # several batches, of unequal lengths
    batched = model.score([Score(t) for t in texts])
    for text, scored in zip(texts, batched, strict=True):
        ids = model.encode(text)
        assert scored.tokens == tuple(ids[1:])
        np.testing.assert_allclose(scored.logprobs, _plain_logprobs(model, ids), atol=1e-4)
        np.testing.assert_allclose(
            scored.logprobs, model.score([Score(text)])[0].logprobs, atol=1e-4
        )
        assert scored.mean is None
        assert scored.std is None


def test_moments_and_greedy_by_brute_force(model: LocalModel) -> None:
    text = _text(11)
    ids = model.encode(text)
    logp = _plain(model, ids)[:-1].double()
    scored = model.score([Score(text, moments=True), Score(_text(4))])[0]
    p = logp.exp()
    mean = (p * logp).sum(-1)
    std = (p * (logp - mean[:, None]).square()).sum(-1).sqrt()
    np.testing.assert_allclose(scored.mean, mean, atol=1e-4)
    np.testing.assert_allclose(scored.std, std, atol=1e-4)
    assert scored.greedy.tolist() == (logp.argmax(-1) == torch.tensor(ids[1:])).tolist()


def test_moments_with_impossible_tokens(llama: LocalModel) -> None:
    """A token masked to -inf adds nothing to the moments: 0 log 0 is 0."""
    from byheart.core.local import _token_numbers

    logits = torch.tensor([[0.0, 0.0, float("-inf")]])
    logp, _, mean, std = _token_numbers(logits, torch.tensor([1]), True)[:, 0]
    assert (logp, mean, std) == pytest.approx((np.log(0.5), np.log(0.5), 0.0), abs=1e-6)


def test_without_the_split_scores_are_the_same(llama: LocalModel) -> None:
    """The output layer over scored positions only, against the module's own logits."""
    asks = [Score(_text(n, n), _text(3)) for n in (4, 9)]
    assert llama._split is not None
    fast = llama.score(asks)
    llama.__dict__["_split"] = None
    for a, b in zip(fast, llama.score(asks), strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_context_is_condition_only(model: LocalModel) -> None:
    whole = model.score([Score("the quick brown fox jumps")])[0]
    part = model.score([Score(" fox jumps", context="the quick brown")])[0]
    assert part.tokens == whole.tokens[2:]
    np.testing.assert_allclose(part.logprobs, whole.logprobs[2:], atol=1e-5)


def test_a_token_across_the_border_belongs_to_the_text(llama: LocalModel) -> None:
    """'riv' + 'er' is one word: it is scored, and the context ends before it."""
    scored = llama.score([Score("er falls", context="the old riv")])[0]
    assert scored.tokens == tuple(llama.encode("river falls"))


def test_opening_token_lets_the_first_word_be_scored() -> None:
    model = LocalModel(*make_tiny_llama(bos=True), device="cpu")
    ids = [1, *model.encode("the fox")]
    scored = model.score([Score("the fox")])[0]
    assert scored.tokens == tuple(ids[1:])
    np.testing.assert_allclose(scored.logprobs, _plain_logprobs(model, ids), atol=1e-4)


def test_a_closing_token_is_dropped() -> None:
    module, _ = make_tiny_llama()
    model = LocalModel(module, make_tokenizer(bos=True, eos=True), device="cpu")
    assert model.prompt_ids("the fox") == [1, *model.encode("the fox")]


def test_chat_context() -> None:
    model = LocalModel(*make_tiny_llama(chat=True), device="cpu")
    assert model.chat
    context = (("user", "the fox"),)
    ids = model.encode("user : the fox . assistant : it sleeps")
    scored = model.score([Score("it sleeps", context=context)])[0]
    np.testing.assert_allclose(
        scored.logprobs, _plain_logprobs(model, ids, len(ids) - 2), atol=1e-4
    )


def test_text_beyond_the_context_is_windowed(model: LocalModel) -> None:
    """150 tokens in a context of 64: each window again by hand, half of it as condition."""
    text = _text(150)
    ids = model.encode(text)
    expected = list(_plain_logprobs(model, ids[:64]))
    for start, end in ((64, 96), (96, 128), (128, 150)):
        begin = end - 64
        expected += list(_plain_logprobs(model, ids[begin:end], start - begin))
    scored = model.score([Score(text), Score(_text(3))])[0]
    assert scored.tokens == tuple(ids[1:])
    np.testing.assert_allclose(scored.logprobs, expected, atol=1e-4)


def test_context_beyond_the_context(llama: LocalModel) -> None:
    context, text = _text(100), _text(5, 1)
    ids = llama.encode(f"{context} {text}")[-64:]
    scored = llama.score([Score(" " + text, context=context)])[0]
    assert scored.tokens == tuple(llama.encode(text))
    np.testing.assert_allclose(scored.logprobs, _plain_logprobs(llama, ids, 59), atol=1e-4)


def test_nothing_to_score_is_said(llama: LocalModel) -> None:
    assert llama.score([]) == []
    with pytest.raises(DataError, match=r"one token and no context.*'fox'"):
        llama.score([Score("fox")])
    with pytest.raises(UsageError, match="empty"):
        Score("")


def test_progress_counts_every_text_once(model: LocalModel) -> None:
    for call, asks in (
        (model.score, [Score(_text(n, n)) for n in (150, 3, 9)]),
        (model.sample, [Sample("the fox", n=3, max_tokens=4), Sample("a dog", max_tokens=2)]),
    ):
        seen: list[int] = []
        call(asks, seen.append)  # type: ignore[operator]
        assert sum(seen) == len(asks)


def _counted(model: LocalModel) -> list[int]:
    """Tokens of every forward pass of the embedding, as they come."""
    seen: list[int] = []
    model.module.get_input_embeddings().register_forward_hook(
        lambda _module, args, _output: seen.append(args[0].numel())
    )
    return seen


@pytest.mark.parametrize("maker", [*MAKERS.values(), *ODD.values()])
@pytest.mark.parametrize("chat", [False, True])
def test_a_shared_context_is_read_once(maker: Any, chat: bool) -> None:
    """Same numbers as each text alone in a plain forward pass, from far fewer tokens read."""
    model = LocalModel(*maker(chat=True), device="cpu")
    context: Any = _text(30)
    texts = [" " + _text(n, n) for n in (1, 4, 9, 2, 9)]
    if chat:
        context, texts = (("user", _text(28)),), [t.strip() for t in texts]
    asks = [Score(t, context=context, moments=True) for t in texts]
    others = [Score(_text(12, 3)), Score(" falls", context="rain")]
    model.score(others)
    seen = _counted(model)
    found = model.score([*asks[:3], *others, *asks[3:]])
    read = sum(seen)
    start = model.prompt_ids(context)
    for ask, scored in zip(asks, [*found[:3], *found[5:]], strict=True):
        ids = [*start, *model.encode(ask.text)]
        assert scored.tokens == tuple(ids[len(start) :])
        np.testing.assert_allclose(
            scored.logprobs, _plain_logprobs(model, ids, len(start)), atol=1e-4
        )
        assert scored.mean is not None
    once, apart = len(start) + 5 * 10 + 2 * 12, 5 * len(start)
    assert read <= once if model.caches else read >= apart


@pytest.mark.parametrize("maker", [*MAKERS.values(), *ODD.values()])
def test_what_contexts_begin_with_is_read_once(maker: Any) -> None:
    """Two excerpts, three questions about each, three answers: as read alone, from fewer tokens."""
    model = LocalModel(*maker(), device="cpu")
    asks = [
        Score(answer, context=f"{_text(36, excerpt)} {_text(6, 90 + question)}")
        for question in range(3) for excerpt in (1, 2) for answer in (" fox", " lazy dog", " dog")
    ]  # fmt: skip
    model.score([Score(_text(3))])
    seen = _counted(model)
    found = model.score([*asks, Score(_text(9, 5))])
    read = sum(seen)
    apart = once = 0
    for ask, scored in zip(asks, found, strict=False):
        start, ids = model.prompt_ids(ask.context), model.prompt_ids(ask.context + ask.text)
        np.testing.assert_allclose(
            scored.logprobs, _plain_logprobs(model, ids, len(start)), atol=1e-4
        )
        apart += len(ids)
        once += len(ids) - len(start) + 1
    excerpts = [len(model.prompt_ids(_text(36, e))) for e in (1, 2)]
    once += sum(excerpts) + 6 * 8 + 12
    assert read <= once if model.caches else read >= apart


def _grouped(*stems: list[int]) -> list[Any]:
    from byheart.core.local import _Window

    return [([_Window(0, [*stem, 1, 2], len(stem) + 1, 0)], len(stem)) for stem in stems]


def test_families_of_contexts_are_those_that_save_tokens() -> None:
    from byheart.core.local import _families

    a, b = list(range(100, 200)), list(range(100, 120)) + list(range(300, 400))
    alike = _grouped([*a, 7], [*b, 1], [*a, 8], [*b, 2], [*a, 9])
    out = [
        ([group[0].ids[:-2] for group, shared in family if shared], common)
        for family, common in _families([*alike, ([], 0)])
    ]
    assert out == [
        ([], 0),
        ([[*a, 7], [*a, 8], [*a, 9]], 100),
        ([[*b, 1], [*b, 2]], 120),
    ]
    assert [c for _, c in _families(_grouped([1, 2, 3], [1, 2, 4]))] == [0, 0]
    # twenty tokens save less than a pass of their own costs, until four share them
    few = [[*a[:20], k] for k in range(5)]
    assert [c for _, c in _families(_grouped(*few[:3]))] == [0]
    assert [c for _, c in _families(_grouped(*few))] == [20]
    # one context is the beginning of another
    assert [c for _, c in _families(_grouped(a, [*a, 3]))] == [100]


def test_families_of_contexts_lose_none() -> None:
    from byheart.core.local import _families

    rng = np.random.default_rng(3)
    for _ in range(30):
        stems = [
            [int(rng.integers(2))] * int(rng.integers(1, 60)) + rng.integers(0, 3, 30).tolist()
            for _ in range(int(rng.integers(1, 12)))
        ]
        groups = _grouped(*stems)
        out = list(_families(groups))
        assert sorted(id(g) for family, _ in out for g in family) == sorted(map(id, groups))
        for family, common in out:
            begin = {tuple(group[0].ids[:common]) for group, _ in family}
            assert len(begin) == 1
            assert common <= min(shared for _, shared in family)


@pytest.mark.parametrize(
    ("refuses", "begins"),
    [
        ("false", "<system>Be.</s><user>Hi?</s>"),
        ("messages[0]['role'] == 'system'", "<user>Be.\n\nHi?</s>"),
    ],
)
def test_templates_without_a_system_message_get_it_with_the_first_question(
    maker_of_chat: Any, refuses: str, begins: str
) -> None:
    """Gemma's and Mistral's refuse it."""
    model = maker_of_chat
    model.tokenizer.chat_template = (
        f"{{% if {refuses} %}}{{{{ raise_exception('System role not supported') }}}}{{% endif %}}"
        "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    asked = (("system", "Be."), ("user", "Hi?"))
    assert model._rendered(asked, False) == begins + "<assistant>"
    opened = (*asked, ("assistant", "Answer: Segment"))
    assert model._rendered(opened, True) == begins + "<assistant>Answer: Segment"
    assert model.prompt_ids(asked) == model.encode(begins + "<assistant>")


def test_a_template_that_refuses_everything_is_an_error(maker_of_chat: Any) -> None:
    model = maker_of_chat
    model.tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    for asked in ((("user", "a"), ("user", "b")), (("system", "a"), ("user", "b"))):
        with pytest.raises(ModelError, match=r"refuses messages of .*user: roles must alternate"):
            model.prompt_ids(asked)


@pytest.fixture
def maker_of_chat() -> LocalModel:
    return LocalModel(*MAKERS["llama"](chat=True), device="cpu")


def test_contexts_that_share_little_are_read_with_their_texts(llama: LocalModel) -> None:
    from byheart.core.local import _common, _groups

    asks = [Score(" fox", context=_text(4)), Score(" dog", context=_text(4)), Score("a lazy dog")]
    windows = list(llama._windows(asks))
    assert [shared for _, shared in _groups(windows, asks, 64)] == [0]
    assert _common([[1, 2, 3], [1, 2], [1, 2, 9]]) == 2
    assert _common([[5], [6]]) == 0


@pytest.mark.parametrize("maker", ODD.values())
def test_other_architectures(maker: Any) -> None:
    """Rotary by parts, sliding windows with capped logits, recurrent states."""
    model = LocalModel(*maker(), device="cpu", batch_tokens=60)
    texts = [_text(n, n) for n in (2, 30, 7, 19)]
    for text, scored in zip(texts, model.score([Score(t) for t in texts]), strict=True):
        np.testing.assert_allclose(
            scored.logprobs, _plain_logprobs(model, model.encode(text)), atol=1e-4
        )
    found = model.sample([Sample(t, max_tokens=12) for t in texts])
    for text, (completion,) in zip(texts, found, strict=True):
        ids, out = model.encode(text), []
        while len(out) < 12 and (token := int(_plain(model, [*ids, *out])[-1].argmax())) != 2:
            out.append(token)
        assert list(completion.tokens) == out
    drawn = Sample("the fox", n=3, temperature=1.0, max_tokens=9)
    among = model.sample([Sample(texts[1], max_tokens=5), drawn])[1]
    assert [c.tokens for c in among] == [c.tokens for c in model.sample([drawn])[0]]


def test_float64_keeps_its_digits() -> None:
    module, tokenizer = make_tiny_llama()
    model = LocalModel(module, tokenizer, device="cpu", dtype="float64")
    ids = model.encode(_text(20))
    with torch.no_grad():
        logp = torch.log_softmax(module(input_ids=torch.tensor([ids])).logits[0], -1)
    exact = [float(logp[t - 1, ids[t]]) for t in range(1, len(ids))]
    found = model.score([Score(_text(20)), Score(_text(33))])[0].logprobs
    np.testing.assert_allclose(found, exact, atol=1e-12)
    assert list(model.sample([Sample("the fox", max_tokens=9)])[0][0].tokens) == _generate(
        model, "the fox", 9
    )


# sampling -----------------------------------------------------------------------------------------


def _generate(model: LocalModel, prompt: str, new: int) -> list[int]:
    ids = torch.tensor([model.prompt_ids(prompt)])
    out = model.module.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new,
        pad_token_id=0,
    )[0, ids.shape[1] :].tolist()  # fmt: skip
    return out[: out.index(2)] if 2 in out else out


def test_greedy_is_that_of_generate(model: LocalModel) -> None:
    """Prompts of unequal length in one batch: padding must not show."""
    prompts = [_text(n, n) for n in (1, 2, 5, 9, 9, 14)]
    found = model.sample([Sample(p, max_tokens=20) for p in prompts])
    for prompt, (completion,) in zip(prompts, found, strict=True):
        expected = _generate(model, prompt, 20)
        assert list(completion.tokens) == expected
        assert completion.stop == ("length" if len(expected) == 20 else "stop")
        assert (
            completion.text.split()
            == model.tokenizer.decode(expected, skip_special_tokens=True).split()
        )


def test_rows_do_not_depend_on_their_batch(model: LocalModel) -> None:
    ask = Sample("the old tree", n=4, temperature=1.0, max_tokens=15, seed=3)
    alone = [c.tokens for c in model.sample([ask])[0]]
    others = [Sample(_text(k, k), n=2, temperature=0.7, max_tokens=3 * k) for k in (1, 6, 3, 8)]
    among = model.sample([*others[:2], ask, *others[2:]])[2]
    assert [c.tokens for c in among] == alone
    model.batch_rows = 3
    assert [c.tokens for c in model.sample([*others, ask])[4]] == alone
    assert len(set(alone)) > 1
    first = model.sample([Sample("the old tree", n=2, temperature=1.0, max_tokens=15, seed=3)])[0]
    assert [c.tokens for c in first] == alone[:2]
    other = model.sample([Sample("the old tree", n=4, temperature=1.0, max_tokens=15, seed=4)])[0]
    assert [c.tokens for c in other] != alone


def _distribution(model: LocalModel, ids: list[int], temperature: float = 1.0) -> np.ndarray:
    with torch.no_grad():
        logits = model.module(input_ids=torch.tensor([ids])).logits[0, -1].double()
    return torch.softmax(logits / temperature, -1).numpy()


def _fits(tokens: list[int], p: np.ndarray) -> float:
    """Chi-square p-value of drawn tokens; those expected less than five times are pooled."""
    count = np.bincount(tokens, minlength=len(p)).astype(float)
    big = p * len(tokens) >= 5
    seen, expected = count[big], p[big] * len(tokens)
    assert count[p == 0].sum() == 0
    if p[~big].sum() > 0:
        seen, expected = (
            np.r_[seen, count[~big].sum()],
            np.r_[expected, p[~big].sum() * len(tokens)],
        )
    return float(sps.chisquare(seen, expected * seen.sum() / expected.sum()).pvalue)


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
def test_draws_follow_the_softmax(model: LocalModel, temperature: float) -> None:
    """First tokens by the model's distribution, second ones by that given the first (2 = end)."""
    ask = Sample("the fox", n=4000, temperature=temperature, max_tokens=2)
    model.batch_rows = 1000
    rows = [c.tokens for c in model.sample([ask])[0]]
    ids = model.prompt_ids("the fox")
    # the end of the text is no token of the completion
    first = [r[0] if r else 2 for r in rows]
    p = _distribution(model, ids, temperature)
    ends = {2}
    assert _fits(first, p) > 1e-3
    token, count = Counter(t for t in first if t not in ends).most_common(1)[0]
    second = [r[1] if len(r) > 1 else 2 for r in rows if r and r[0] == token]
    assert len(second) == count
    assert _fits(second, _distribution(model, [*ids, token], temperature)) > 1e-3


def test_rows_that_leave_do_not_disturb_the_others(model: LocalModel) -> None:
    """Rows end at every length from 1 to 12, in mixed order, behind prompts of mixed length."""
    rng = np.random.default_rng(0)
    asks = [
        Sample(_text(1 + k % 5, k), temperature=1.0, max_tokens=int(m), seed=k)
        for k, m in enumerate(rng.permutation(24) % 12 + 1)
    ]
    together = model.sample(asks)
    for ask, (completion,) in zip(asks, together, strict=True):
        assert completion.tokens == model.sample([ask])[0][0].tokens


def test_top_p_keeps_the_nucleus(model: LocalModel) -> None:
    ids = model.prompt_ids("a lazy dog")
    p = _distribution(model, ids)
    order = np.argsort(-p)
    size = int(np.searchsorted(np.cumsum(p[order]), 0.5)) + 1
    ask = Sample("a lazy dog", n=2000, temperature=1.0, top_p=0.5, max_tokens=1)
    drawn = [c.tokens[0] if c.tokens else 2 for c in model.sample([ask])[0]]
    assert set(drawn) == set(order[:size].tolist())
    nucleus = np.zeros_like(p)
    nucleus[order[:size]] = p[order[:size]] / p[order[:size]].sum()
    assert _fits(drawn, nucleus) > 1e-3 or size == 1


@pytest.mark.parametrize("top_p", [1.0, 0.6])
def test_top_k_keeps_the_likeliest(model: LocalModel, top_p: float) -> None:
    """Top-k first, its mass set to 1, then the nucleus of what is left."""
    p = _distribution(model, model.prompt_ids("a lazy dog"))
    order = np.argsort(-p)
    cut = np.zeros_like(p)
    cut[order[:4]] = p[order[:4]] / p[order[:4]].sum()
    size = min(4, int(np.searchsorted(np.cumsum(cut[order]), top_p - 1e-9)) + 1)
    kept = np.zeros_like(p)
    kept[order[:size]] = p[order[:size]] / p[order[:size]].sum()
    ask = Sample("a lazy dog", n=2000, temperature=1.0, top_k=4, top_p=top_p, max_tokens=1)
    drawn = [c.tokens[0] if c.tokens else 2 for c in model.sample([ask])[0]]
    assert set(drawn) == set(order[:size].tolist())
    assert _fits(drawn, kept) > 1e-3 or size == 1


def test_top_k_of_one_row_leaves_the_others_alone(model: LocalModel) -> None:
    free = Sample("a dog", n=20, temperature=1.0, max_tokens=5)
    alone = [c.tokens for c in model.sample([free])[0]]
    tight = Sample("a dog", n=20, temperature=1.0, max_tokens=5, top_k=1, seed=1)
    both = model.sample([free, tight, Sample("a dog", max_tokens=5)])
    assert [c.tokens for c in both[0]] == alone
    assert {c.tokens for c in both[1]} == {both[2][0].tokens}
    with pytest.raises(UsageError, match="top_k"):
        Sample("a dog", top_k=-1)


def test_top_p_of_one_row_leaves_the_others_alone(model: LocalModel) -> None:
    free = Sample("a dog", n=20, temperature=1.0, max_tokens=5)
    alone = [c.tokens for c in model.sample([free])[0]]
    tight = Sample("a dog", n=20, temperature=1.0, max_tokens=5, top_p=0.01, seed=1)
    both = model.sample([free, tight, Sample("a dog", max_tokens=5)])
    assert [c.tokens for c in both[0]] == alone
    assert {c.tokens for c in both[1]} == {both[2][0].tokens}  # a nucleus of one is greedy


def test_stop_strings_and_max_tokens(model: LocalModel) -> None:
    seeds = [Sample("the quick brown", max_tokens=12, temperature=1.0, seed=s) for s in range(30)]
    rows = [row for (row,) in model.sample(seeds)]
    seed = next(s for s, row in enumerate(rows) if len(set(row.text.split())) >= 6)
    free = rows[seed]
    words = free.text.split()
    cut, short = model.sample(
        [
            Sample("the quick brown", max_tokens=12, temperature=1.0, seed=seed, stop=(words[3],)),
            Sample("the quick brown", max_tokens=3, temperature=1.0, seed=seed),
        ]
    )
    assert cut[0].text == free.text[: free.text.index(words[3])]
    assert cut[0].stop == "stop"
    assert cut[0].tokens == tuple(model.encode(cut[0].text))
    assert short[0].tokens == free.tokens[:3]
    assert short[0].stop == "length"


def test_empty_prompt_starts_from_the_opening_token(model: LocalModel) -> None:
    found = model.sample([Sample("", max_tokens=6), Sample("the old tree", max_tokens=6)])
    assert list(found[0][0].tokens) == _generate(model, "", 6)
    assert model.prompt_ids("") == [1]
    assert model.sample([]) == []


def test_chat_prompts() -> None:
    model = LocalModel(*make_tiny_llama(chat=True), device="cpu")
    chat = (("user", "the fox"),)
    assert model.prompt_ids(chat) == model.encode("user : the fox . assistant :")
    module, tokenizer = make_tiny_llama()
    plain = LocalModel(module, tokenizer, device="cpu")
    assert not plain.chat
    lines = (("user", "the fox"), ("assistant", "it"))
    assert plain.tokenizer.decode(plain.prompt_ids(lines)).split()[-1] == "it"


def test_a_prompt_beyond_the_context_is_refused(model: LocalModel) -> None:
    with pytest.raises(DataError, match=r"60 tokens and 10 new ones exceed the context .*64"):
        model.sample([Sample(_text(60), max_tokens=10)])
    assert model.sample([Sample(_text(60), max_tokens=4)])[0][0].tokens is not None


def test_nan_weights_name_the_text(model: LocalModel) -> None:
    with torch.no_grad():
        next(p for n, p in model.module.named_parameters() if "norm" in n or "ln_f" in n).fill_(
            float("nan")
        )
    with pytest.raises(ModelError, match=r"NaN or infinite logits.*'the lazy fox'"):
        model.score([Score("the lazy fox")])
    for temperature in (0.0, 1.0):
        with pytest.raises(ModelError, match=r"NaN or infinite logits.*'the lazy fox'"):
            model.sample([Sample("the lazy fox", temperature=temperature, max_tokens=5)])


# checkpoints --------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    module, tokenizer = make_tiny_llama(bos=True, chat=True)
    module.save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_folder_round_trip(folder: Path) -> None:
    here = LocalModel(*make_tiny_llama(bos=True, chat=True), device="cpu")
    there = byheart.load(f"hf:{folder}", device="cpu")
    assert there.name == f"hf:{folder}"
    assert there.chat
    assert there.fingerprint == here.fingerprint
    asks = [Score(_text(9)), Score("it sleeps", context=(("user", "the fox"),))]
    for a, b in zip(here.score(asks), there.score(asks), strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-6)
    assert byheart.load(folder, device="cpu").fingerprint == here.fingerprint


def test_dtype(folder: Path) -> None:
    half = byheart.load(f"hf:{folder}", device="cpu", dtype="bfloat16")
    assert next(half.weights.parameters()).dtype == torch.bfloat16
    full = byheart.load(f"hf:{folder}", device="cpu")
    ask = [Score(_text(20))]
    gap = abs(half.score(ask)[0].logprobs - full.score(ask)[0].logprobs)
    assert 0 < gap.max() < 0.5
    with pytest.raises((DataError, UsageError), match="floaty"):
        byheart.load(f"hf:{folder}", device="cpu", dtype="floaty")


def test_module_and_its_tokenizer() -> None:
    module, tokenizer = make_tiny_llama()
    assert byheart.load(module, tokenizer=tokenizer, device="cpu").own_tokens
    with pytest.raises(UsageError, match="tokenizer"):
        byheart.load(module)


def test_pickled_weights_are_not_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"no \.safetensors file; pickled weights"):
        byheart.load(f"hf:{folder}", device="cpu")


def test_missing_and_broken_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model folder"):
        byheart.load(f"hf:{tmp_path / 'nowhere'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no config\.json"):
        byheart.load(f"hf:{tmp_path / 'empty'}")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot load hf:"):
        byheart.load(f"hf:{folder}", device="cpu")


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json"])
def test_broken_json_in_a_folder(folder: Path, missing: str) -> None:
    (folder / missing).write_text("{ not json")
    with pytest.raises(DataError, match="cannot load hf:"):
        byheart.load(f"hf:{folder}", device="cpu")


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"no gguf at all" * 50, b"GGUF\x03\x00\x00\x00" + b"\xff" * 400]
)
def test_broken_gguf_file(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = tmp_path / "broken.gguf"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.gguf is no GGUF file"):
        byheart.load(f"gguf:{file}")
    with pytest.raises(DataError, match="there is no file"):
        byheart.load(f"gguf:{tmp_path / 'none.gguf'}")


@pytest.fixture
def adapter(folder: Path) -> tuple[Path, Any]:
    import peft

    module, _ = make_tiny_llama(bos=True, chat=True)
    module.config._name_or_path = str(folder)
    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    tuned = peft.get_peft_model(module, config).eval()
    tuned.peft_config["default"].base_model_name_or_path = str(folder)
    tuned.save_pretrained(folder.parent / "adapter")
    return folder.parent / "adapter", tuned


def test_adapter_folder(adapter: tuple[Path, Any], folder: Path) -> None:
    path, tuned = adapter
    loaded = byheart.load(f"hf:{path}", device="cpu")
    base = byheart.load(f"hf:{folder}", device="cpu")
    ids = loaded.prompt_ids(_text(12))
    with torch.no_grad():
        logp = torch.log_softmax(tuned(input_ids=torch.tensor([ids])).logits[0], -1)
    expected = [float(logp[t - 1, ids[t]]) for t in range(1, len(ids))]
    scored = loaded.score([Score(_text(12))])[0]
    np.testing.assert_allclose(scored.logprobs, expected, atol=1e-4)
    assert abs(scored.logprobs - base.score([Score(_text(12))])[0].logprobs).max() > 0.01
    assert loaded.fingerprint != base.fingerprint
    found = loaded.sample([Sample("the fox", max_tokens=8), Sample("a", max_tokens=8)])
    assert list(found[0][0].tokens) == _generate(loaded, "the fox", 8)


def test_broken_adapters(adapter: tuple[Path, Any]) -> None:
    path, _ = adapter
    settings = path / "adapter_config.json"
    good = settings.read_text()
    settings.write_text(json.dumps({"peft_type": "LORA"}))
    with pytest.raises(DataError, match="names no base model"):
        byheart.load(f"hf:{path}", device="cpu")
    settings.write_text(good)
    (path / "adapter_model.safetensors").unlink()
    with pytest.raises(DataError, match="pickles are not loaded"):
        byheart.load(f"hf:{path}", device="cpu")
    shutil.rmtree(path)


def test_prompt_learning_adapters_are_refused(llama: LocalModel) -> None:
    """Virtual tokens would shift every position: better no number than a wrong one."""
    import peft

    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    with pytest.raises(UsageError, match="virtual tokens"):
        LocalModel(peft.get_peft_model(llama.module, config), llama.tokenizer, device="cpu")


def test_fingerprint_follows_the_weights(model: LocalModel) -> None:
    before = model.fingerprint
    assert before == model.fingerprint
    for p in model.module.parameters():  # one number of any parameter is enough
        with torch.no_grad():
            p.view(-1)[p.numel() // 2 + 1] += 0.01
        after = model.fingerprint
        assert after != before
        before = after


# the embedded model -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_embedded_model(smollm2: LocalModel) -> None:
    text = "The cat sat on the mat, and the dog lay beside it. " * 3
    asks = [Score(text), Score("Paris", context="The capital of France is "), Score("a b c d e")]
    batched = smollm2.score(asks)
    ids = smollm2.prompt_ids(text)
    np.testing.assert_allclose(
        batched[0].logprobs, _plain_logprobs(smollm2, ids, len(ids) - len(batched[0].tokens)),
        atol=2e-3,
    )  # fmt: skip
    chat = (("user", "What is the capital of France?"),)
    answers = smollm2.sample(
        [Sample(chat, max_tokens=24), Sample("Once upon a time", max_tokens=24)]
    )
    assert "Paris" in answers[0][0].text
    expected = smollm2.module.generate(
        torch.tensor([smollm2.prompt_ids("Once upon a time")]), do_sample=False, max_new_tokens=24
    )[0, len(smollm2.prompt_ids("Once upon a time")) :]
    assert list(answers[1][0].tokens) == expected.tolist()[: len(answers[1][0].tokens)]
    drawn = Sample(chat, n=2, temperature=1.0, max_tokens=10, seed=1)
    alone = smollm2.sample([drawn])[0]
    among = smollm2.sample([Sample("Once", max_tokens=12), drawn])[1]
    assert [c.tokens for c in alone] == [c.tokens for c in among]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_same_ask_is_decoded_once(
    llama: LocalModel, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    """Games that open with the same words would otherwise cost their number."""
    from byheart.core import _decode

    rows: list[int] = []
    real = _decode._run

    def counted(model, group, ends):  # type: ignore[no-untyped-def]
        rows.append(len(group))
        return real(model, group, ends)

    ask = Sample("the quick brown", n=2, max_tokens=5, temperature=temperature)
    other = Sample("the lazy dog", max_tokens=5, temperature=temperature)
    alone = [llama.sample([a])[0] for a in (ask, other)]
    monkeypatch.setattr(_decode, "_run", counted)
    ticks: list[int] = []
    out = llama.sample([ask, other, ask, ask], progress=ticks.append)
    assert [out[0], out[1], out[2], out[3]] == [alone[0], alone[1], alone[0], alone[0]]
    assert sum(rows) == 3
    assert sum(ticks) == 4
    out[0].clear()
    assert out[2]  # no list is shared
