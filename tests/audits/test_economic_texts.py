"""Dating, masked entities, lookahead propensity, embedding recall."""

import json

import numpy as np
import pytest

from byheart.audits._economic.embedding import ridge
from byheart.audits._economic.texts import same_company
from byheart.audits.economic_recall import (
    Anonymiser,
    EconomicRecall,
    Texts,
    dating,
    embedding_recall,
    lookahead_propensity,
    recall_propensity,
    unmask,
)
from byheart.core.drive import drive
from byheart.core.errors import DataError, UsageError
from byheart.data.series import load, month_index, month_label

TEXT = (
    "Good afternoon, and welcome to the Apple Inc. third quarter 2021 earnings call. Tim Cook, "
    "our Chief Executive Officer, will speak. iPhone revenue was $39.6 billion, up 50% from Q3 2020. "
    "On July 27, 2021 we returned 29 billion dollars; Apple's margin was 43.3 percent (NASDAQ: AAPL)."
)


def test_anonymiser_leaves_nothing_that_dates_or_names():
    masked = Anonymiser(
        companies={"Apple Inc.": ["Apple", "AAPL"]}, people=["Tim Cook"], products=["iPhone"]
    ).mask(TEXT)
    for leak in (
        "Apple",
        "AAPL",
        "Cook",
        "iPhone",
        "39.6",
        "50",
        "2020",
        "2021",
        "July",
        "43.3",
        "29",
        "third",
    ):
        assert leak not in masked.text, leak
    assert masked.mapping["[COMPANY_1]"] == "Apple Inc."
    assert masked.text.count("[COMPANY_1]") == 3  # one company, one placeholder
    again = Anonymiser(companies=["Apple Inc.", "Apple"]).mask(TEXT)
    assert Anonymiser(companies=["Apple Inc.", "Apple"]).mask(TEXT) == again


def test_patterns_alone_find_people_by_role_and_report_what_is_left():
    masked = Anonymiser().mask(TEXT)
    assert "Tim Cook" in masked.mapping.values()
    assert "Apple Inc." in masked.mapping.values()
    assert any("iPhone" in masked.text for _ in (0,))  # a bare product name needs the list
    kept = Anonymiser(dates=False, numbers=False).mask("In May 2020 it was 3.5 %.")
    assert kept.text == "In May 2020 it was 3.5 %."
    assert "Globex" in Anonymiser().mask("We bought Globex last year.").residual
    with pytest.raises(UsageError):
        Anonymiser(companies="Apple")
    with pytest.raises(UsageError):
        Anonymiser(people=[" "])


def test_dating():
    truth = {
        "Lehman Brothers files for bankruptcy": "2008-09",
        "Brexit vote shocks markets": "2016-06",
    }

    def model(prompt):
        text = prompt[-1][1]
        year = 2008 if "Lehman" in text else 2016
        return json.dumps({"year": year, "month": 9})

    out = dating([{"text": t, "date": d} for t, d in truth.items()], model=model)
    assert [r["year"] for r in out] == [1.0, 1.0]
    assert [r["year_month"] for r in out] == [1.0, 0.0]


def test_unmask():
    def model(prompt):
        return '{"company": "apple", "ticker": "AAPL", "year": 2021, "quarter": 3, "confidence": 9}'

    answers = [
        {"company": "Apple Inc.", "year": 2021, "quarter": 3},
        {"company": "Meta Platforms", "year": 2021, "quarter": 2},
    ]
    right, wrong = unmask(["[COMPANY_1] did well", "[COMPANY_1] too"], answers, model=model)
    assert [right[k] for k in ("company", "year", "quarter", "quarter_year")] == [1, 1, 1, 1]
    assert [wrong[k] for k in ("company", "year", "quarter", "quarter_year")] == [0, 1, 0, 0]
    with pytest.raises(UsageError):
        unmask(["a"], [], model=model)


@pytest.mark.parametrize(
    ("reply", "hits"),
    [
        ('{"company": "Apple Inc", "year": "2021", "quarter": "Q3"}', (1, 1, 1)),
        ('{"company": "AAPL", "year": 2021, "quarter": "2021-Q3"}', (1, 1, 1)),
        ('{"company": "apple", "year": "FY2021", "quarter": "third"}', (1, 1, 1)),
        ("Apple, Q3 2021", (1, 1, 1)),
        ("It is Apple in the second quarter of 2021.", (1, 1, 0)),
        ('{"company": "Pineapple", "year": 2021, "quarter": 12}', (0, 1, 0)),
        ("an applet of 2020", (0, 0, 0)),
    ],
)
def test_companies_and_quarters_as_models_write_them(reply, hits):
    answer = {"company": "Apple Inc.", "ticker": "AAPL", "year": 2021, "quarter": 3}
    (out,) = unmask(["[COMPANY_1] did well"], [answer], model=lambda p: reply)
    assert (out["company"], out["year"], out["quarter"]) == hits
    assert out["answered"] == 1.0


def test_unknown_is_no_answer_and_names_are_compared_without_accents():
    reply = '{"company": "unknown", "ticker": null, "year": null, "quarter": null}'
    answer = {"company": "Apple", "year": 2021, "quarter": 3}
    assert unmask(["x"], [answer], model=lambda p: reply)[0]["answered"] == 0.0
    assert same_company("Société Générale S.A.", "Societe Generale")
    assert same_company("Johnson & Johnson", "Johnson and Johnson")
    assert not same_company("", "")


def _items(tmp_path, cutoff="2020-12"):
    at = month_index(cutoff)
    records = []
    for i in range(-40, 41):
        if i:
            date = month_label(at + i)
            records.append(
                {"text": f"event {i} in {i * 37 % 101}", "date": date, "company": f"Firm{i % 9}"}
            )
    path = tmp_path / "items.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    return path, {r["text"]: r for r in records}


@pytest.mark.parametrize("probe", ["dating", "unmask"])
def test_text_probes_as_an_audit(tmp_path, probe):
    path, truth = _items(tmp_path)

    def remembers(prompt):
        record = next(r for t, r in truth.items() if t in prompt[-1][1])
        year, month = (int(x) for x in record["date"].split("-"))
        if year > 2020:
            return "no idea"
        return json.dumps(
            {
                "year": year,
                "month": month,
                "quarter": (month - 1) // 3 + 1,
                "company": record["company"],
            }
        )

    audit = EconomicRecall(probe=probe, items=path, cutoff="2020-12", embargo=0)
    from byheart.core.model import CallableModel

    found = audit.findings(drive(audit, CallableModel(remembers), limit=30))
    assert {f.verdict() for f in found if not f.exploratory} == {"memorised"}
    blank = audit.findings(drive(audit, CallableModel(lambda p: '{"year": 2019}'), limit=30))
    assert "memorised" not in {f.verdict() for f in blank}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "line 1: expected an object"),
        ('{"date": "2020-01"}', "'text' is missing"),
        ('{"text": "x"}', "'date' is missing"),
        ('{"text": "x", "date": "May"}', "is no date"),
        ("", "holds no texts"),
    ],
)
def test_bad_items(tmp_path, line, message):
    path = tmp_path / "items.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match=message):
        Texts.load(path)


def test_lookahead_propensity_finds_what_was_put_in():
    rng = np.random.default_rng(0)
    lap, forecast = rng.random(600), rng.normal(size=600)
    noise = rng.normal(size=600)
    clean = lookahead_propensity(0.2 * forecast + noise, forecast, lap)
    assert clean.verdict == "not shown (lower bound only)"
    tainted = lookahead_propensity(0.2 * forecast + 0.8 * forecast * lap + noise, forecast, lap)
    assert tainted.verdict == "contaminated"
    assert tainted.interaction.low < 0.8 < tainted.interaction.high
    x = np.column_stack([np.ones(600), forecast, lap, forecast * lap])
    closed = np.linalg.lstsq(x, 0.2 * forecast + 0.8 * forecast * lap + noise, rcond=None)[0]
    assert list(tainted.coefficients.values()) == pytest.approx(list(closed))
    json.dumps(tainted.to_dict())


def test_lookahead_logit_clusters_and_bad_input():
    rng = np.random.default_rng(1)
    lap, forecast = rng.random(800), rng.normal(size=800)
    came = (rng.random(800) < 1 / (1 + np.exp(-2 * forecast * lap))).astype(float)
    fitted = lookahead_propensity(came, forecast, lap, kind="logit", clusters=np.arange(800) % 60)
    assert fitted.verdict == "contaminated"
    for args in (
        (came, forecast, lap * 3), (came, forecast[:-1], lap), (came, forecast, lap * 0 + 0.5),
        (came, forecast * np.nan, lap),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            lookahead_propensity(*args)
    with pytest.raises(UsageError, match="0 or 1"):
        lookahead_propensity(forecast, forecast, lap, kind="logit")


def test_recall_propensity_counts_hits():
    cpi = load("us_cpi_nsa")
    known = {"June 2022": "296.311"}
    out = recall_propensity(
        cpi,
        ["2022-06", "2021-06"],
        model=lambda p: next((v for d, v in known.items() if d in p[-1][1]), "7"),
        n=4,
    )
    assert out == [1.0, 0.0]


def test_ridge_against_scikit_learn():
    import sklearn.linear_model as linear

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 6)), rng.normal(size=40)
    w, b, alpha = ridge(x, y, [3.0])
    peer = linear.Ridge(alpha=3.0).fit(x, y)
    assert alpha == 3.0
    assert w == pytest.approx(peer.coef_)
    assert b == pytest.approx(peer.intercept_)
    alphas = (0.01, 1.0, 100.0)
    assert ridge(x, y, alphas)[2] == linear.RidgeCV(alphas=alphas).fit(x, y).alpha_


def test_embedding_recall_and_its_placebo():
    series = load("aaa_yield").between("1980-01", "2018-12")
    known = np.asarray(series.values)
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(len(series), 15))

    (real,) = embedding_recall(series, lambda texts: np.column_stack([known, noise]))
    assert real.correlation > 0.95
    assert real.verdict == "recall shown"
    assert abs(np.mean(real.placebo)) < 0.2
    (blind,) = embedding_recall(series, lambda texts: noise)
    assert blind.verdict == "not shown (lower bound only)"
    with pytest.raises(UsageError, match="at least eight"):
        embedding_recall(series, lambda texts: noise, split="2018-10")
    with pytest.raises(UsageError, match="shape"):
        embedding_recall(series, lambda texts: noise[:3])
