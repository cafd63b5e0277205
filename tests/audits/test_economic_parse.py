"""Reading replies: hand-written cases, then properties."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byheart.audits._economic.dates import strip_dates
from byheart.audits._economic.parse import (
    parse_direction,
    parse_object,
    parse_value,
    said_date,
    unit_scale,
)

CASES = [
    ('{"value": 296.311, "confidence": 90}', (), 296.311),
    ('```json\n{"value": "3.7%"}\n```', (), 3.7),
    ('{"value": null}', (), None),
    ('{"value": 231.4, "confi', (), 231.4),
    ("{'value': 3.1}", (), 3.1),
    ('{"value": [3, 4]}', (), 3.5),
    # a peer's parser read these as 3, as 1.2 million and as nothing
    ("$3,400 million", (), 3.4e9),
    ("$1.2 trillion", (), 1.2e12),
    ("3,400 million", (), 3.4e9),
    ("The unemployment rate in May 2020 was 14.7 percent.", ("2020-05",), 14.7),
    ("In 2020-05, it was 13.3%", ("2020-05",), 13.3),
    ("2009", ("2009-10",), None),
    ("2,009.5", ("2009-10",), 2009.5),
    ("October 10, 2008: 899.22", ("2008-10-10",), 899.22),
    ("10 October 2008: 899.22", ("2008-10-10",), 899.22),
    ("On 10/10/2008 it closed at 899.22.", ("2008-10-10",), 899.22),
    ("In the third quarter of 2009, 12990.3", ("2009-Q3",), 12990.3),
    ("Q3 2009: 9.6", ("2009-Q3",), 9.6),
    ("The index (1982-84=100) was 130.7 in January 1990", ("1990-01",), 130.7),
    ("The 10-year yield was 4.2", (), 4.2),
    ("3-4%", (), 3.5),
    ("3.5 to 4.5 million", (), 4e6),
    ("-0.75", (), -0.75),
    ("fell by −2.1%", (), -2.1),
    ("The value is **231.4**", (), 231.4),
    (".5", (), 0.5),
    ("150K", (), 150_000),
    ("1.5e3", (), 1500),
    ("I don't know the value for 2020.", (), None),
    ("I cannot provide that. As of 2021 it was not public.", (), None),
    ("unknown", (), None),
    ("", (), None),
]


@pytest.mark.parametrize(("reply", "dates", "value"), CASES)
def test_values(reply, dates, value):
    said = parse_value(reply, dates=dates).value
    assert said == (None if value is None else pytest.approx(value))


def test_ranges_are_flagged_and_confidence_is_read():
    assert parse_value("between 3% and 4%").is_range
    assert not parse_value("-3.5").is_range
    assert parse_value('{"value": 3, "confidence": 0.8}').confidence == 80
    assert parse_value('{"value": 3, "confidence": "70%"}').confidence == 70


def test_echo_of_the_name_is_no_value():
    reply = "The S&P 500 closed at 899.22"
    assert parse_value(reply, echo="S&P 500 index, daily close").value == 899.22
    assert parse_value("The S&P 500 index", echo="S&P 500 index").value is None


def test_unit_words_against_the_unit_of_the_series():
    scale = unit_scale("billions of chained 2005 US dollars")
    assert parse_value("$12.99 trillion", scale=scale).value == pytest.approx(12990)
    assert parse_value("12990.3", scale=scale).value == 12990.3
    assert unit_scale("US dollars per barrel") == 1


@given(st.floats(-1e9, 1e9).map(lambda v: round(v, 3)))
def test_any_number_survives_json_and_thousands_marks(value):
    assert parse_value(json.dumps({"value": value})).value == value
    assert parse_value(f"It was {value:,.3f}.").value == pytest.approx(value)


@given(st.integers(1900, 2030), st.integers(1, 12))
def test_the_queried_date_is_never_the_value(year, month):
    date = f"{year}-{month:02d}"
    for text in (f"In {date} I have no number", f"{month}/{year}", f"for the year {year}", date):
        assert parse_value(text, dates=(date,)).value is None
    assert "42.5" in strip_dates(f"{date}: 42.5", (date,))


@given(st.text(max_size=60))
def test_nothing_a_model_says_raises(text):
    parse_value(text, dates=("2020-05",), echo=text)
    parse_object(text)
    parse_direction(text)
    said_date(text)


def test_directions_and_dates():
    assert parse_direction('{"direction": "up"}') == 1
    assert parse_direction("It fell.") == -1
    assert parse_direction("It went up, then down.") is None
    assert parse_direction("Up or down? Up.") == parse_direction("+1") == 1
    assert parse_direction('{"direction": -1}') == parse_direction("It plunged") == -1
    assert parse_direction("It will not go up.") is None  # nor does it say down
    september = (
        '{"year": 2008, "month": "Sept"}', '{"year": "September 2008"}', "2008-09", "2008/9",
        "Sept. 15, 2008", "15 September 2008", "9/15/2008", "15.09.2008", "09/2008", "2008 (September)",
        "It may be September of 2008, long after 1929",
    )  # fmt: skip
    assert {said_date(reply) for reply in september} == {(2008, 9)}
    assert said_date("15/9/2008") == (2008, 9)  # there is no fifteenth month
    assert said_date("in 2008") == (2008, None)
    assert said_date("no idea") == (None, None)
