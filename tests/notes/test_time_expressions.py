"""Time expressions: a table worked out with a calendar, and properties."""

from __future__ import annotations

from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byheart.notes.time_expressions import find_times, parse_moment

WEDNESDAY = date(2023, 5, 17)
"""In the table, the day of speaking: Monday of that week is 15 May, 2023 is no leap year."""

TABLE = [
    # days near the day of speaking
    ("I went yesterday", "yesterday", "2023-05-16", "2023-05-16"),
    ("today I rest", "today", "2023-05-17", "2023-05-17"),
    ("see you tomorrow", "tomorrow", "2023-05-18", "2023-05-18"),
    ("a show tonight", "tonight", "2023-05-17", "2023-05-17"),
    ("last night was fun", "last night", "2023-05-16", "2023-05-16"),
    ("this morning I ran", "this morning", "2023-05-17", "2023-05-17"),
    ("the day before yesterday", "the day before yesterday", "2023-05-15", "2023-05-15"),
    ("the day after tomorrow", "the day after tomorrow", "2023-05-19", "2023-05-19"),
    ("I moved recently", "recently", "2023-05-03", "2023-05-17"),
    # weekdays
    ("on Friday I swam", "on Friday", "2023-05-12", "2023-05-12"),
    ("Wednesday it is", "Wednesday", "2023-05-17", "2023-05-17"),
    ("last Friday", "last Friday", "2023-05-12", "2023-05-12"),
    ("last Wednesday", "last Wednesday", "2023-05-10", "2023-05-10"),
    ("next Friday", "next Friday", "2023-05-19", "2023-05-19"),
    ("next Wed", "next Wed", "2023-05-24", "2023-05-24"),
    ("this Monday", "this Monday", "2023-05-15", "2023-05-15"),
    ("this coming Saturday", "this coming Saturday", "2023-05-20", "2023-05-20"),
    # weeks, weekends, months, years
    ("last week", "last week", "2023-05-08", "2023-05-14"),
    ("this week", "this week", "2023-05-15", "2023-05-21"),
    ("next week", "next week", "2023-05-22", "2023-05-28"),
    ("last weekend", "last weekend", "2023-05-13", "2023-05-14"),
    ("this weekend", "this weekend", "2023-05-20", "2023-05-21"),
    ("last month", "last month", "2023-04-01", "2023-04-30"),
    ("next month", "next month", "2023-06-01", "2023-06-30"),
    ("this year", "this year", "2023-01-01", "2023-12-31"),
    ("last year", "last year", "2022-01-01", "2022-12-31"),
    ("the past few weeks", "the past few weeks", "2023-04-19", "2023-05-17"),
    ("for the last 3 years", "for the last 3 years", "2020-05-17", "2023-05-17"),
    # ago and ahead
    ("two days ago", "two days ago", "2023-05-15", "2023-05-15"),
    ("a few days ago", "a few days ago", "2023-05-13", "2023-05-15"),
    ("a week ago", "a week ago", "2023-05-08", "2023-05-14"),
    ("two weeks ago", "two weeks ago", "2023-05-01", "2023-05-07"),
    ("a couple of weeks ago", "a couple of weeks ago", "2023-05-01", "2023-05-07"),
    ("two weekends ago", "two weekends ago", "2023-05-06", "2023-05-07"),
    ("3 months ago", "3 months ago", "2023-02-01", "2023-02-28"),
    ("five years ago", "five years ago", "2018-01-01", "2018-12-31"),
    ("ten years back", "ten years back", "2013-01-01", "2013-12-31"),
    ("several months ago", "several months ago", "2022-10-01", "2023-02-28"),
    ("in two weeks", "in two weeks", "2023-05-29", "2023-06-04"),
    ("in 2 weeks' time", "in 2 weeks' time", "2023-05-29", "2023-06-04"),
    ("3 days from now", "3 days from now", "2023-05-20", "2023-05-20"),
    # dates
    ("2021-02-03", "2021-02-03", "2021-02-03", "2021-02-03"),
    ("on 8 May, 2023", "8 May, 2023", "2023-05-08", "2023-05-08"),
    ("on May 8th, 2023", "May 8th, 2023", "2023-05-08", "2023-05-08"),
    ("the 8th of May 2023", "8th of May 2023", "2023-05-08", "2023-05-08"),
    ("22August, 2022", "22August, 2022", "2022-08-22", "2022-08-22"),
    ("29 February 2024", "29 February 2024", "2024-02-29", "2024-02-29"),
    ("in December 2022", "December 2022", "2022-12-01", "2022-12-31"),
    ("Sept. 2022", "Sept. 2022", "2022-09-01", "2022-09-30"),
    ("since 2016", "since 2016", "2016-01-01", "2016-12-31"),
    ("the 1990s", "1990s", "1990-01-01", "1999-12-31"),
    ("summer 2022", "summer 2022", "2022-06-01", "2022-08-31"),
    ("winter of 2022", "winter of 2022", "2022-12-01", "2023-02-28"),
    ("Christmas 2021", "Christmas 2021", "2021-12-25", "2021-12-25"),
    ("early May 2023", "early May 2023", "2023-05-01", "2023-05-10"),
    ("mid-June 2023", "mid-June 2023", "2023-06-11", "2023-06-20"),
    ("end of May 2023", "end of May 2023", "2023-05-21", "2023-05-31"),
    ("first half of September 2022", "first half of September 2022", "2022-09-01", "2022-09-15"),
    ("first weekend of August 2023", "first weekend of August 2023", "2023-08-05", "2023-08-06"),
    ("third Monday of January 2023", "third Monday of January 2023", "2023-01-16", "2023-01-16"),
    ("last week of May 2023", "last week of May 2023", "2023-05-25", "2023-05-31"),
    # without a year: the nearest
    ("on May 3rd", "May 3rd", "2023-05-03", "2023-05-03"),
    ("on 24 December", "24 December", "2022-12-24", "2022-12-24"),
    ("in May", "in May", "2023-05-01", "2023-05-31"),
    ("in January", "in January", "2023-01-01", "2023-01-31"),
    ("in December", "in December", "2022-12-01", "2022-12-31"),
    ("last March", "last March", "2023-03-01", "2023-03-31"),
    ("next March", "next March", "2024-03-01", "2024-03-31"),
    ("last summer", "last summer", "2022-06-01", "2022-08-31"),
    ("this summer", "this summer", "2023-06-01", "2023-08-31"),
    ("at Christmas", "at Christmas", "2022-12-25", "2022-12-25"),
    ("last Halloween", "last Halloween", "2022-10-31", "2022-10-31"),
    # leaning on a date
    ("the week before 6 July 2023", "the week before 6 July 2023", "2023-06-29", "2023-07-05"),
    (
        "the Friday before 15 July 2023",
        "the Friday before 15 July 2023",
        "2023-07-14",
        "2023-07-14",
    ),
    (
        "two weekends before 17 July 2023",
        "two weekends before 17 July 2023",
        "2023-07-08",
        "2023-07-09",
    ),
    ("the weekend of 22 August 2022", "the weekend of 22 August 2022", "2022-08-27", "2022-08-28"),
    ("4 days after March 1, 2023", "4 days after March 1, 2023", "2023-03-05", "2023-03-05"),
    ("the month after May 2023", "the month after May 2023", "2023-06-01", "2023-06-30"),
    (
        "last weekend before April 10, 2023",
        "last weekend before April 10, 2023",
        "2023-04-08",
        "2023-04-09",
    ),
]

NOTHING = [
    "I sat down and this may be it, the sun is out",
    "They fall for the second time",
    "we march on",
    "31 June 2023",
    "29 February 2023",
    "2022-13-01",
    "in 9999 years",
    "9999 years ago",
    "room 2023b",
    "",
]


@pytest.mark.parametrize(("text", "words", "first", "last"), TABLE, ids=[t[0] for t in TABLE])
def test_an_expression_is_the_days_it_names(text, words, first, last):
    (found,) = find_times(text, WEDNESDAY)
    assert (words, first, last) == (found.text, str(found.first), str(found.last))
    assert text[found.start :].startswith(words)


@pytest.mark.parametrize("text", NOTHING)
def test_what_names_no_day_is_left_alone(text):
    assert find_times(text, WEDNESDAY) == []


@pytest.mark.parametrize(
    ("said", "text", "first", "last"),
    [
        (date(2023, 1, 1), "last month", "2022-12-01", "2022-12-31"),  # over the new year
        (date(2023, 1, 1), "last week", "2022-12-19", "2022-12-25"),  # 1 January is a Sunday
        (date(2023, 5, 21), "last weekend", "2023-05-13", "2023-05-14"),  # said on a weekend
        (date(2024, 3, 31), "last month", "2024-02-01", "2024-02-29"),  # 31 days back is no month
        (date(2024, 2, 29), "a year ago", "2023-01-01", "2023-12-31"),
        (date(2023, 12, 20), "in January", "2024-01-01", "2024-01-31"),
        (date(1, 1, 1), "tomorrow", "0001-01-02", "0001-01-02"),
    ],
)
def test_the_edges_of_the_calendar(said, text, first, last):
    (found,) = find_times(text, said)
    assert (first, last) == (str(found.first), str(found.last))


def test_days_outside_the_calendar_are_no_error():
    assert find_times("yesterday and ten years ago", date(1, 1, 1)) == []
    assert find_times("tomorrow, in two weeks, next year", date(9999, 12, 31)) == []


def test_without_a_day_of_speaking_only_dates_with_their_year_count():
    found = find_times("yesterday, last week, on 3 May, in June 2022, in 1999")
    assert [f.text for f in found] == ["June 2022", "in 1999"]


def test_several_expressions_in_one_text_come_in_its_order():
    found = find_times(
        "Last week I met Jo; on 8 May 2023 we ran, and in two weeks again.", WEDNESDAY
    )
    assert [f.text for f in found] == ["Last week", "8 May 2023", "in two weeks"]


def test_a_moment_counts_by_its_day():
    late = datetime(2023, 5, 17, 23, 59)
    assert find_times("yesterday", late) == find_times("yesterday", late.date())


PIECES = [t[0] for t in TABLE] + ["and", "5", "may", "the", "of", "before", "é", "\x00", "日", "  "]


@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=8)), max_size=12).map(" ".join),
    st.one_of(st.none(), st.dates()),
)
def test_any_text_gives_spans_that_stand_in_it_and_do_not_overlap(text, said):
    end = 0
    for found in find_times(text, said):
        assert found.start >= end
        assert text[found.start : found.start + len(found.text)] == found.text
        assert found.first <= found.last
        assert found.days >= 1
        end = found.start + len(found.text)


def test_a_long_text_takes_linear_time():
    import time

    def seconds(n: int) -> float:
        start = time.process_time()
        text = "we met on 8 May 2023 again, and last week. " * n
        assert len(find_times(text, WEDNESDAY)) == 2 * n
        return time.process_time() - start

    seconds(100)
    assert seconds(8000) < 30 * max(seconds(800), 1e-3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1:56 pm on 8 May, 2023", datetime(2023, 5, 8, 13, 56)),
        ("12:09 am on 13 September, 2023", datetime(2023, 9, 13, 0, 9)),
        ("12:30 pm on 1 May, 2023", datetime(2023, 5, 1, 12, 30)),
        ("2023-05-08T13:56:00", datetime(2023, 5, 8, 13, 56)),
        ("2023-05-08", datetime(2023, 5, 8)),
        ("May 8, 2023", datetime(2023, 5, 8)),
        ("8 May 2023 at 25:00", None),
        ("May 2023", None),
        ("some day", None),
        ("", None),
    ],
)
def test_time_stamps_are_read(text, expected):
    assert parse_moment(text) == expected
