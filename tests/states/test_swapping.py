"""Swapped and recomputed activations: gradients against plain autograd, in float64 on odd shapes."""

from __future__ import annotations

import gc
import random
import threading
import time

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from byheart.core.errors import BudgetExceeded, ModelError, UsageError  # noqa: E402
from byheart.states._swapping import streams  # noqa: E402
from byheart.states._swapping.host import HostPool  # noqa: E402
from byheart.states.planner import split_activations  # noqa: E402
from byheart.states.swapping import (  # noqa: E402
    ActivationSwapper,
    RoundingBuffers,
    find_blocks,
    offload_activations,
)

GIB = 1 << 30


class Block(nn.Module):
    """A decoder block as the paper counts one: sixteen times b s h elements for the backward pass."""

    def __init__(self, width=24, heads=4, dropout=0.0):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        b, s, h = x.shape
        y = self.one(x)
        q, k, v = (
            f(y).view(b, s, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.dropout(self.o(a.transpose(1, 2).reshape(b, s, h)), self.dropout, self.training)
        return x + F.dropout(self.down(F.gelu(self.up(self.two(x)))), self.dropout, self.training)


def stack(n=6, block=Block, **settings):
    torch.manual_seed(1)
    return nn.Sequential(*(block(**settings) for _ in range(n))).double()


def given(*shape, seed=2):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients(model, x, backward=None):
    model.zero_grad()
    x = x.clone().requires_grad_(True)
    torch.manual_seed(9)
    y = model(x)
    loss = y.square().sum()
    (backward or torch.Tensor.backward)(loss)
    return [loss.detach(), x.grad, *(p.grad.clone() for p in model.parameters())]


def same(a, b, exact=True):
    for one, two in zip(a, b, strict=True):
        if exact:
            assert torch.equal(one, two)
        else:
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("alpha", [0, 0.3, 0.77, 1])
@pytest.mark.parametrize("shape", [(1, 37, 24), (3, 29, 24), (2, 24, 24), (2, 96, 24), (1, 1, 24)])
def test_gradients_are_those_of_the_plain_run(alpha, shape):
    """Also where the number of tokens equals the width, so that dimensions look alike."""
    model, x = stack(), given(*shape)
    plain = gradients(model, x)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB) as swapper:
        for _ in range(2):
            same(plain, gradients(model, x), exact=alpha == 1)
    assert swapper.stats.passes == 8
    assert (swapper.stats.dropped_bytes > 0) == (alpha < 1 and shape[1] > 1)
    assert swapper.stats.overflows == 0
    same(plain, gradients(model, x))  # nothing is left behind


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_saved_bytes_fall_as_the_paper_counts_them(alpha):
    b, s, h = 2, 200, 24
    with offload_activations(stack(3), alpha=alpha, cpu_bytes=GIB) as swapper:
        gradients_of = given(b, s, h).requires_grad_(True)
        swapper.blocks[0](gradients_of).sum().backward()
    stats = swapper.stats
    unit = b * s * h * 8
    # beside the sixteen: mean and deviation of two norms, and attention's log-sum-exp
    small = stats.saved_bytes - 16 * unit
    assert 0 <= small <= b * s * (4 + 4) * 8
    assert abs(stats.swapped_bytes - (2 + 14 * alpha) * unit) <= small
    assert stats.saved_bytes == stats.swapped_bytes + stats.dropped_bytes


@pytest.mark.parametrize("alpha", [0, 0.4, 1])
def test_dropout_draws_the_same_numbers(alpha):
    model, x = stack(dropout=0.3).train(), given(2, 31, 24)
    plain = gradients(model, x)
    torch.manual_seed(9)
    model(x)
    after = torch.rand(3)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB) as swapper:
        same(plain, gradients(model, x), exact=alpha == 1)
        torch.manual_seed(9)
        model(x).sum().backward()
        assert torch.equal(after, torch.rand(3))  # randomness stands where it would stand
    assert swapper.stats.whole_blocks == ()


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_copies_that_come_late_change_nothing(alpha, monkeypatch):
    r = random.Random(3)
    real = streams.copy

    def late(to, source):
        time.sleep(r.choice([0, 0, 0.002, 0.01]))
        real(to, source)

    model, x = stack(), given(2, 33, 24)
    plain = gradients(model, x)
    monkeypatch.setattr(streams, "copy", late)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB):
        for _ in range(3):
            same(plain, gradients(model, x), exact=alpha == 1)


def test_without_waiting_the_late_copies_would_show(monkeypatch):
    """The test above can fail: with waiting taken out, gradients are wrong."""
    real = streams.copy
    model, x = stack(), given(2, 33, 24)
    plain = gradients(model, x)
    monkeypatch.setattr(streams, "copy", lambda to, source: (time.sleep(0.01), real(to, source)))
    monkeypatch.setattr(streams._Thread, "wait", lambda self: None)
    with offload_activations(model, alpha=1.0, cpu_bytes=GIB):
        wrong = gradients(model, x)
    assert not all(torch.equal(a, b) for a, b in zip(plain, wrong, strict=True))


def test_several_passes_before_one_backward():
    model = stack()
    xs = [given(1, n, 24, seed=n) for n in (20, 31, 7)]

    def together():
        model.zero_grad()
        sum(model(x).square().mean() for x in xs).backward()
        return [p.grad.clone() for p in model.parameters()]

    plain = together()
    with offload_activations(model, alpha=0.5, cpu_bytes=GIB):
        same(plain, together(), exact=False)
        same(plain, together(), exact=False)


def test_accumulated_gradients():
    model = stack()
    xs = [given(2, 20, 24, seed=n) for n in range(3)]

    def accumulated():
        model.zero_grad()
        for x in xs:
            model(x).square().mean().backward()
        return [p.grad.clone() for p in model.parameters()]

    plain = accumulated()
    with offload_activations(model, alpha=1.0, cpu_bytes=GIB):
        same(plain, accumulated())


def test_a_graph_that_is_kept_is_walked_twice():
    model, x = stack(), given(2, 20, 24)

    def twice(loss):
        loss.backward(retain_graph=True)
        loss.backward()

    plain = gradients(model, x, twice)
    for alpha in (0.4, 1):
        with offload_activations(model, alpha=alpha, cpu_bytes=GIB):
            same(plain, gradients(model, x, twice), exact=alpha == 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alpha", [0.4, 1])
def test_autocast(dtype, alpha):
    model, x = stack().float(), given(2, 33, 24).float()

    def cast(model, x):
        model.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            loss = model(x).float().square().mean()
        loss.backward()
        return [p.grad.clone() for p in model.parameters()]

    plain = cast(model, x)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB) as swapper:
        got = cast(model, x)
    if alpha == 1:
        same(plain, got)
    else:
        for a, b in zip(plain, got, strict=True):
            # a gradient that is zero but for rounding (k's bias) is as large as its rounding
            torch.testing.assert_close(a, b, rtol=3e-2, atol=max(3e-2 * float(a.abs().max()), 1e-5))
    assert swapper.stats.whole_blocks == ()


class Mixer(nn.Module):
    """Mixes tokens without attention: it cannot be run on some of them."""

    def __init__(self, width=24):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        return x + self.out(torch.tanh(self.conv(x.transpose(1, 2)).transpose(1, 2)))


class Eager(Block):
    """Attention written out."""

    def forward(self, x):
        b, s, h = x.shape
        y = self.one(x)
        q, k, v = (
            f(y).view(b, s, self.heads, -1).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        a = ((q @ k.transpose(2, 3)) / (h // self.heads) ** 0.5).softmax(-1) @ v
        x = x + self.o(a.transpose(1, 2).reshape(b, s, h))
        return x + self.down(F.gelu(self.up(self.two(x))))


class Both(Block):
    """Real attention, and a shift of tokens that a second pass over some of them cannot see."""

    def forward(self, x):
        return super().forward(x) + torch.tanh(F.pad(x, (0, 0, 1, 0))[:, :-1])


@pytest.mark.parametrize("kind", [Mixer, Eager, Both])
@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_blocks_that_mix_tokens_are_run_again_as_a_whole(kind, alpha):
    model, x = stack(block=kind), given(2, 33, 24)
    plain = gradients(model, x)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB) as swapper:
        for _ in range(2):
            same(plain, gradients(model, x))  # the same kernels on the same shapes
    assert swapper.stats.whole_blocks == (() if alpha == 1 else (0, 1, 2, 3))


def test_unchecked_the_mixing_would_show():
    model, x = stack(block=Both), given(2, 33, 24)
    plain = gradients(model, x)
    with offload_activations(model, alpha=0.5, cpu_bytes=GIB, check=False):
        wrong = gradients(model, x)
    assert not all(torch.allclose(a, b) for a, b in zip(plain, wrong, strict=True))


class Twice(torch.autograd.Function):
    """Saves an input and an output of its own."""

    @staticmethod
    def forward(ctx, x):
        y = x * x
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx, grad):
        x, y = ctx.saved_tensors
        assert torch.equal(y, x * x)
        return 2 * x * grad


class Custom(Block):
    def forward(self, x):
        x = super().forward(x)
        x = torch.tanh(x)
        return x + 0.1 * Twice.apply(x) * (x > 0) + x[..., :1].expand_as(x) * x.mT.contiguous().mT


@pytest.mark.parametrize("alpha", [0, 0.5, 1])
def test_own_functions_masks_views_and_expanded_tensors(alpha):
    model, x = stack(block=Custom), given(2, 33, 24)
    plain = gradients(model, x)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB):
        same(plain, gradients(model, x), exact=alpha == 1)


class Odd(nn.Module):
    """Whole numbers, truth values, an empty tensor, and a running mean."""

    def __init__(self):
        super().__init__()
        self.norm, self.line = nn.BatchNorm1d(24), nn.Linear(24, 24)

    def forward(self, x):
        y = self.norm(x.flatten(0, 1)).view_as(x)
        y = torch.where(y > 0, y, y * 0.1) + y.cumsum(-1).gather(-1, y.argsort(-1))
        return x + self.line(y) + (x[:, :0] * x[:, :0]).sum()


@pytest.mark.parametrize("alpha", [0, 1])
def test_odd_tensors_and_running_statistics(alpha):
    model, x = stack(block=Odd).train(), given(2, 90, 24)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    plain = gradients(model, x)
    after = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(start)
    with offload_activations(model, alpha=alpha, cpu_bytes=GIB):
        same(plain, gradients(model, x))
    for k, v in model.state_dict().items():
        assert torch.equal(v, after[k]), k


class Spoils(Block):
    def forward(self, x):
        y = self.up(super().forward(x)).exp()
        y.mul_(2)  # exp's result, which its backward pass needs
        return self.down(y)


def test_changes_in_place_are_found_out():
    model, x = stack(block=Spoils), given(2, 33, 24) * 0.01
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        gradients(model, x)
    with (
        offload_activations(model, alpha=0.5, cpu_bytes=GIB),
        pytest.raises((ModelError, RuntimeError), match=r"in-?place operation"),
    ):
        gradients(model, x)


def test_without_gradients_nothing_happens():
    model, x = stack(), given(2, 33, 24)
    with offload_activations(model, alpha=0.5) as swapper, torch.no_grad():
        y = model(x)
    assert swapper.stats.passes == 0
    assert torch.equal(y, model(x))


def test_an_error_in_the_middle_leaves_nothing_behind():
    model, x = stack(), given(2, 33, 24)
    plain = gradients(model, x)
    broken = model[2].register_forward_hook(lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError), offload_activations(model, alpha=0.5, cpu_bytes=GIB):
        model(x)
    broken.remove()
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in model)
    same(plain, gradients(model, x))
    with offload_activations(model, alpha=0.5, cpu_bytes=GIB):
        broken = model[2].register_forward_hook(lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(x)
        broken.remove()
        same(plain, gradients(model, x), exact=False)


def test_host_memory_is_given_back_and_used_again():
    model, x = stack(), given(2, 64, 24)
    with offload_activations(model, alpha=1.0, cpu_bytes=GIB) as swapper:
        for _ in range(3):
            gradients(model, x)
        gc.collect()
        pool = swapper._pool
        assert pool._out == 0  # nothing is lent any more
        first = pool.host_bytes
        gradients(model, x)
        assert pool.host_bytes == first
        loss = model(x.requires_grad_(True)).sum()
        assert pool._out > 0
        del loss
        gc.collect()
        assert pool._out == 0  # a graph that is thrown away gives its memory back


def test_host_budget_and_disk(tmp_path):
    model, x = stack(), given(2, 64, 24)
    plain = gradients(model, x)
    with (
        offload_activations(model, alpha=1.0, cpu_bytes=100_000),
        pytest.raises(BudgetExceeded, match="raise cpu_bytes, lower alpha, or name a folder"),
    ):
        gradients(model, x)
    with offload_activations(model, alpha=1.0, cpu_bytes=700_000, disk=tmp_path) as swapper:
        for _ in range(2):
            same(plain, gradients(model, x))
        files = list(tmp_path.rglob("*.raw"))
        assert files
        assert sum(f.stat().st_size for f in files) == swapper.stats.disk_bytes
        assert swapper._pool.host_bytes <= 700_000
    assert list(tmp_path.iterdir()) == []


def test_a_full_or_missing_disk_is_named(tmp_path, monkeypatch):
    import os

    from byheart.core.errors import OutputError

    with pytest.raises(OutputError, match="cannot swap to"):
        HostPool(0, tmp_path / "none").chunk(10)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(BudgetExceeded, match="which is full"):
        HostPool(0, tmp_path).chunk(10)


def test_from_several_threads():
    model, x = stack(), given(2, 33, 24)
    plain = gradients(model, x)
    out = []

    def work():
        out.append(gradients(model, x))

    with offload_activations(model, alpha=1.0, cpu_bytes=GIB):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    same(plain, out[0])


def test_a_plan_says_what_each_layer_does():
    model, x = stack(), given(2, 40, 24)
    plain = gradients(model, x)
    unit = 2 * 40 * 24 * 8
    plan = split_activations(
        s_input=unit, s_attn=unit, s_others=14 * unit, bandwidth=5 * unit, t_layer=1.0, layers=6,
        cpu_bytes=1e9, device_bytes=14 * unit,
    )  # fmt: skip
    assert plan.alpha == pytest.approx(3 / 14)
    assert plan.keep == pytest.approx(1 / 4)
    with offload_activations(model, plan, cpu_bytes=GIB) as swapper:
        same(plain, gradients(model, x), exact=False)
    assert swapper.stats.kept_bytes == pytest.approx(4 * 14 * unit * 10 / 40, rel=1e-6)
    with pytest.raises(UsageError, match="for 6 layers and the model has 3"):
        ActivationSwapper(stack(3), plan)


def test_auto_measures_and_solves():
    model, x = stack(), given(2, 40, 24)
    plain = gradients(model, x)
    unit = 2 * 40 * 24 * 8
    with offload_activations(model, cpu_bytes=4 * 9 * unit, bandwidth=1e15) as swapper:
        same(plain, gradients(model, x), exact=False)
    assert swapper.solved == pytest.approx(0.5, abs=0.05)  # the host holds half of the others
    with offload_activations(model, cpu_bytes=GIB, bandwidth=1.0) as swapper:
        same(plain, gradients(model, x), exact=False)
    assert swapper.solved == 0.0
    with offload_activations(model, cpu_bytes=GIB) as swapper:
        gradients(model, x)
    assert 0.0 <= swapper.solved <= 1.0


def test_blocks_are_found():
    inner = stack(5)
    wrapped = nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"layers": nn.ModuleList(inner)}))
    assert find_blocks(wrapped) == list(inner)
    with pytest.raises(UsageError, match="no list of equal blocks"):
        find_blocks(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"alpha": 1.5}, "share from 0 to 1"),
        ({"alpha": -0.1}, "share from 0 to 1"),
        ({"alpha": float("nan")}, "share from 0 to 1"),
        ({"alpha": "most"}, "share from 0 to 1"),
        ({"cpu_bytes": -1}, "cpu_bytes is -1"),
    ],
)
def test_bad_arguments(settings, said):
    with pytest.raises(UsageError, match=said):
        ActivationSwapper(stack(), **settings)


def test_misuse():
    block = Block()
    with pytest.raises(UsageError, match="given twice"):
        ActivationSwapper([block, block])
    with pytest.raises(UsageError, match="no blocks"):
        ActivationSwapper([])
    swapper = ActivationSwapper(stack())
    with swapper, pytest.raises(UsageError, match="entered already"):
        swapper.__enter__()


def test_rounding_buffers_wait_for_what_is_in_use():
    buffers = RoundingBuffers(torch.device("cpu"))
    wanted = [(torch.Size([3, 5]), torch.float64), (torch.Size([7]), torch.int16)]
    one, two = buffers.take(0, wanted)
    assert one.shape == (3, 5)
    assert two.dtype is torch.int16
    other = buffers.take(1, wanted)
    assert one.untyped_storage().data_ptr() != other[0].untyped_storage().data_ptr()
    again = buffers.take(2, wanted)
    assert buffers.overflows == 1  # layer 0's are still alive
    assert again[0].untyped_storage().data_ptr() != one.untyped_storage().data_ptr()
    place = one.untyped_storage().data_ptr()
    view = one[1:]
    buffers.watch(0, view)
    del one, two
    assert buffers.take(2, wanted)[0].untyped_storage().data_ptr() != place
    del view, again
    assert buffers.take(2, wanted)[0].untyped_storage().data_ptr() == place
    assert buffers.bytes > 0
    buffers.close()
    assert buffers.bytes == 0
