"""The pages are whole, self-contained and true to what they show; lengths and sizes are read strictly."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from byheart.cli._plan_model import run_forecast
from byheart.core.errors import OutputError, UsageError
from byheart.states._planner import picture
from byheart.states._planner.allocators import online_fit
from byheart.states._planner.devices import DEVICES
from byheart.states._planner.forecast import forecast
from byheart.states._planner.page import forecast_page, plan_page
from byheart.states._planner.types import Buffer, MemoryPlan
from byheart.states._planner.words import read_bytes, read_tokens, size_text, token_text

TRACE = [("malloc", "a", 4096), ("malloc", "b", 100), ("free", "a", 4096), ("malloc", "c", 2048),
         ("malloc", "d", 2000), ("free", "b", 100), ("free", "c", 2048)]  # fmt: skip


class Checker(HTMLParser):
    """Counts tags that stay open, and what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "line", "br"):
            self.open.append(tag)
        self.fetched += [v for k, v in attributes if k in ("src", "href", "xlink:href", "data")]

    def handle_startendtag(self, tag, attributes):
        self.fetched += [v for k, v in attributes if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def checked(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.fetched == []
    assert not re.search(r"https?://|@import|url\(|<script", page)
    assert "prefers-color-scheme: dark" in page
    found = re.findall(r"<svg.*?</svg>", page, re.S)
    assert found
    return [ElementTree.fromstring(svg) for svg in found], "".join(checker.text)


def rects(svg):
    out = {}
    for r in svg.iter("rect"):
        x, y, w, h = (float(r.get(k)) for k in ("x", "y", "width", "height"))
        out[r.find("title").text] = (x, y, x + w, y + h)
    return out


def test_a_plans_rectangles_lie_where_the_plan_says():
    plan = online_fit(TRACE)
    (svg, curve), text = checked(plan_page(plan, [(0, "forward"), (3, "layer 0 forward"), (4, "backward")], "mine"))  # fmt: skip
    assert len(list(svg.iter("rect"))) == len(plan.buffers)
    found = {title.split(":")[0]: box for title, box in rects(svg).items()}
    scale_x = (found["a"][2] - found["a"][0]) / 2  # a lives from 0 to 2
    scale_y = (found["a"][3] - found["a"][1]) / 4096
    for b, o in zip(plan.buffers, plan.offsets, strict=True):
        left, top, right, bottom = found[b.id]
        assert right - left == pytest.approx(scale_x * (b.upper - b.lower), abs=0.02)
        assert bottom - top == pytest.approx(scale_y * b.size, abs=0.02)
        assert left - found["a"][0] == pytest.approx(scale_x * b.lower, abs=0.02)
        assert found["a"][3] - bottom == pytest.approx(scale_y * o, abs=0.02)
    labels = [t.text for t in svg.iter("text")]
    assert "forward" in labels
    assert "backward" in labels
    assert "layer 0 forward" not in labels
    points = [tuple(map(float, p.split(","))) for p in curve.find("polygon").get("points").split()]
    most = min(y for _, y in points)
    height = next(line for line in curve.iter("line") if line.get("class") == "height")
    live = (float(height.get("y1")) - points[0][1]) / (most - points[0][1])
    assert live == pytest.approx(plan.height / plan.lower_bound, abs=0.01)
    assert "4 buffers of mine" in text


def test_names_are_text_and_nothing_else():
    plan = MemoryPlan(
        (Buffer("<script>alert(1)</script>", 0, 2, 8),), (0,), 8, 8, 16, notes=("a <b> & c",)
    )
    _, text = checked(plan_page(plan, [(1, "<i>")], 'x"><img src=y>'))
    assert "<script>alert(1)</script>" in text
    assert "a <b> & c" in text
    assert "no plan can be smaller" in text
    assert "capacity" in text


def test_many_buffers_are_cut_and_it_is_said(monkeypatch):
    monkeypatch.setattr(picture, "MOST", 50)
    plan = online_fit([("malloc", str(i), i + 1) for i in range(80)])
    (svg, _), text = checked(plan_page(plan))
    assert len(list(svg.iter("rect"))) == 50
    assert "The 50 largest of 80 are drawn" in text
    drawn = {t.split(":")[0] for t in rects(svg)}
    by_area = sorted(plan.buffers, key=lambda b: -b.size * (b.upper - b.lower))
    assert drawn == {b.id for b in by_area[:50]}


@pytest.mark.parametrize("capacity", [None, 10])
def test_an_empty_plan_has_a_page(capacity):
    page = plan_page(MemoryPlan((), (), 0, 0, capacity))
    assert "0 buffers" in page


@pytest.mark.parametrize(
    ("model", "sequence", "device", "count", "way"),
    [
        ("7b", 2**20, "a800", 8, "swap"),
        ("smollm2", 8192, "rtx4090", 1, "plain"),
        ("7b", 700_000, "a800", 8, "swap"),
        ("65b", 8192, "rtx4090", 1, None),
    ],
)
def test_a_forecasts_page(model, sequence, device, count, way):
    found = forecast(model, sequence=sequence, device=device, count=count)
    assert (found.best.name if found.best else None) == way
    svgs, text = checked(forecast_page(found))
    bars, *lanes, addresses, curves = svgs
    assert ("does not fit" in text.split("Memory of one")[0]) is (way is None)
    for assumption in found.assumptions:
        assert assumption in text
    # The bars are to scale: swap's parts against its bytes.
    swap = {t: b for t, b in rects(bars).items() if t.startswith("swap, ")}
    widths = {t: b[2] - b[0] for t, b in swap.items()}
    if way is not None:
        total = sum(widths.values())
        share = found.ways["swap"].memory["working"] / found.ways["swap"].bytes
        assert next(w for t, w in widths.items() if "working" in t) / total == pytest.approx(share, abs=0.01)  # fmt: skip
    assert len(lanes) == 2
    shown = found.best or found.ways["swap"]
    assert len(rects(lanes[0])) == len(found.timeline(shown.name).events)
    assert len(list(curves.iter("polyline"))) >= 3
    boxes = list(rects(addresses).values())
    assert all(b[0] >= 0 and b[1] >= 0 and b[2] <= 1001 for b in boxes)


def test_the_address_map_never_draws_two_layers_into_one_place():
    for name in ("plain", "recompute", "swap"):
        found = forecast("7b", sequence=2**17, device="a800", count=8, longest=False)
        svg = ElementTree.fromstring(picture.address_map(found, found.ways[name]))
        boxes = [
            (float(r.get("x")), float(r.get("y")), float(r.get("x")) + float(r.get("width")),
             float(r.get("y")) + float(r.get("height")))
            for r in svg.iter("rect") if (r.get("class") or "").startswith(("b a", "b e-"))
        ]  # fmt: skip
        assert len(boxes) >= 32
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                wide = min(a[2], b[2]) - max(a[0], b[0])
                high = min(a[3], b[3]) - max(a[1], b[1])
                assert min(wide, high) <= 0.42  # nothing is drawn thinner than .4


def test_lengths_and_sizes_are_read_strictly():
    for text, value in (("1", 1), ("128K", 131072), ("128k", 131072), (" 1M ", 2**20), ("0.5K", 512)):  # fmt: skip
        assert read_tokens(text) == value
    for text in ("", "K", "1G", "1KB", "-1", "0", "0K", "1e6", "1,000", "1.5", "1/s", "nan", "٣", "9" * 30):  # fmt: skip
        with pytest.raises(UsageError, match="give a length"):
            read_tokens(text)
    for text, value in (("80GiB", 80 * 2**30), ("80gib", 80 * 2**30), ("2TB", 2 * 10**12), ("25GB/s", 25 * 10**9), ("7", 7), ("7B", 7)):  # fmt: skip
        assert read_bytes(text) == value
    for text in ("80G", "80GBit", "GB", "1.0000000001MB", "-3GB", "0", "inf"):
        with pytest.raises(UsageError, match="give bytes"):
            read_bytes(text)
    assert size_text(2**40 * 3000) == "3,000 TiB"
    assert token_text(0) == "0"


def test_the_command_prints_json_and_writes_the_page(tmp_path, capsys):
    page = tmp_path / "new" / "plan.html"
    run_forecast("7b", sequence="1M", device="a800", count=8, html=page, json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["fits"] is True
    assert told["best"] == "swap"
    assert told["ways"]["swap"]["alpha"] == pytest.approx(0.4655, abs=1e-3)
    assert told == forecast("7b", sequence=2**20, device="a800", count=8).to_dict()
    checked(page.read_text(encoding="utf-8"))


def test_the_command_prints_a_table(capsys):
    run_forecast("65b", sequence="8K", device="rtx4090", html=None)
    out = capsys.readouterr().out
    assert "does not fit" in out
    assert "none" in out
    assert "the device lacks" in out
    run_forecast("7b", sequence="1M", device="a800", count=8, memory="200GiB", bandwidth="25GB/s",
                 host_memory="4TiB", loss_chunk="0")  # fmt: skip
    out = " ".join(capsys.readouterr().out.split())
    assert "fits, swap" in out
    assert "512 GiB of host memory for each device, of 4096 GiB in a host" in out
    assert "given by the caller: link, memory" in out
    assert "all logits at once" in out


def test_the_command_says_what_is_missing(tmp_path):
    with pytest.raises(UsageError, match="add --sequence"):
        run_forecast("7b", sequence=None)
    with pytest.raises(UsageError, match="'80G' has an unknown unit"):
        run_forecast("7b", sequence="1K", memory="80G")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        run_forecast("7b", sequence="1K", html=tmp_path / "file" / "x.html")


def test_help_names_every_device():
    from byheart.cli._plan_model import DeviceOption

    text = DeviceOption.__metadata__[0].help
    assert {d.strip(" .") for d in re.split(r",| or ", text)} == set(DEVICES)
