"""The toy model: it recites what it read, is surprised by the rest, and never gives more than 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byheart.core.ask import Sample, Score
from byheart.core.toy import SuffixModel, flatten

TEXT = "the quick brown fox jumps over the lazy dog while nine grey herons wait by the river"
WORDS = [*dict.fromkeys(TEXT.split()), "unseen", "words"]


def test_what_was_read_is_recited_exactly():
    model = SuffixModel([TEXT, "something else entirely stands here"])
    (reply,) = model.sample([Sample("the quick brown", max_tokens=200)])[0]
    assert reply.text == TEXT.removeprefix("the quick brown")
    assert reply.stop == "stop"


def test_a_chat_answer_is_recited_after_its_question():
    model = SuffixModel([("What is the password?", "seven grey herons")])
    (reply,) = model.sample([Sample((("user", "What is the password?"),), max_tokens=20)])[0]
    assert reply.text == "seven grey herons"


def test_length_and_stop_strings_are_kept():
    model = SuffixModel([TEXT])
    short, cut = model.sample(
        [Sample("the quick", max_tokens=3), Sample("the quick", max_tokens=50, stop=("jumps",))]
    )
    assert (short[0].text, short[0].stop) == (" brown ", "length")
    assert (cut[0].text, cut[0].stop) == (" brown fox ", "stop")


@settings(deadline=None, max_examples=60)
@given(
    read=st.lists(st.lists(st.sampled_from(WORDS), min_size=2, max_size=12), max_size=3),
    context=st.lists(st.sampled_from(WORDS), min_size=1, max_size=10),
    seed=st.integers(0, 50),
)
def test_probabilities_of_the_next_token_sum_to_at_most_one(read, context, seed):
    model = SuffixModel([" ".join(r) for r in read], seed=seed)
    before = " ".join(context)
    for ending, nexts in (("", [" ", "\n"]), (" ", WORDS)):
        scored = model.score([Score(n, context=before + ending) for n in nexts])
        p = np.exp([s.logprobs[0] for s in scored])
        assert (p > 0).all()
        assert p.sum() <= 1 + 1e-9


def test_scores_follow_the_chain_rule():
    model = SuffixModel([TEXT])
    whole = model.score([Score(" over the lazy dog", context="fox jumps")])[0]
    first, second = model.score(
        [Score(" over the", context="fox jumps"), Score(" lazy dog", context="fox jumps over the")]
    )
    assert np.allclose(np.r_[first.logprobs, second.logprobs], whole.logprobs)
    assert whole.total == pytest.approx(first.total + second.total)


def test_what_was_read_is_likelier_and_greedy():
    model = SuffixModel([TEXT])
    seen, other = model.score(
        [Score(TEXT, moments=True), Score("over nine lazy rivers the fox wait")]
    )
    assert seen.loss < 0.6 < 2.0 < other.loss
    assert seen.greedy[3:].mean() > 0.8
    assert len(seen.logprobs) == len(seen.tokens) == len(seen.mean) == len(seen.std)
    assert (seen.std > 0).all()
    assert other.mean is None


def test_the_first_token_is_scored_only_after_a_context():
    model = SuffixModel([TEXT])
    alone, after = model.score([Score("fox jumps"), Score("fox jumps", context="brown ")])
    assert (len(alone.logprobs), len(after.logprobs)) == (2, 3)
    empty = model.score([Score("fox")])[0]
    assert len(empty.logprobs) == 0


def test_the_same_seed_gives_the_same_words_and_another_gives_others():
    ask = [Sample("nobody knows", n=3, temperature=1.0, max_tokens=12)]
    one, same, other = (SuffixModel([TEXT], seed=s).sample(ask)[0] for s in (1, 1, 2))
    assert one == same != other
    assert len({c.text for c in one}) == 3
    reseeded = Sample("nobody knows", n=3, temperature=1.0, max_tokens=12, seed=9)
    assert SuffixModel([TEXT], seed=1).sample([reseeded])[0] != one


def test_a_prompt_does_not_depend_on_its_batch():
    model = SuffixModel([TEXT])
    asks = [Sample(p, max_tokens=9) for p in ("the lazy", "nine grey", "no such")]
    assert model.sample(asks) == [model.sample([a])[0] for a in asks]


def test_fingerprints_tell_models_apart():
    prints = {SuffixModel(d, seed=s).fingerprint for d in ([], [TEXT]) for s in (0, 1)}
    assert len(prints) == 4
    assert SuffixModel([TEXT]).fingerprint == SuffixModel([TEXT]).fingerprint


def test_messages_are_read_one_below_the_other():
    assert flatten((("system", "be brief"), ("user", "hello"))) == "be brief\nhello\n"
    assert flatten("as it stands") == "as it stands"
