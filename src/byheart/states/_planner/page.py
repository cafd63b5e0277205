"""A forecast, or a plan of addresses, as one page that stands alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from byheart.states._planner import picture
from byheart.states._planner.forecast import Forecast, Way
from byheart.states._planner.types import MemoryPlan
from byheart.states._planner.words import size_text, time_text, token_text

__all__ = ["forecast_page", "plan_page"]

_STYLE = """
:root { color-scheme: light dark;
  --paper: #fbfaf8; --card: #fff; --ink: #1d1c1a; --soft: #5d5a54; --line: #e2ded6; --tick: #ece8e1;
  --good: #1c6b45; --bad: #a3201a; --edge: #fff;
  --b1: #2f6f9f; --b2: #6fa3c7; --b3: #a9c8dc; --o1: #b8551b; --o2: #e09a5f; --y: #c9a227; --g: #a9a398;
  --p: #7b5ea7; --t1: #2e8263; --t2: #7cbf9f;
  --sans: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
  --serif: "Iowan Old Style", "Palatino Linotype", Palatino, Charter, "Source Serif 4", "Liberation Serif", Georgia, serif; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #15161a; --card: #1d1f24; --ink: #eceae5; --soft: #aaa69d; --line: #33353c; --tick: #292b31;
  --good: #7fd6a8; --bad: #ff9c94; --edge: #1d1f24;
  --b1: #5d9fd0; --b2: #3f7299; --b3: #2c4f6a; --o1: #e0803f; --o2: #a85f2b; --y: #d0ad3c; --g: #5d5a55;
  --p: #a98bd6; --t1: #4fae8a; --t2: #2f6b55; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 var(--sans); overflow-wrap: break-word; }
main { max-width: 74rem; margin: 0 auto; padding: clamp(1.5rem, 5vw, 3.4rem) clamp(1rem, 4vw, 2.5rem) 4rem; }
.eyebrow { font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; color: var(--soft); font-weight: 600; margin: 0; }
h1 { font: 600 clamp(1.6rem, 4vw, 2.5rem)/1.18 var(--serif); letter-spacing: -.015em; max-width: 30em; margin: .8rem 0 0; text-wrap: balance; }
h2 { font: 600 1.4rem/1.25 var(--serif); margin: 2.8rem 0 .3rem; }
p { margin: .4rem 0 0; max-width: 48rem; color: var(--soft); }
.tiles { list-style: none; display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); margin: 1.6rem 0 0; padding: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }
.tiles li { padding: .85rem 1.1rem; box-shadow: 0 0 0 .5px var(--line); }
.tiles strong { display: block; font: 600 1.55rem/1.2 var(--serif); font-variant-numeric: tabular-nums lining-nums; }
.tiles span { color: var(--soft); font-size: .86rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
figure { margin: 1rem 0 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1rem .6rem .5rem; overflow-x: auto; }
svg { display: block; width: 100%; min-width: 44rem; height: auto; }
svg text { font: 12px var(--sans); fill: var(--soft); font-variant-numeric: tabular-nums; }
svg text.ok, svg text.bad, svg text.limit, svg text.height { paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
svg .name { fill: var(--ink); font-weight: 600; font-size: 13px; }
svg text.ok { fill: var(--good); } svg text.bad { fill: var(--bad); }
svg .tick { stroke: var(--tick); } svg .edge { stroke: var(--soft); } svg .mark { stroke: var(--soft); stroke-dasharray: 2 3; }
svg line.height { stroke: var(--good); stroke-width: 1.5; } svg text.height { fill: var(--good); font-weight: 600; }
svg line.limit { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 6 4; } svg text.limit { fill: var(--bad); font-weight: 600; }
svg .b { stroke: var(--edge); stroke-width: .6; } svg rect:hover { stroke: var(--ink); stroke-width: 1.5; }
.u-weights { fill: var(--b1); background: var(--b1); } .u-gradients { fill: var(--b2); background: var(--b2); } .u-optimiser { fill: var(--b3); background: var(--b3); }
.u-activations { fill: var(--o1); background: var(--o1); } .u-working { fill: var(--y); background: var(--y); } .u-reserved { fill: var(--g); background: var(--g); }
.e-forward { fill: var(--b1); background: var(--b1); } .e-backward { fill: var(--p); background: var(--p); } .e-recompute { fill: var(--y); background: var(--y); }
.e-head { fill: var(--g); background: var(--g); } .e-offload { fill: var(--t1); background: var(--t1); } .e-prefetch { fill: var(--t2); background: var(--t2); }
.a0 { fill: var(--o1); } .a1 { fill: var(--o2); }
.s0 { fill: var(--b1); } .s1 { fill: var(--o2); } .s2 { fill: var(--t1); } .s3 { fill: var(--p); } .s4 { fill: var(--y); } .s5 { fill: var(--b2); } .s6 { fill: var(--o1); } .s7 { fill: var(--t2); }
.live { fill: var(--b2); stroke: var(--b1); }
polyline { fill: none; stroke-width: 2.4; } .dotted { stroke-dasharray: 2 5; opacity: .7; }
.w-plain { stroke: var(--b1); background: var(--b1); } .w-recompute { stroke: var(--y); background: var(--y); } .w-swap { stroke: var(--o1); background: var(--o1); }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .7rem 0 0; padding: 0; font-size: .86rem; color: var(--soft); }
.legend i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .4em; }
table { border-collapse: collapse; margin-top: .8rem; font-size: .9rem; font-variant-numeric: tabular-nums; width: 100%; }
.scroll { overflow-x: auto; } th, td { text-align: right; padding: .35rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; color: var(--soft); } th:first-child, td:first-child { text-align: left; } td.why { text-align: left; white-space: normal; min-width: 12rem; }
ul.plain { max-width: 52rem; color: var(--soft); padding-left: 1.2rem; }
"""


def _page(title: str, eyebrow: str, headline: str, parts: Iterable[str]) -> str:
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><main>"
        f'<p class="eyebrow">{escape(eyebrow)}</p><h1>{escape(headline)}</h1>\n'
        + "\n".join(parts)
        + "\n</main></body></html>\n"
    )


def _tiles(tiles: Sequence[tuple[str, str, str]]) -> str:
    items = "".join(
        f'<li><strong class="{kind}">{escape(value)}</strong><span>{escape(what)}</span></li>'
        for value, what, kind in tiles
    )
    return f'<ul class="tiles">{items}</ul>'


def _legend(*kinds: tuple[str, str]) -> str:
    items = "".join(f'<li><i class="{k}"></i>{escape(name)}</li>' for k, name in kinds)
    return f'<ul class="legend">{items}</ul>'


def _section(title: str, lead: str, *inside: str) -> str:
    return f"<h2>{escape(title)}</h2><p>{escape(lead)}</p>" + "".join(inside)


def _figure(svg: str) -> str:
    return f"<figure>{svg}</figure>"


def forecast_page(found: Forecast) -> str:
    """A forecast with memory, streams, address map, MFU by length, and what was assumed."""
    best = found.best
    shown = best or found.ways["swap"]
    who = f"{found.layout.count} × {found.device.name}"
    what = f"{found.model.name}, {token_text(found.sequence)} tokens, {who}"
    how = {
        "plain": "with all activations kept",
        "recompute": "by recomputing every layer",
        "swap": "by swapping activations to the host",
    }
    if best is None:
        headline = (
            f"{found.model.name} does not fit on {who} with {token_text(found.sequence)} tokens."
        )
    else:
        headline = (
            f"{found.model.name} with {token_text(found.sequence)} tokens fits on {who} "
            f"{how[best.name]}: {best.mfu:.0%} of the peak expected."
        )
    split = found.ways["swap"].split
    longest = max((w.longest or 0 for w in found.ways.values()), default=0)
    tiles = [
        (token_text(longest) if longest else "none", "longest sequence that fits", ""),
        (f"{shown.mfu:.1%}", f"expected MFU, {shown.name}", "good" if best else "bad"),
        (time_text(shown.seconds), "a step's passes", ""),
        (size_text(shown.bytes), f"of {size_text(found.device.memory)} a device", "good" if best else "bad"),
    ]  # fmt: skip
    if split is not None:
        limit = {"host": "host memory", "bandwidth": "the link", "backward": "the way back"}
        held = f"held by {limit[split.limit]}" if split.limit in limit else "all is swapped"
        tiles += [
            (f"{split.alpha:.3f}", f"alpha when swapping, {held}", ""),
            (time_text(split.stall), "a layer waits for copies", ""),
            (size_text(found.ways["swap"].host_bytes), "host memory a device, swapping", ""),
        ]
    parts = [
        _tiles(tiles),
        _section(
            "Memory of one device",
            "In each way of treating activations; the dashed line is what the device has.",
            _figure(picture.memory_bars(found)),
            _legend(*((f"u-{use}", use) for use in picture.USES)),
            _ways(found),
        ),
        _section(
            "A step on its streams",
            f"As {shown.name} runs it. Copies hide where they lie under a layer's pass; point at a "
            "stretch to read it. Of a deep model, the turn from forward to backward pass is shown below.",
            *map(_figure, _lanes(found, shown)),
            _legend(*((f"e-{k}", k) for k in ("forward", "head", "recompute", "backward", "offload", "prefetch"))),
        ),
        _section(
            "Addresses over the step",
            "From below: what the driver keeps, the states, the activations (with swapping: two "
            "rounding buffers that layers take turns in), and one planned block that every layer's "
            "backward pass, and the classifier, uses again.",
            _figure(picture.address_map(found, shown)),
        ),
        _section(
            "By sequence length",
            "Expected MFU; full where it fits, dotted where it would not.",
            _figure(picture.curves(found, _sweep(found))),
            _legend(*((f"w-{name}", name) for name in found.ways)),
        ),
        _section(
            "What was assumed",
            f"Figures of {found.device.name}: {found.device.source}.",
            '<ul class="plain">' + "".join(f"<li>{escape(a)}</li>" for a in found.assumptions) + "</ul>",
        ),
    ]  # fmt: skip
    return _page(what, "byheart plan", headline, parts)


def _lanes(found: Forecast, way: Way) -> list[str]:
    """The whole step; and of a deep model the turn from forward to backward, where copies are seen."""
    timeline = found.timeline(way.name)
    whole = [picture.stream_lanes(timeline)]
    if found.model.layers <= 8:
        return whole
    edge = found.model.layers - 5
    own = [e for e in timeline.on("compute") if e.layer == edge]
    return [*whole, picture.stream_lanes(timeline, own[0].start, own[-1].end)]


def _ways(found: Forecast) -> str:
    head = "".join(
        f"<th>{h}</th>"
        for h in ("way", "fits", "device", "host", "step", "MFU", "longest sequence", "")
    )
    rows = ""
    for way in found.ways.values():
        kind = "good" if way.fits else "bad"
        longest = "" if way.longest is None else token_text(way.longest) if way.longest else "none"
        cells = [
            way.name, f'<span class="{kind}">{"yes" if way.fits else "no"}</span>',
            size_text(way.bytes), size_text(way.host_bytes) if way.host_bytes else "",
            time_text(way.seconds), f"{way.mfu:.1%}", longest,
        ]  # fmt: skip
        rows += "<tr>" + "".join(f"<td>{c}</td>" for c in cells)
        rows += f'<td class="why">{escape(way.reason)}</td></tr>'
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'  # fmt: skip


def _sweep(found: Forecast) -> list[tuple[int, dict[str, Way]]]:
    """All ways at lengths around the one that is planned."""
    longest = max([found.sequence, *(w.longest or 0 for w in found.ways.values())])
    low, high = max(256, min(found.sequence, 8192) // 2), max(longest * 2, 1024)
    out = []
    for i in range(49):
        sequence = round(low * (high / low) ** (i / 48))
        out.append((sequence, found.at(sequence)))
    return out


def plan_page(
    plan: MemoryPlan, marks: Sequence[tuple[int, str]] = (), name: str = "buffers"
) -> str:
    """A plan as a map of rectangles, with the live bytes below and the largest buffers in a table.

    Args:
        plan: What to show.
        marks: A trace's moments; phases are drawn.
        name: Of what was planned.
    """
    count = len(plan.buffers)
    if plan.proven:
        verdict = "no plan can be smaller"
    else:
        verdict = f"at most {plan.gap:.2%} above the smallest possible"
    headline = f"{count:,} buffers of {name} in {size_text(plan.height)}: {verdict}."
    total = sum(b.size for b in plan.buffers)
    tiles = [
        (size_text(plan.height), "height of the plan", "good" if plan.proven else ""),
        (size_text(plan.lower_bound), "lower bound", ""),
        (f"{plan.gap:.2%}", "gap", "good" if plan.proven else ""),
        (size_text(total), "all buffers side by side", ""),
        (plan.solver, f"in {time_text(plan.seconds)}", ""),
    ]
    if plan.capacity is not None:
        tiles.append((size_text(plan.capacity), "capacity", ""))
    drawn = (
        "" if count <= picture.MOST else f" The {picture.MOST:,} largest of {count:,} are drawn."
    )
    largest = sorted(zip(plan.buffers, plan.offsets, strict=True), key=lambda p: -p[0].size)[:40]
    rows = "".join(
        f"<tr><td>{escape(b.id)}</td><td>{b.size:,}</td><td>{o:,}</td><td>{b.lower:,}</td>"
        f"<td>{b.upper:,}</td></tr>"
        for b, o in largest
    )
    head = "".join(f"<th>{h}</th>" for h in ("buffer", "bytes", "address", "from", "to"))
    parts = [
        _tiles(tiles),
        _section(
            "Address map",
            "Each rectangle is a buffer: as wide as it lives, as high as it is large, at its address; "
            f"sizes have colours. Point at one to read it.{drawn}",
            _figure(picture.plan_map(plan, marks)),
        ),
        _section(
            "Live bytes",
            "What is needed at each moment; where the curve touches the height nothing could be saved.",
            _figure(picture.live_curve(plan)),
        ),
        _section(
            "The largest buffers",
            f"{len(largest)} of {count:,}.",
            f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>',
        ),
    ]
    if plan.notes:
        notes = "".join(f"<li>{escape(n)}</li>" for n in plan.notes)
        parts.append(f'<h2>Notes</h2><ul class="plain">{notes}</ul>')
    return _page(f"{name}: {count:,} buffers", "byheart plan", headline, parts)
