"""Reports that look like real ones, for the tests of report, page and table."""

from __future__ import annotations

from byheart.core.finding import Estimate, Evidence, Finding
from byheart.core.report import Failure, Report, SelfTest, Skipped

PASSAGE = (
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife. However little known the feelings or views of such a man may be on "
    "his first entering a neighbourhood, this truth is so well fixed in the minds of the "
    "surrounding families, that he is considered the rightful property of some one or other of "
    "their daughters."
)
HOSTILE = (
    '</script><script>alert("x")</script><img src=x onerror="alert(1)"> <b>bold</b> '
    "&amp; {{ 7*7 }} {% raw %} ]]> <!-- \x00\x1b[31m\u202eright to left\u202c"
)
UNICODE = "Καλημέρα κόσμε, 你好世界, مرحبا بالعالم, 👩‍🔬🏳️‍🌈 ﷽ ẍ̶̛ naïve façade\n\tnew line"


def estimate(value: float, width: float = 0.1, low: float = -1e9, high: float = 1e9) -> Estimate:
    return Estimate(value, max(low, value - width), min(high, value + width))


def share(value: float, width: float = 0.12) -> Estimate:
    return estimate(value, width, 0.0, 1.0)


def evidence(kind: str = "passage") -> tuple[Evidence, ...]:
    if kind == "passage":
        cut = PASSAGE.index(" must be")
        changed = PASSAGE[cut:].replace("wife", "husband").replace("rightful", "lawful")
        return (
            Evidence("pride-001", "seen", PASSAGE[:cut], PASSAGE[cut:], PASSAGE[cut:], 1.0),
            Evidence(
                "pride-001~", "fresh", "Mr. Collins was not a sensible man,",
                " and the deficiency of nature had been but little assisted by education",
                " and he had never been known to speak ill of any one but himself", 0.0,
                "same author, same length",
            ),
            Evidence("pride-002", "seen", PASSAGE * 8, PASSAGE[cut:], changed, 0.86),
            Evidence("html-001", "seen", HOSTILE, HOSTILE, HOSTILE.replace("bold", "pale"), 0.9),
            Evidence("uni-001~", "fresh", UNICODE, UNICODE, UNICODE.upper(), 0.1, "letters " * 6),
            Evidence("empty-001~", "fresh", "Go on:", "expected words", "", 0.0),
        )  # fmt: skip
    if kind == "series":
        return (
            Evidence(
                "unemployment 2019-11", "seen",
                "What was the US unemployment rate in November 2019? Answer with the number only.",
                "3.6", "3.5", 0.1, "absolute error in points",
            ),
            Evidence(
                "unemployment 2025-06", "fresh",
                "What was the US unemployment rate in June 2025? Answer with the number only.",
                "4.1", "3.7", 0.4,
            ),
        )  # fmt: skip
    return (
        Evidence("m-17", "seen", PASSAGE[:160], "", "", -2.31, "scored only"),
        Evidence("m-17~", "fresh", "A word" + "longword" * 40, "", "", -2.97, "scored only"),
    )


def finding(name: str, **given: object) -> Finding:
    base: dict[str, object] = {
        "name": name,
        "claim": "Seen passages are continued word for word more often than unseen ones.",
        "seen": share(0.42),
        "fresh": share(0.03, 0.04),
        "gap": Estimate(0.39, 0.26, 0.52),
        "p_value": 0.0002,
        "n": 48,
        "unit": "share",
        "seed": 0,
    }
    return Finding(**(base | given))  # type: ignore[arg-type]


def findings() -> list[Finding]:
    return [
        finding(
            "verbatim/exact", evidence=evidence(), control="passages of the same author and length",
            details={
                "by_prefix": {"16": 0.31, "32": 0.42, "64": 0.55},
                "longest_common_run": [12, 50, 50, 3, 0], "reference": "Carlini et al. 2023",
                "guesses": 5, "tokenizer": None,
            },
        ),
        finding(
            "verbatim/logprob", unit="nats/token", claim="Seen suffixes surprise the model less.",
            seen=estimate(2.62, 0.18), fresh=estimate(3.11, 0.16), gap=estimate(0.49, 0.21),
            p_value=0.004, higher_is_memory=False, evidence=evidence("scored"),
            control_gap=estimate(0.02, 0.09), control="the same passages under an n-gram model",
        ),
        finding(
            "membership/auc", unit="AUC", claim="The score tells members from non-members.",
            seen=estimate(0.61, 0.06), fresh=Estimate(0.5, 0.5, 0.5), gap=estimate(0.11, 0.06),
            p_value=0.011, control="blind bag-of-words classifier",
            control_gap=estimate(0.13, 0.07), evidence=evidence("scored"), n=200,
            details={"seen_is": "attack", "fresh_is": "blind baseline"},
            no_verdict="a classifier that never saw the model tells the two sets apart as well "
            "(AUC 0.63): the sets differ in topic, so the attack proves nothing",
        ),
        finding(
            "membership/min-k-plus-plus", unit="AUC", claim="Min-K%++ tells members apart.",
            seen=estimate(0.52, 0.06), fresh=Estimate(0.5, 0.5, 0.5), gap=estimate(0.02, 0.06),
            p_value=0.31, control="blind bag-of-words classifier", n=200, exploratory=True,
        ),
        finding(
            "economic-recall/within-tolerance", claim="Values before the cutoff are known better.",
            seen=share(0.21, 0.09), fresh=share(0.17, 0.09), gap=estimate(0.04, 0.12),
            p_value=0.29, n=96, control="last value carried forward", evidence=evidence("series"),
            control_gap=estimate(0.01, 0.05),
        ),
        finding(
            "output-distribution/cdd-peaked", claim="Samples of seen items crowd around one answer.",
            seen=share(0.02, 0.03), fresh=share(0.02, 0.03), gap=estimate(0.0, 0.04), p_value=0.5,
            n=64, control="perplexity and Min-K % on the same items",
        ),
    ]  # fmt: skip


def meta(**more: object) -> dict[str, object]:
    audits = {
        "verbatim": ("Verbatim recall", "Carlini et al. 2023", 96, 96),
        "membership": ("Membership of texts", "Shi et al. 2024; Zhang et al. 2025", 400, 399),
        "economic-recall": ("Recall of economic series", "Lopez-Lira et al. 2025", 192, 192),
        "output-distribution": ("Output distribution (CDD, TED)", "Dong et al. 2024", 128, 128),
    }
    return {
        "byheart": "0.1.0",
        "created": "2026-11-24T13:30:00+00:00",
        "duration_s": 431.2,
        "seed": 0,
        "limit": 48,
        "fingerprint": "sha256:5f0c2f3e9a71",
        "python": "3.11.9",
        "packages": {"torch": "2.13.0", "transformers": "5.24.0", "numpy": "2.3.1"},
        "audits": {
            name: {
                "title": title,
                "claim": f"{title}: what a positive gap shows, in one sentence.",
                "control": "A fresh twin of each item, alike in everything but being seen.",
                "source": source, "n_probes": n, "n_done": done,
                "config": {"prefix": 32, "samples": 8, "texts": None},
            }
            for name, (title, source, n, done) in audits.items()
        },
        "complete": True,
        "missing": "",
    } | more  # fmt: skip


def self_test(broken: bool = False) -> SelfTest:
    def arm(level: float, p: float) -> tuple[Finding, ...]:
        return (
            finding("verbatim/exact", n=12, seen=share(level), fresh=share(0.02, 0.02),
                    gap=estimate(level - 0.02), p_value=p, evidence=evidence()[:2]),
            finding("verbatim/logprob", n=12, unit="nats/token", higher_is_memory=False,
                    seen=estimate(3.1 - 2.6 * level, 0.2), fresh=estimate(3.05, 0.2),
                    gap=estimate(2.6 * level - 0.05, 0.25), p_value=p),
            finding("membership/auc", n=12, unit="AUC", seen=estimate(0.5 + level / 2, 0.1),
                    fresh=Estimate(0.5, 0.5, 0.5), gap=estimate(level / 2, 0.1), p_value=p),
            finding("economic-recall/within-tolerance", n=12, seen=share(level),
                    fresh=share(0.03, 0.03), gap=estimate(level - 0.03), p_value=p),
            finding("output-distribution/cdd-peaked", n=12, seen=share(level), fresh=share(0.0, 0),
                    gap=estimate(level), p_value=p),
        )  # fmt: skip

    def corrected(level: float, p: float) -> tuple[Finding, ...]:
        return tuple(f.with_adjusted(min(1.0, 5 * p)) for f in arm(level, p))

    return SelfTest(
        base_planted=corrected(0.02, 0.4),
        base_held=corrected(0.03, 0.5),
        planted=corrected(0.1, 0.3) if broken else corrected(0.93, 0.0003),
        held=corrected(0.04, 0.45),
        meta={"n": 12, "texts": 60, "training_s": 71.0, "duration_s": 148.0},
    )


def sample() -> Report:
    """Several audits, one without a verdict, one skipped, failures, a self-test that passed."""
    return Report.of(
        "SmolLM2-135M-Instruct",
        findings(),
        skipped=[
            Skipped(
                "knights-and-knaves",
                "the endpoint gives no log-probabilities; use local weights: hf:NAME",
            )
        ],
        failures=[Failure("membership", "m-203", "the model answered with NaN logits <at> 17")],
        meta=meta(),
        self_test=self_test(),
    )


def empty() -> Report:
    """Nothing was measured."""
    return Report.of(
        "inspect:openai/gpt-x", [], skipped=[Skipped("verbatim", "not reached: interrupted")],
        meta=meta(complete=False, missing="interrupted", audits={}),
    )  # fmt: skip


def single() -> Report:
    """One finding, no settings at all."""
    return Report.of("toy", [finding("verbatim/exact")])


def many(n: int = 40) -> Report:
    """Forty findings in five units, with long names."""
    units = ("share", "AUC", "nats/token", "characters", "percentage points")
    out = []
    for i in range(n):
        unit = units[i % 5]
        size = 1.0 if i % 5 < 2 else 10.0 ** (i % 5)
        level = (i % 7) / 10
        out.append(
            finding(
                f"audit-{i // 8}/a-rather-long-metric-name-{i}", unit=unit,
                seen=estimate(level * size, 0.05 * size), fresh=estimate(0.1 * size, 0.05 * size),
                gap=estimate((level - 0.1) * size, 0.08 * size), p_value=min(1.0, 0.0001 * 3 ** i),
                evidence=evidence()[:2] if i % 3 == 0 else (),
            )
        )  # fmt: skip
    return Report.of("a/model-with-a-very-long-name-" * 4, out, meta=meta(audits={}))


def broken() -> Report:
    """A self-test that did not find what was planted."""
    return Report.of("toy", findings()[4:], meta=meta(), self_test=self_test(broken=True))
