"""Think-in-Memory's oracles: idempotent, order-free, nothing lost (sheet, section 8)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thought_samples import letters, likes, lives, texts

from byheart.notes._thought import Thought, contradicts, key_of, norm_tail
from byheart.notes._thought_ops import (
    forget_by_triples,
    merge_by_triples,
    merge_fault,
)
from byheart.notes.thoughts import ThoughtMemory

NAMES, CITIES, HOBBIES = ("Ana", "Ben", "Cleo"), ("Rome", "Bern", "Oslo"), ("chess", "tea", "golf")
facts = st.one_of(
    st.builds(lives, st.sampled_from(CITIES), st.none(), st.sampled_from(NAMES)),
    st.builds(likes, st.sampled_from(HOBBIES), st.sampled_from(NAMES)),
)
some = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def triples_of(thoughts):
    return Counter(
        (*key_of(t), norm_tail(t[2])) for x in thoughts for t in x.triples if not x.negated
    )


@some
@given(told=st.lists(facts, max_size=6))
def test_insert_is_idempotent(tmp_path_factory, told):
    with ThoughtMemory(tmp_path_factory.mktemp("t") / "m.db", encoder=letters) as memory:
        memory.insert(told)
        before = texts(memory)
        last = {key_of(t.triples[0]): t for t in told if t.single}
        again = [t.but() for t in told if not t.single or last[key_of(t.triples[0])] is t]
        receipt = memory.insert(again)
        assert receipt.inserted == ()
        assert texts(memory) == before


@some
@given(told=st.lists(facts, max_size=6, unique_by=lambda t: t.text), seed=st.integers(0, 99))
def test_the_order_of_independent_inserts_does_not_matter(tmp_path_factory, told, seed):
    apart = list({key_of(t.triples[0]): t for t in told if t.single}.values())
    apart += [t for t in told if not t.single]
    states = []
    for turn in range(2):
        mixed = [t.but() for t in apart]
        np.random.default_rng(seed + turn).shuffle(mixed)
        with ThoughtMemory(tmp_path_factory.mktemp("t") / "m.db", encoder=letters) as memory:
            for t in mixed:
                memory.insert([t])
            states.append(triples_of(memory.thoughts()))
    assert states[0] == states[1]
    assert states[0] == triples_of(apart)


@given(group=st.lists(facts, max_size=8, unique_by=lambda t: t.text))
def test_merge_preserves_the_triples(group):
    before = triples_of(group)
    (merges,) = merge_by_triples([group])
    taken = [n for m in merges for n in m.numbers]
    assert len(set(taken)) == len(taken)
    after = [t for n, t in enumerate(group) if n not in taken]
    for m in merges:
        inputs = [group[n] for n in m.numbers]
        assert merge_fault(inputs, m.text) == ""
        joined = tuple(t for i in inputs for t in i.triples)
        after.append(Thought(m.text, *joined[0], triples=joined))
    assert triples_of(after) == before


@some
@given(told=st.lists(facts, max_size=8))
def test_forget_never_removes_what_contradicts_nothing(tmp_path_factory, told):
    alone = [t for t in told if not any(contradicts(o, t) or contradicts(t, o) for o in told)]
    (found,) = forget_by_triples([told])
    assert {told[f.number].text for f in found}.isdisjoint(t.text for t in alone)
    assert all(contradicts(told[f.against], told[f.number]) for f in found)
    with ThoughtMemory(tmp_path_factory.mktemp("t") / "m.db", encoder=letters) as memory:
        for t in told:
            memory.insert([t])
        kept = triples_of(memory.thoughts())
        for t in alone:
            assert kept[(*key_of(t.triples[0]), norm_tail(t.tail))] == 1


@some
@given(told=st.lists(st.lists(facts, min_size=1, max_size=3), min_size=1, max_size=5))
def test_the_log_replayed_gives_the_same_state(tmp_path_factory, told):
    path = tmp_path_factory.mktemp("t") / "m.db"
    with ThoughtMemory(path, encoder=letters, groups=8) as memory:
        for turn in told:
            memory.insert(turn)
        before = (
            texts(memory),
            [(h.item.content, h.score) for h in memory.recall("Ana lives", k=9, probes=8)],
        )
        memory.memory.rebuild()
        assert texts(memory) == before[0]
    with ThoughtMemory(path, encoder=letters, groups=8) as memory:
        assert texts(memory) == before[0]
        hits = memory.recall("Ana lives", k=9, probes=8)
        assert [(h.item.content, pytest.approx(h.score)) for h in hits] == before[1]
        assert memory.memory.check() == []


def test_the_order_check_can_fail():
    """The oracle of the properties above sees a lost and a doubled triple."""
    told = [likes("chess"), likes("tea")]
    assert triples_of(told) != triples_of(told[:1])
    assert triples_of(told) != triples_of([*told, told[0]])
