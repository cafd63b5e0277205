"""The page in a real browser, at a desk's and a phone's width; and its safety without one."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import io
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import report_samples as samples
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from byheart.core._report_marks import LIMIT, clean, marked
from byheart.core._report_plot import Scale, group_by_unit
from byheart.core._report_text import render, render_diff
from byheart.core.finding import Evidence
from byheart.core.report import Report

ALL = {
    f.__name__: f
    for f in (samples.sample, samples.empty, samples.single, samples.many, samples.broken)
}
WIDTHS = (1280, 390)

# --- without a browser --------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Tags, attributes and visible text, as a parser that knows nothing of byheart sees them."""

    VOID = frozenset({"meta", "link", "input", "wbr", "circle", "line", "rect", "path", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


@pytest.mark.parametrize("name", ALL)
def test_well_formed_with_unique_ids_and_no_way_out(name):
    text = ALL[name]().to_html()
    page = Page(text)
    assert page.open == []
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert tag not in ("iframe", "img", "object", "embed", "form", "base")
        for key in ("href", "src"):
            assert attributes.get(key, "#").startswith(("#", "data:image/svg+xml,")), attributes
        if (attributes.get("href") or "").startswith("#"):
            assert attributes["href"][1:] in ids
        assert not [k for k in attributes if k.startswith("on") or k == "style"], attributes
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(headings))
    assert all(
        "aria-label" in a or "aria-hidden" in a for t, a in page.tags if t == "svg" and "class" in a
    )


def test_the_policy_forbids_the_network_and_names_the_blocks():
    text = samples.sample().to_html()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    policy = html.unescape(policy)
    assert policy.startswith("default-src 'none';")
    for tag, start in (("style", "<style>"), ("script", "<script>")):
        body = text.split(start, 1)[1].split(f"</{tag}>", 1)[0]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_embedded_data_are_the_report():
    for make in ALL.values():
        text = make().to_html()
        body = text.split('<script type="application/json" id="report-data">')[1]
        body = body.split("</script>")[0]
        assert "<" not in body
        assert Report.from_json(body) == make()


HOSTILE = st.text(alphabet=st.sampled_from("<>&'\"/ab\n\x00\u2028\u202e\ud800{}%-!=`"), max_size=60)


@given(HOSTILE, HOSTILE)
def test_text_of_models_stays_text(one, two):
    spoiled = f'{one}</script><img src=x onerror="{two}">'
    finding = samples.finding(
        f"a/{one}", claim=spoiled, control=two, no_verdict=spoiled, unit=two or "share",
        details={spoiled: spoiled}, evidence=(Evidence(one, "seen", two, spoiled, two, 1.0, one),),
    )  # fmt: skip
    skipped = [samples.Skipped(two, spoiled)]
    failures = [samples.Failure(two, one, spoiled)]
    meta = {"byheart": spoiled, "note": spoiled, "missing": spoiled, "complete": False,
            "audits": {"a": {"title": spoiled, "config": {"x": spoiled}}}}  # fmt: skip
    page = Page(
        Report.of(spoiled, [finding], skipped=skipped, failures=failures, meta=meta).to_html()
    )
    assert page.open == []
    assert not [t for t, a in page.tags if t == "img" or "onerror" in a]
    assert sum(t == "script" for t, _ in page.tags) == 2


@given(st.text(max_size=80), st.text(max_size=80))
def test_marks_lose_no_character(expected, produced):
    left, right, share = marked(expected, produced)
    for source, shown in ((expected, left), (produced, right)):
        assert html.unescape(re.sub(r"</?(mark|ins|del)>", "", shown)) == html.unescape(
            html.escape(clean(source))
        )
    assert 0 <= share <= 1
    kept = [re.findall(r"<mark>(.*?)</mark>", t, re.S) for t in (left, right)]
    assert "".join(kept[0]) == "".join(kept[1])
    if expected and clean(expected) == clean(produced):
        assert share == 1


def test_marks_of_unlike_texts_ignore_small_words():
    left, _, share = marked(" and the deficiency of nature but", " and he spoke ill of any one but")
    assert "<mark>" not in left
    assert share == 0


def test_long_texts_are_cut_and_say_so():
    left, _, _ = marked("word " * LIMIT, "word")
    assert f"cut after {LIMIT:,} of {5 * LIMIT:,} characters" in left


def test_bottom_line_says_lower_bound_and_numbers():
    page = " ".join(" ".join(Page(samples.sample().to_html()).text).split())
    assert "2 of 4 tests found memorisation, most clearly verbatim/exact" in page
    assert "42 % of seen items against 3 % of fresh ones" in page
    assert "each test is a lower bound" in page
    assert "attack 0.610" in page  # not "seen": this audit contrasts an attack with its baseline
    assert "blind baseline 0.500" in page
    assert "Nothing was measured" in " ".join(Page(samples.empty().to_html()).text)
    assert "do not rely on this report" in " ".join(Page(samples.broken().to_html()).text)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8))
def test_scales_hold_their_values_on_round_ticks(values):
    scale = Scale.over(values, must=(0.0,))
    places = [scale.at(v) for v in sorted(values)]
    assert places == sorted(places)
    assert 3 <= places[0] <= places[-1] <= 97
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert scale.low - slack <= min(values)
    assert max(values) <= scale.high + slack
    assert 2 <= len(scale.ticks) <= 8


def test_each_unit_has_its_own_scale_and_shares_the_whole_range():
    groups = group_by_unit(samples.sample().findings)
    assert [(g.unit, len(g.findings)) for g in groups] == [
        ("share", 3),
        ("nats/token", 1),
        ("AUC", 2),
    ]
    assert (groups[0].arms.low, groups[0].arms.high) == (0, 1)
    assert groups[1].arms.low > 2


def _colours() -> dict[str, dict[str, str]]:
    css = (Path(samples.__file__).parents[2] / "src/byheart/core/report_html/style.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\}", css, re.S)[:2]
    out = {"light": dict(re.findall(r"--([\w-]+): (#\w{6})", light))}
    out["dark"] = out["light"] | dict(re.findall(r"--([\w-]+): (#\w{6})", dark))
    return out


def _contrast(one: str, two: str) -> float:
    """WCAG 2.1 contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    low, high = sorted(map(luminance, (one, two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(scheme):
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    c = _colours()[scheme]
    pairs = [
        (text, ground)
        for text in ("ink", "soft", "seen", "fresh", "good", "bad")
        for ground in ("paper", "card")
    ]
    pairs += [("hit", "hit-bg"), ("calm", "calm-bg"), ("mute", "mute-bg"), ("good", "good-bg"), ("bad", "bad-bg"), ("ink", "mark"), ("soft", "mute-bg"), ("ins", "card")]  # fmt: skip
    poor = {
        p: round(_contrast(c[p[0]], c[p[1]]), 2) for p in pairs if _contrast(c[p[0]], c[p[1]]) < 4.5
    }
    assert poor == {}
    assert _contrast(c["del"], c["card"]) >= 3  # struck out on purpose


# --- the terminal -------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120, 50])
@pytest.mark.parametrize("name", ALL)
def test_the_table_fits_the_terminal(name, width):
    out = io.StringIO()
    report = ALL[name]()
    console = Console(file=out, width=width)
    console.print(render(report))
    console.print(render_diff(report.diff(samples.sample())))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    if name == "sample" and width >= 80:
        for part in (
            "0.390 [0.260, 0.520]",
            "memorised",
            "no verdict",
            "knights-and-knaves",
            "self-test passed",
        ):
            assert part in text
        assert "lower bound" in " ".join(text.split())


# --- in Chromium --------------------------------------------------------------------------------

HOW = (
    "no Chromium was found: on Debian or Ubuntu type 'apt-get install -y chromium chromium-driver', or set "
    "BYHEART_NO_BROWSER=1 to leave the browser tests out"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if os.environ.get("BYHEART_NO_BROWSER") == "1":
        pytest.skip("BYHEART_NO_BROWSER=1")
    binary = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.fail(HOW, pytrace=False)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
        "--disable-sync", f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, make in ALL.items():
        (folder / f"{name}.html").write_text(make().to_html(), encoding="utf-8")
    return folder


def _visit(browser, path: Path, width: int, *, scripts: bool = True, scheme: str = "light") -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {
            "features": [
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]
        },
    )
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(path.as_uri())


def _assert_quiet(browser, path: Path) -> None:
    """No script error, no blocked block, nothing asked of any network."""
    assert [e for e in browser.get_log("browser") if e["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(e["message"])["message"] for e in browser.get_log("performance")]
    urls = [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]
    assert path.as_uri() in urls
    assert [u for u in urls if u.split("#")[0] != path.as_uri() and not u.startswith("data:")] == []


def _overflow(browser) -> list[str]:
    """Elements that reach past the right edge and are not inside a box that scrolls."""
    return browser.execute_script(
        """
        const wide = [...document.querySelectorAll("body *")].filter((e) =>
          e.getBoundingClientRect().right > innerWidth + 1 && e.getBoundingClientRect().width > 0
          && !e.closest(".scroll, .hide, .skip") && !(e instanceof SVGElement && e.ownerSVGElement));
        const doc = document.documentElement;
        if (doc.scrollWidth > innerWidth) wide.push(doc);
        return wide.map((e) => e.tagName + "." + (e.getAttribute("class") || ""));
        """
    )


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ALL)
def test_every_section_opens_and_nothing_overflows(browser, pages, name, width):
    path = pages / f"{name}.html"
    _visit(browser, path, width)
    assert _overflow(browser) == []
    every = browser.find_elements("css selector", "details")
    for details in every:
        if details.get_attribute("open") is None:
            parent = browser.execute_script(
                "return arguments[0].parentElement.closest('details')", details
            )
            assert parent is None or parent.get_attribute("open") is not None
            browser.execute_script("arguments[0].querySelector('summary').click()", details)
        assert details.get_attribute("open") is not None
        body = browser.execute_script(
            "return arguments[0].lastElementChild.getBoundingClientRect().height", details
        )
        assert body > 0
    assert _overflow(browser) == []
    assert len(every) >= len(ALL[name]().audits)
    _assert_quiet(browser, path)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_click_on_a_heading_opens_and_buttons_open_all(browser, pages, width):
    path = pages / "sample.html"
    _visit(browser, path, width)
    section = browser.find_element("id", "audit-membership")
    assert section.get_attribute("open") is None
    section.find_element("css selector", "summary").click()
    assert section.get_attribute("open") is not None
    sections = browser.find_elements("css selector", "details.section")
    for state, expected in (("open", len(sections)), ("close", 0)):
        browser.find_element("css selector", f"[data-all={state}]").click()
        assert len(browser.find_elements("css selector", "details.section[open]")) == expected
    browser.find_element("css selector", "a[href='#finding-membership-auc']").click()
    assert browser.find_element("id", "finding-membership-auc").is_displayed()
    _assert_quiet(browser, path)


@pytest.mark.parametrize("scripts", [True, False])
def test_evidence_is_filtered_with_and_without_scripts(browser, pages, scripts):
    path = pages / "sample.html"
    _visit(browser, path, 1280, scripts=scripts)
    block = browser.find_element("css selector", "#finding-verbatim-exact .evidence")

    def shown() -> list[int]:
        return [
            sum(c.is_displayed() for c in block.find_elements("css selector", f".card.{arm}"))
            for arm in ("seen", "fresh")
        ]

    assert shown() == [3, 3]
    for value, expected in (("seen", [3, 0]), ("fresh", [0, 3]), ("all", [3, 3])):
        block.find_element("css selector", f"input[value={value}]").click()
        assert shown() == expected
    if not scripts:
        section = browser.find_element("id", "audit-membership")
        section.find_element("css selector", "summary").click()
        assert browser.find_element("id", "finding-membership-auc").is_displayed()
        assert not browser.find_element("css selector", ".buttons").is_displayed()
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_hostile_text_is_shown_and_not_obeyed(browser, pages):
    _visit(browser, pages / "sample.html", 1280)
    cards = browser.find_elements("css selector", "#finding-verbatim-exact .card.seen")
    card = next(c for c in cards if "html-001" in c.text)
    assert '<img src=x onerror="alert(1)">' in card.text
    assert "{{ 7*7 }}" in card.text
    assert browser.execute_script("return document.querySelectorAll('img, b > script').length") == 0


def test_dots_stand_where_the_numbers_say(browser, pages):
    """Positions on the screen against the scale, by the browser's own geometry."""
    _visit(browser, pages / "sample.html", 1280)
    row = browser.find_element("css selector", ".group .row .arms-plot")
    box = browser.execute_script(
        "const c = (s) => { const r = arguments[0].querySelector(s).getBoundingClientRect();"
        " return r.left + r.width / 2; };"
        "const b = arguments[0].querySelector('svg').getBoundingClientRect();"
        "return [b.left, b.width, c('circle.seen'), c('circle.fresh')];",
        row,
    )
    left, width, seen, fresh = box
    assert seen == pytest.approx(left + width * (0.03 + 0.94 * 0.42), abs=0.6)
    assert fresh == pytest.approx(left + width * (0.03 + 0.94 * 0.03), abs=0.6)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_colour_schemes_are_used(browser, pages, scheme):
    _visit(browser, pages / "sample.html", 390, scheme=scheme)
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    paper = _colours()[scheme]["paper"]
    assert colour == f"rgb({', '.join(str(int(paper[i : i + 2], 16)) for i in (1, 3, 5))})"


def test_an_address_with_an_anchor_opens_its_section(browser, pages):
    path = pages / "sample.html"
    browser.get("about:blank")
    browser.get(path.as_uri() + "#finding-economic-recall-within-tolerance")
    assert browser.find_element("id", "audit-economic-recall").get_attribute("open") is not None
