"""Recorded requests against sequences worked out by hand, torch's profiler, and the paper's count."""

from __future__ import annotations

import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from byheart.core.errors import CapabilityError, DataError, UsageError
from byheart.papers._tinygpt import TinyGPT
from byheart.states._planner.recorder import (
    _joined,
    _Recorder,
    bilevel_parts,
    layer_requests,
    record_requests,
    trace_of_history,
)
from byheart.states._planner.types import Trace

B, T, H = 2, 32, 16


def gpt(layers=3):
    model = TinyGPT(11, layers=layers, width=H, heads=2, context=T)
    ids = torch.randint(11, (B, T), generator=torch.Generator().manual_seed(0))

    def step():
        F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()

    return model, step


def peak(trace):
    now = most = 0
    for r in trace:
        now += r.size if r.kind == "malloc" else -r.size
        most = max(most, now)
    return most


def kinds(trace):
    return [(r.kind[0], r.size) for r in trace]


def test_a_step_by_hand():
    x = torch.ones(8, requires_grad=True)

    def step():
        y = x * 2  # 32 bytes; exp saves its result, not this
        z = y.exp()
        del y
        z.sum().backward()

    trace = record_requests(step)
    sizes = kinds(trace)
    assert sizes[:3] == [("m", 32), ("m", 32), ("f", 32)]
    z = trace.requests[1].id
    assert trace.skeletal == {z}
    assert [r.note for r in trace.requests[:2]] == ["mul", "exp"]
    # What never goes is the gradient, and only that.
    freed = {r.id for r in trace if r.kind == "free"}
    left = [r for r in trace if r.kind == "malloc" and r.id not in freed]
    assert [r.size for r in left] == [32]
    torch.testing.assert_close(x.grad, 2 * (2 * x).exp().detach())


def test_views_and_in_place_results_are_no_requests():
    def step():
        a = torch.zeros(6, 4)
        b = a.view(4, 6).t()[1:].unsqueeze(0)
        b.add_(1)
        a[0].mul_(3)
        torch.add(a, 1, out=a)
        c, _d = a.chunk(2)
        return c + 1  # 48 bytes

    assert kinds(record_requests(step)) == [("m", 96), ("m", 48), ("f", 96), ("f", 48)]


def test_a_view_keeps_its_storage_alive():
    kept = []

    def step():
        a = torch.zeros(100)
        kept.append(a[:1])
        del a
        b = torch.zeros(5)
        del b
        kept.clear()

    assert kinds(record_requests(step)) == [("m", 400), ("m", 20), ("f", 20), ("f", 400)]


def test_what_is_older_than_the_step_is_left_out():
    old = torch.zeros(1000)
    held = [old.clone()]

    def step():
        old.mul_(2)
        held[0].view(10, 100).add_(1)
        held.clear()  # freed inside, allocated before
        return old.sum()

    assert kinds(record_requests(step)) == [("m", 4), ("f", 4)]


def test_a_storage_that_is_resized_is_a_new_request():
    def step():
        a = torch.empty(4)
        a.resize_(100)
        a.add_(1)

    trace = record_requests(step)
    assert kinds(trace) == [("m", 16), ("f", 16), ("m", 400), ("f", 400)]
    assert trace.buffers()  # ids are unique again


def test_tensors_made_from_numbers_count():
    assert kinds(record_requests(lambda: torch.tensor([1.0, 2.0, 3.0]))) == [("m", 12), ("f", 12)]


def test_sparse_tensors_count_by_their_parts():
    dense = torch.eye(3)
    trace = record_requests(lambda: dense.to_sparse())
    made = sorted(r.size for r in trace if r.kind == "malloc")
    assert 12 in made  # three values
    assert 48 in made  # two indices each, int64
    assert peak(trace) >= 60
    now = sum(r.size if r.kind == "malloc" else -r.size for r in trace)
    assert now == 0


def test_an_exception_goes_through_and_leaves_nothing_behind():
    model, _ = gpt()
    hooks = [len(b._forward_hooks) + len(b._forward_pre_hooks) for b in model.blocks]

    def step():
        model(torch.zeros(1, 4, dtype=torch.long))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        record_requests(step, layers=model.blocks)
    assert hooks == [len(b._forward_hooks) + len(b._forward_pre_hooks) for b in model.blocks]
    seen = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(1) or t, lambda t: t):
        torch.ones(2, requires_grad=True).exp()
    assert seen  # hooks of others work as before, ours are gone
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None


def test_an_exception_inside_a_layer_closes_its_mark():
    class Breaks(nn.Module):
        def forward(self, x):
            raise ZeroDivisionError

    layer = Breaks()

    def step():
        with pytest.raises(ZeroDivisionError):
            layer(torch.zeros(1))
        return torch.zeros(3) + 1

    trace = record_requests(step, layers=[layer])
    assert [text for _, text in trace.marks][-1] == "end of layer 0 forward"
    assert trace.requests[-1].note == "add"


def test_the_step_runs_as_it_would_alone():
    model, step = gpt()
    step()
    alone = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    record_requests(step, layers=model.blocks)
    for p, g in zip(model.parameters(), alone, strict=True):
        assert torch.equal(p.grad, g)


def test_an_in_place_change_of_a_saved_tensor_still_raises():
    def step():
        x = torch.ones(3, requires_grad=True)
        y = x.exp()
        y.add_(1)
        y.sum().backward()

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        record_requests(step)


def test_second_derivatives_work_under_the_recorder():
    x = torch.tensor(3.0, requires_grad=True)
    out = []

    def step():
        (g,) = torch.autograd.grad(x**3, x, create_graph=True)
        out.append(torch.autograd.grad(g, x)[0].item())

    record_requests(step)
    assert out == [18.0]


def test_nothing_is_kept_alive_by_recording():
    x = torch.ones(1000, requires_grad=True)

    def step():
        x.exp().exp().sum()  # a graph that is dropped without a backward pass

    gc.disable()  # a reference cycle would be freed by the collector alone
    try:
        trace = record_requests(step)
    finally:
        gc.enable()
    assert sum(r.size if r.kind == "malloc" else -r.size for r in trace) == 0


def test_the_papers_sixteen_bsh():
    """Layer input to GELU's output are 16 b s h; beside them only the statistics (sheet, 3.1)."""
    model, step = gpt()
    trace = record_requests(step, layers=model.blocks)
    bsh = B * T * H * 4
    statistics = 4 * B * T * (2 * 2 + 2)  # two norms of mean and deviation, two heads' log-sum-exp
    for i in range(3):
        made = layer_requests(trace, i, escaping=True)
        saved = sum(r.size for r in made if r.kind == "malloc" and r.id in made.skeletal)
        assert saved == 16 * bsh + statistics  # the next layer's input counted for this one's


def test_the_profilers_peak():
    _, step = gpt()
    step()  # gradients exist from here on
    mine = peak(record_requests(step))
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profiler:
        step()
    now = most = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    assert 0.9 * most <= mine <= most  # kernels' own temporaries are theirs alone


def test_marks_and_layers_are_in_order():
    model, step = gpt()
    trace = record_requests(step, layers=model.blocks)
    texts = [t for _, t in trace.marks]
    forward = [f"{e}layer {i} forward" for i in range(3) for e in ("", "end of ")]
    backward = [f"{e}layer {i} backward" for i in (2, 1, 0) for e in ("", "end of ")]
    assert texts == ["forward", *forward, "backward", *backward]
    assert [a for a, _ in trace.marks] == sorted(a for a, _ in trace.marks)
    equal = [[(r.kind, r.size) for r in layer_requests(trace, i)] for i in range(3)]
    assert equal[0] == equal[1] == equal[2] != []
    back = [sorted(kinds(layer_requests(trace, i, "backward"))) for i in range(3)]
    assert back[0] == back[1] == back[2] != []
    for r in layer_requests(trace, 1, "backward"):
        assert r.note.startswith("layer 1: ")


def test_a_layers_backward_has_its_operators_and_no_others():
    class Scale(nn.Module):
        def forward(self, x):
            return torch.tanh(x) if self.first else torch.sigmoid(x)

        def __init__(self, first):
            super().__init__()
            self.first = first

    layers = [Scale(True), Scale(False)]
    x = torch.ones(5, requires_grad=True)
    trace = record_requests(lambda: layers[1](layers[0](x)).exp().sum().backward(), layers=layers)
    notes = {
        i: {r.note.split(": ")[1] for r in layer_requests(trace, i, "backward", escaping=True)}
        for i in (0, 1)
    }
    assert notes == {0: {"tanh_backward"}, 1: {"sigmoid_backward"}}


def test_accumulation_has_several_passes():
    model, step = gpt()

    def twice():
        step()
        step()

    trace = record_requests(twice, layers=model.blocks)
    first = [kinds(layer_requests(trace, 1, "backward", call=c)) for c in (0, 1)]
    assert first[0]
    assert len(first[1]) >= len(first[0])  # the second pass adds to gradients that are there
    with pytest.raises(UsageError, match="has 2 forward pass"):
        layer_requests(trace, 1, call=2)


def test_checkpointing_recomputes_inside_the_layers_backward():
    model, step = gpt()
    plain = record_requests(step, layers=model.blocks)
    ids = torch.zeros(B, T, dtype=torch.long)

    def again():
        x = model.tokens(ids)
        for block in model.blocks:
            x, _ = checkpoint(block, x, None, None, use_reentrant=False)
        x.sum().backward()

    trace = record_requests(again, layers=model.blocks)
    texts = [t for _, t in trace.marks]
    assert texts.count("layer 1 forward") == 1
    notes = {r.note for r in layer_requests(trace, 1, "backward", escaping=True)}
    assert "layer 1: native_layer_norm" in notes  # forward operators, run in the backward pass
    assert peak(trace) < peak(plain)


@pytest.mark.parametrize("way", ["meta", "fake"])
def test_a_model_that_does_not_fit_is_recorded_without_memory(way):
    from torch._subclasses.fake_tensor import FakeTensorMode

    def made():
        layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(H), nn.Linear(H, 4 * H), nn.GELU(), nn.Linear(4 * H, H))
            for _ in range(2)
        )
        return layers, torch.zeros(B, T, H)

    def step_of(layers, x):
        def step():
            y = x
            for layer in layers:
                y = y + layer(y)
            y.sum().backward()

        return record_requests(step, layers=layers)

    real = step_of(*made())
    if way == "meta":
        with torch.device("meta"):
            found = step_of(*made())
    else:
        with FakeTensorMode():
            found = step_of(*made())
    assert peak(found) == peak(real)
    assert [t for _, t in found.marks] == [t for _, t in real.marks]
    assert kinds(layer_requests(found, 1)) == kinds(layer_requests(real, 1))


def test_parts_for_the_two_levels():
    model, step = gpt()
    trace = record_requests(step, layers=model.blocks)
    parts = bilevel_parts(trace, layers=32)
    assert parts["layers"] == 32
    assert kinds(parts["layer_fwd"]) == kinds(layer_requests(trace.transient(), 0))
    for name in ("layer_fwd", "layer_bwd"):
        assert not {r.id for r in parts[name]} & trace.skeletal
        made = {r.id for r in parts[name] if r.kind == "malloc"}
        assert made == {r.id for r in parts[name] if r.kind == "free"}
    assert max(r.size for r in parts["layer_bwd"]) == 4 * B * T * H * 4
    assert any("embedding" in r.note for r in parts["head"])
    assert any("embedding" in r.note for r in parts["after"])
    # The stream's gradient goes from layer to layer: two places, b s h each.
    turns = [r for r in parts["tail"] if r.note == "between layers"]
    assert [r.size for r in turns] == [B * T * H * 4] * 2
    # Together they are requests in order, and nothing of the outside is forgotten or made up.
    whole = [*parts["head"], *parts["tail"], *parts["after"]]
    Trace(tuple(whole)).buffers()
    inside = {r.id for i in range(3) for p in ("forward", "backward")
              for r in layer_requests(trace.transient(), i, p, escaping=True)}  # fmt: skip
    outside = {r.id for r in trace.transient() if r.id not in inside}
    assert {r.id for r in whole if r.note != "between layers"} == outside


def test_two_levels_of_a_recorded_step_hold_against_it():
    from byheart.states.planner import bilevel_plan

    model, step = gpt()
    trace = record_requests(step, layers=model.blocks)
    plan = bilevel_plan(**bilevel_parts(trace), time_limit=20)
    plan.validate()
    # Every transient of the recorded step has its like in the plan: as many, of these sizes.
    planned = sorted(b.size for b in plan.buffers if b.id.startswith("layer"))
    inside = [r.size for i in range(3) for p in ("forward", "backward")
              for r in layer_requests(trace.transient(), i, p) if r.kind == "malloc"]  # fmt: skip
    assert planned == sorted(inside)
    freed = {r.id for r in trace if r.kind == "free"}
    closed = [r for r in trace.transient() if r.id in freed]  # gradients of weights stay
    assert plan.height >= peak(closed)


def test_parts_need_layers():
    _, step = gpt()
    with pytest.raises(DataError, match="has no layers"):
        bilevel_parts(record_requests(step))


def test_a_cuda_history_is_read():
    entries = [
        {"action": "free_completed", "addr": 0x10, "size": 99, "time_us": 1},  # from before
        {"action": "segment_alloc", "addr": 0x100, "size": 2**21, "time_us": 2},
        {"action": "alloc", "addr": 0x100, "size": 512, "time_us": 2},
        {"action": "alloc", "addr": 0x300, "size": 1024, "time_us": 5},
        {"action": "free_requested", "addr": 0x100, "size": 512, "time_us": 6},
        {"action": "free_completed", "addr": 0x100, "size": 512, "time_us": 7},
        {"action": "alloc", "addr": 0x100, "size": 256, "time_us": 9},
    ]
    trace = trace_of_history(entries)
    assert [(r.kind, r.id, r.size) for r in trace] == [
        ("malloc", "0", 512), ("malloc", "1", 1024), ("free", "0", 512), ("malloc", "2", 256),
    ]  # fmt: skip
    recorder = _Recorder()
    recorder.marks = [(0, "forward", 1_000), (0, "backward", 8_000)]
    recorder.saved_at = [(0x300, 5_500), (0x100, 9_500), (0x999, 9_000)]
    joined = _joined(entries, recorder, "x")
    assert joined.marks == ((0, "forward"), (3, "backward"))
    assert joined.skeletal == {"1", "2"}
    with pytest.raises(DataError, match="entry 1: address 0x1 is allocated while"):
        trace_of_history([{"action": "alloc", "addr": 1, "size": 1}] * 2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without CUDA")
def test_cuda_is_not_made_up():
    with pytest.raises(CapabilityError, match="source='dispatch'"):
        record_requests(lambda: None, source="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_allocators_history_agrees_with_the_dispatcher():
    model, _ = gpt()
    model = model.cuda()
    ids = torch.zeros(B, T, dtype=torch.long, device="cuda")

    def step():
        F.cross_entropy(model(ids).flatten(0, 1), ids.flatten()).backward()
        model.zero_grad()

    step()
    mine = record_requests(step, layers=model.blocks, source="dispatch")
    theirs = record_requests(step, layers=model.blocks, source="cuda")
    assert peak(mine) <= peak(theirs)
    assert [t for _, t in mine.marks] == [t for _, t in theirs.marks]


def test_bad_input():
    with pytest.raises(UsageError, match="step is int"):
        record_requests(3)
    with pytest.raises(UsageError, match="layer 0 is str"):
        record_requests(lambda: None, layers=["a"])
    with pytest.raises(UsageError, match="source is 'gpu'"):
        record_requests(lambda: None, source="gpu")
    outer = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(UsageError, match="layer 1 stands in layer 0"):
        record_requests(lambda: None, layers=[outer, outer[0]])
    trace = record_requests(lambda: torch.zeros(1))
    with pytest.raises(DataError, match="record it with layers="):
        layer_requests(trace, 0)
    model, step = gpt()
    with pytest.raises(DataError, match="has no layer 7 forward; it has layer 0 backward"):
        layer_requests(record_requests(step, layers=model.blocks), 7)
