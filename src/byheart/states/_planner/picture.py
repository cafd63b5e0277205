"""Pictures of plans and forecasts as SVG: rectangles of time and address, streams, bars, curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from byheart.states._planner.forecast import Forecast, Way
from byheart.states._planner.pipeline import Stream, Timeline
from byheart.states._planner.types import Buffer, MemoryPlan
from byheart.states._planner.words import size_text, time_text, token_text

__all__ = [
    "address_map", "curves", "live_curve", "memory_bars", "plan_map", "stream_lanes",
]  # fmt: skip

WIDTH = 1000
LEFT = 92
RIGHT = 16

MOST = 4000
"""Rectangles of a map; the largest are drawn and the rest counted."""

USES = ("weights", "gradients", "optimiser", "activations", "working", "reserved")


def _rect(x: float, y: float, w: float, h: float, kind: str, title: str) -> str:
    return (
        f'<rect class="{kind}" x="{x:.2f}" y="{y:.2f}" width="{max(w, 0.4):.2f}" '
        f'height="{max(h, 0.4):.2f}"><title>{escape(title)}</title></rect>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(height: float, label: str, parts: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )


def _steps(low: float, high: float, wanted: int = 6, base: int = 10) -> list[float]:
    """Round numbers between low and high."""
    if high <= low:
        return [low]
    raw = (high - low) / wanted
    scale = float(base) ** math.floor(math.log(raw, base))
    steps = (1, 2, 4, 8) if base == 2 else (1, 2, 5, 10)
    if base == 2:
        step = scale if scale >= raw else scale * 2
    else:
        step = next(s * scale for s in steps if s * scale >= raw * 0.999)
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True)
class _Frame:
    """Where times and values lie on the paper."""

    begin: float
    end: float
    top: float
    height: float
    most: float

    def x(self, time: float) -> float:
        span = self.end - self.begin or 1
        return LEFT + (WIDTH - LEFT - RIGHT) * (time - self.begin) / span

    def y(self, value: float) -> float:
        return self.top + self.height * (1 - value / (self.most or 1))

    def rect(self, begin: float, end: float, low: float, high: float, kind: str, title: str) -> str:
        x, y = self.x(begin), self.y(high)
        return _rect(x, y, self.x(end) - x, self.y(low) - y, kind, title)

    def bytes_axis(self) -> list[str]:
        out = []
        for value in _steps(0, self.most, 6, base=2):
            y = self.y(value)
            out += [_line(LEFT, y, WIDTH - RIGHT, y, "tick"), _text(LEFT - 8, y + 4, size_text(value), "end")]  # fmt: skip
        return out

    def time_axis(self, text: Callable[[float], str]) -> list[str]:
        bottom = self.top + self.height
        out = []
        for value in _steps(self.begin, self.end, 8):
            x = self.x(value)
            out += [_line(x, bottom, x, bottom + 4, "edge"), _text(x, bottom + 18, text(value), "middle")]  # fmt: skip
        return [_line(LEFT, bottom, WIDTH - RIGHT, bottom, "edge"), *out]


# A plan: buffers in time and address.


def plan_map(plan: MemoryPlan, marks: Sequence[tuple[int, str]] = ()) -> str:
    """Every buffer as a rectangle from its malloc to its free, at its address."""
    begin = min((b.lower for b in plan.buffers), default=0)
    end = max((b.upper for b in plan.buffers), default=1)
    top = max(plan.height, plan.capacity or 0) or 1
    f = _Frame(begin, end, 26, 430, top * 1.02)
    parts = f.bytes_axis()
    pairs = sorted(zip(plan.buffers, plan.offsets, strict=True), key=lambda p: -_area(p[0]))
    ranks = {size: i for i, size in enumerate(sorted({b.size for b in plan.buffers}))}
    for b, o in pairs[:MOST]:
        # Neighbours of equal size are told apart by the outline, sizes by the colour.
        kind = f"b s{ranks[b.size] % 8}"
        title = f"{b.id}: {size_text(b.size)} at {o:,}, from {b.lower:,} to {b.upper:,}"
        parts.append(f.rect(b.lower, b.upper, o, o + b.size, kind, title))
    parts += _rule(f, plan.height, f"height {size_text(plan.height)}", "height")
    if plan.capacity is not None and plan.capacity != plan.height:
        parts += _rule(f, plan.capacity, f"capacity {size_text(plan.capacity)}", "limit")
    for at, name in _phases(marks):
        x = f.x(min(max(at, begin), end))
        parts += [_line(x, f.top - 8, x, f.top + f.height, "mark"), _text(x + 3, f.top - 12, name)]
    parts += f.time_axis(lambda t: f"{t:,.0f}")
    parts.append(_text(WIDTH - RIGHT, f.top + f.height + 34, "time in requests", "end"))
    return _svg(f.top + f.height + 42, "address over time, one rectangle a buffer", parts)


def _area(b: Buffer) -> int:
    return b.size * (b.upper - b.lower)


def _phases(marks: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    return [(at, name) for at, name in marks if "layer" not in name]


def _rule(f: _Frame, value: float, text: str, kind: str) -> list[str]:
    y = f.y(value)
    return [_line(LEFT, y, WIDTH - RIGHT, y, kind), _text(WIDTH - RIGHT - 4, y - 5, text, "end", kind)]  # fmt: skip


def live_curve(plan: MemoryPlan) -> str:
    """How many bytes are live over time, under the plan's height."""
    change: dict[int, int] = {}
    for b in plan.buffers:
        change[b.lower] = change.get(b.lower, 0) + b.size
        change[b.upper] = change.get(b.upper, 0) - b.size
    times = sorted(change)
    if not times:
        return ""
    f = _Frame(times[0], times[-1], 12, 130, max(plan.height, 1) * 1.05)
    now = 0
    points = [(f.x(times[0]), f.y(0))]
    for t in times:
        points.append((f.x(t), f.y(now)))
        now += change[t]
        points.append((f.x(t), f.y(now)))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    parts = [*f.bytes_axis(), f'<polygon class="live" points="{path}"/>']
    parts += _rule(f, plan.height, "height", "height")
    parts += f.time_axis(lambda t: f"{t:,.0f}")
    return _svg(f.top + f.height + 26, "live bytes over time", parts)


# A forecast.


def memory_bars(forecast: Forecast) -> str:
    """One device's memory in each way, by use, against what it has."""
    ways = list(forecast.ways.values())
    most = max([forecast.device.memory, *(w.bytes for w in ways)])
    cut = min(most, forecast.device.memory * 3)  # what is far too much need not be drawn to scale
    scale = (WIDTH - LEFT - RIGHT - 90) / cut
    limit, bottom = LEFT + forecast.device.memory * scale, 30 + len(ways) * 46
    bars, texts = [], []
    for i, way in enumerate(ways):
        y, x = 30 + i * 46, float(LEFT)
        texts.append(_text(LEFT - 10, y + 20, way.name, "end", "name"))
        for use in USES:
            width = min(way.memory[use] * scale, LEFT + cut * scale - x)
            title = f"{way.name}, {use}: {size_text(way.memory[use])}"
            bars.append(_rect(x, y, width, 30, f"u-{use}", title))
            x += width
        over = " …" if way.bytes > cut else ""
        texts.append(_text(x + 6, y + 20, size_text(way.bytes) + over, "start", "ok" if way.fits else "bad"))  # fmt: skip
    told = f"{forecast.device.name}: {size_text(forecast.device.memory)}"
    line = [_line(limit, 20, limit, bottom, "limit"), _text(limit, 14, told, "middle", "limit")]
    parts = [*bars, *line, *texts]
    return _svg(bottom + 4, "memory of one device in each way", parts)


def stream_lanes(timeline: Timeline, begin: float = 0.0, end: float | None = None) -> str:
    """Three streams over time, or a part of it."""
    lanes: tuple[Stream, ...] = ("compute", "to host", "from host")
    end = timeline.seconds if end is None else end
    f = _Frame(begin, end, 8, 3 * 46, 1)
    parts = []
    for i, lane in enumerate(lanes):
        y = f.top + i * 46
        parts += [_text(LEFT - 10, y + 22, lane, "end", "name"), _line(LEFT, y + 38, WIDTH - RIGHT, y + 38, "tick")]  # fmt: skip
        for e in timeline.on(lane):
            if e.end < begin or e.start > end:
                continue
            x, until = f.x(max(e.start, begin)), f.x(min(e.end, end))
            who = "classifier and loss" if e.layer < 0 else f"layer {e.layer}: {e.kind}"
            title = (
                f"{who}, {time_text(e.start)} to {time_text(e.end)} ({time_text(e.end - e.start)})"
            )
            parts.append(_rect(x, y + 2, until - x, 34, f"b e-{e.kind}", title))
    parts += f.time_axis(time_text)
    return _svg(f.top + f.height + 26, "compute and copies over time", parts)


def address_map(forecast: Forecast, way: Way) -> str:
    """Where one device's memory goes over a step: states, activations and working blocks."""
    timeline = forecast.timeline(way.name)
    f = _Frame(0, timeline.seconds or 1, 12, 380, max(way.bytes, forecast.device.memory) * 1.03)
    parts = f.bytes_axis()
    low = 0
    for use in ("reserved", "weights", "gradients", "optimiser"):
        high = low + way.memory[use]
        parts.append(f.rect(0, f.end, low, high, f"u-{use}", f"{use}: {size_text(high - low)}"))
        low = high
    one, n = forecast.layer, forecast.model.layers
    at = {(e.kind, e.layer): e for e in timeline.events}
    for i in range(n):
        ends = at["backward", i].end
        if way.split is not None:
            # A buffer is the layer's until it is copied out, and again from the copy back.
            begin = low + (i % 2) * one.skeletal_bytes
            high = begin + one.skeletal_bytes
            out = at.get(("offload", i))
            stays = out.end if out else ends
            name = f"layer {i}, rounding buffer {i % 2}: {size_text(one.skeletal_bytes)}"
            parts.append(f.rect(at["forward", i].start, stays, begin, high, f"b a{i % 2}", name))
            if out:
                back = at["prefetch", i].start
                parts.append(f.rect(back, ends, begin, high, f"b a{i % 2}", f"{name}, back"))
        else:
            each = one.skeletal_bytes if way.name == "plain" else one.input_bytes
            begin = low + i * each
            name = f"layer {i}: {size_text(each)}"
            parts.append(f.rect(at["forward", i].start, ends, begin, begin + each, f"b a{i % 2}", name))  # fmt: skip
            if way.name == "recompute":
                top = low + n * each
                again = at["recompute", i]
                name = f"layer {i}, recomputed: {size_text(one.skeletal_bytes - each)}"
                parts.append(f.rect(again.start, ends, top, top + one.skeletal_bytes - each, "b e-recompute", name))  # fmt: skip
    low += way.memory["activations"]
    high = low + way.memory["working"]
    for e in timeline.on("compute"):
        if e.kind in ("backward", "head"):
            size = one.working_bytes if e.kind == "backward" else way.memory["working"]
            what = "classifier and loss" if e.kind == "head" else f"layer {e.layer}, backward"
            title = f"{what}: working block of {size_text(size)}"
            parts.append(f.rect(e.start, e.end, low, low + size, "b u-working", title))
    parts += _rule(f, high, f"{way.name}: {size_text(high)}", "height")
    parts += _rule(f, forecast.device.memory, f"{forecast.device.name}: {size_text(forecast.device.memory)}", "limit")  # fmt: skip
    parts += f.time_axis(time_text)
    return _svg(f.top + f.height + 26, "one device's addresses over a step", parts)


def curves(forecast: Forecast, points: Sequence[tuple[int, dict[str, Way]]]) -> str:
    """MFU by sequence length in each way, drawn full where it fits and dotted where it does not."""
    low, high = math.log2(points[0][0]), math.log2(points[-1][0])
    most = max(w.mfu for _, ways in points for w in ways.values())
    f = _Frame(low, high, 12, 240, min(1.0, most * 1.15))
    parts = []
    for value in _steps(0, f.most, 5):
        parts += [_line(LEFT, f.y(value), WIDTH - RIGHT, f.y(value), "tick"), _text(LEFT - 8, f.y(value) + 4, f"{value:.0%}", "end")]  # fmt: skip
    for name in forecast.ways:
        known = [(f.x(math.log2(s)), f.y(w[name].mfu), w[name].fits) for s, w in points]
        for fits, style in ((True, "full"), (False, "dotted")):
            run = [p for p in known if p[2] is fits]
            if fits is False and run and run[0] is not known[0]:
                run = [known[known.index(run[0]) - 1], *run]
            if len(run) > 1:
                path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in run)
                parts.append(f'<polyline class="w-{name} {style}" points="{path}"><title>{name}</title></polyline>')  # fmt: skip
    x = f.x(math.log2(forecast.sequence))
    parts += [_line(x, f.top, x, f.top + f.height, "mark"), _text(x + 4, f.top + 10, token_text(forecast.sequence))]  # fmt: skip
    bottom = f.top + f.height
    parts.append(_line(LEFT, bottom, WIDTH - RIGHT, bottom, "edge"))
    for power in range(math.ceil(low), math.floor(high) + 1):
        at = f.x(power)
        parts += [_line(at, bottom, at, bottom + 4, "edge"), _text(at, bottom + 18, token_text(2**power), "middle")]  # fmt: skip
    return _svg(bottom + 26, "model FLOPs utilisation by sequence length", parts)
