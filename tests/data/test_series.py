"""Series: published values, and every way a file can be wrong."""

import socket
import subprocess
import sys

import pytest

from byheart.core.errors import DataError, MissingExtra, UnknownName, UsageError
from byheart.data import _series_packages
from byheart.data.series import Series, load, month_index, month_label, registry, resolve


@pytest.mark.parametrize(
    ("key", "date", "value"),
    [
        ("us_cpi_nsa", "2022-06", 296.311),
        ("us_cpi_nsa", "1913-01", 9.8),
        ("sp500", "2008-10-10", 899.22),
        ("sp500", "2009-03-09", 676.53),
        ("us_unemployment", "2009-Q3", 9.6),
        ("us_real_gdp", "1959-Q1", 2710.349),
        ("us_unemployment_nsa", "2009-10", 9.5),  # 10.0 is the seasonally adjusted one
        ("us_unemployment_nsa", "2016-12", 4.5),
        ("aaa_yield", "2018-12", 4.02),
        ("us_cpi_core_sa_2018", "2018-11", 259.481),
    ],
)
def test_published_values(key, date, value):
    assert load(key).value(date) == pytest.approx(value, abs=1e-9)


def test_every_registered_series_opens_and_spans_what_it_says():
    for key, line in registry().items():
        series = load(key)
        assert len(series) > 200
        assert series.dates[0] in line
        assert series.source
        assert all(round(v, series.decimals) == v for v in series.values)


def test_only_cpi_reaches_past_todays_cutoffs():
    late = {k for k in registry() if month_index(load(k).dates[-1]) > month_index("2024-12")}
    assert late == {
        k for k in registry() if k.startswith("us_cpi_") and not k.endswith(("2018", "quarterly"))
    }


def test_loading_needs_no_network_and_imports_no_package(monkeypatch):
    code = (
        "import socket, sys\n"
        "def no(*a, **k): raise AssertionError('network')\n"
        "socket.socket.connect = no\n"
        "from byheart.data.series import load\n"
        "load('us_cpi_nsa'); load('sp500'); load('us_m1')\n"
        "assert not {'cpi', 'arch', 'statsmodels', 'pandas', 'scipy', 'torch'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert socket.socket is not None


def test_any_bls_series_by_its_id():
    assert load("cpi:CUUR0000SA0").values == load("us_cpi_nsa").values
    with pytest.raises(UnknownName, match="CUUR0000SA0"):
        load("cpi:CUUR0000SAO")


def test_unknown_key_suggests(monkeypatch):
    with pytest.raises(UnknownName, match="us_cpi_nsa"):
        load("us_cpi_nsq")


def test_missing_package_says_what_to_type(monkeypatch):
    monkeypatch.setattr(_series_packages.importlib.util, "find_spec", lambda name: None)
    _series_packages.load.cache_clear()
    with pytest.raises(MissingExtra, match=r"byheart\[series\]"):
        load("us_m1")
    _series_packages.load.cache_clear()


def _file(tmp_path, text, name="unrate.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_reads_plain_fred_and_bom(tmp_path):
    plain = Series.from_csv(
        _file(tmp_path, "date,value\n2009-09,9.8\n2009-10,10.0\n"), unit="percent"
    )
    assert (plain.freq, plain.value("2009-10"), plain.decimals, plain.name) == (
        "M",
        10.0,
        1,
        "unrate",
    )
    assert plain.rate
    fred = Series.from_csv(
        _file(tmp_path, "\ufeffobservation_date,UNRATE\r\n2009-09-01,9.8\r\n2009-10-01,10.0\r\n")
    )
    assert (fred.dates, fred.freq, fred.name) == (("2009-09", "2009-10"), "M", "UNRATE")


@pytest.mark.parametrize(
    ("rows", "freq", "dates"),
    [
        (["2001,1", "2002,2"], "A", ("2001", "2002")),
        (["2001-Q1,1", "2001-Q2,2"], "Q", ("2001-Q1", "2001-Q2")),
        (["2001-01-01,1", "2001-04-01,2", "2001-07-01,3"], "Q", ("2001-Q1", "2001-Q2", "2001-Q3")),
        (
            ["2001-01-02,1", "2001-01-03,2", "2001-01-05,3"],
            "D",
            ("2001-01-02", "2001-01-03", "2001-01-05"),
        ),
        (
            ["2001-01-01,1", "2001-01-08,2", "2001-01-15,3"],
            "W",
            ("2001-01-01", "2001-01-08", "2001-01-15"),
        ),
    ],
)
def test_tells_the_frequency(tmp_path, rows, freq, dates):
    series = Series.from_csv(_file(tmp_path, "\n".join(["date,value", *rows])))
    assert (series.freq, series.dates) == (freq, dates)


BAD = {
    "empty": ("", "is empty"),
    "header only": ("date,value\n", "0 rows with a value"),
    "one row": ("date,value\n2001-01,1\n", "1 row with a value"),
    "no header": ("2001-01,1\n2001-02,2\n", "line 1: no header"),
    "one column": ("date\n2001-01\n", "line 1: one column"),
    "no value column": ("date,a,b\n2001-01,1,2\n", "one must be called 'date'"),
    "text": ("date,value\n2001-01,1\n2001-02,about two\n", "line 3: 'about two' is not a number"),
    "NaN": ("date,value\n2001-01,1\n2001-02,nan\n", "line 3: no value"),
    "infinity": ("date,value\n2001-01,1\n2001-02,inf\n", "line 3: 'inf' is not a finite number"),
    "dot": ("date,value\n2001-01,1\n2001-02,.\n", "line 3: no value"),
    "blank": ("date,value\n2001-01,1\n2001-02,\n", "line 3: no value"),
    "gap": (
        "date,value\n2001-01,1\n2001-02,2\n2001-04,3\n",
        "line 4: a gap between 2001-02 and 2001-04",
    ),
    "twice": ("date,value\n2001-01,1\n2001-01,2\n", "line 3: 2001-01 was already on line 2"),
    "unsorted": ("date,value\n2001-02,1\n2001-01,2\n", "line 3: 2001-01 comes after 2001-02"),
    "semicolons": ("date;value\n2001-01;1\n", "semicolons"),
    "decimal comma": ("date;value\n2001-01;1,5\n", "comma as decimal mark"),
    "comma in value": ('date,value\n2001-01,"1,5"\n2001-02,2\n', "line 2: '1,5' has a comma"),
    "comma cell": ("date,value\n2001-01,1,5\n", "line 2: 3 cells, the header has 2"),
    "tabs": ("date\tvalue\n2001-01\t1\n", "tabs"),
    "bad date": ("date,value\n2001-01,1\nsoon,2\n", "line 3: 'soon' is no date"),
    "bad month": ("date,value\n2001-01,1\n2001-13,2\n", "line 3: '2001-13' is no date"),
    "bad first date": ("date,value\nsoon,1\nlater,2\n", "line 2: 'soon' is no date"),
    "latin-1": (b"date,value\n2001-01,1\n2001-02,\xe9\n", "line 3: not UTF-8"),
    "binary": (b"PK\x03\x04\x00\x00", "null bytes"),
    "utf-16": ("date,value\n".encode("utf-16"), "UTF-16"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named_with_line_and_reason(tmp_path, case):
    text, message = BAD[case]
    path = _file(tmp_path, text)
    with pytest.raises(DataError) as caught:
        Series.from_csv(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        Series.from_csv(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        Series.from_csv(tmp_path)


def test_a_price_file_gives_its_close(tmp_path):
    text = "Date,Open,High,Low,Close,Adj Close,Volume\n" + "".join(
        f"2008-10-{d},1,2,0.5,{c},{c},100\n" for d, c in ((9, 909.92), (10, 899.22), (13, 1003.35))
    ).replace("-9,", "-09,")
    series = Series.from_csv(_file(tmp_path, text, "gspc.csv"))
    assert (series.freq, series.value("2008-10-10"), series.name) == ("D", 899.22, "gspc")


def test_gaps_can_be_skipped(tmp_path):
    text = "date,value\n2001-01,1\n2001-02,.\n2001-04,3\n"
    assert Series.from_csv(_file(tmp_path, text), gaps="skip").dates == ("2001-01", "2001-04")
    with pytest.raises(UsageError):
        Series.from_csv(_file(tmp_path, text), gaps="fill")


def test_vintages(tmp_path):
    text = "date,value,vintage\n2001-Q1,2.0,first\n2001-Q1,1.5,revised\n2001-Q2,3.0,first\n"
    series = Series.from_csv(_file(tmp_path, text), unit="percent")
    assert series.truths("2001-Q1") == (2.0, 1.5)
    assert series.truths("2001-Q2") == (3.0,)
    other = Series("x", "percent", "Q", ("2001-Q1", "2001-Q2"), (1.4, 2.9))
    assert series.with_vintage(other).truths("2001-Q1") == (2.0, 1.5, 1.4)


def test_round_trip(tmp_path):
    series = load("aaa_yield").between("1990-01", "1999-12")
    series.to_csv(tmp_path / "aaa.csv")
    again = Series.from_csv(tmp_path / "aaa.csv", name=series.name, unit=series.unit)
    assert (again.dates, again.values) == (series.dates, series.values)


def test_split_months_and_embargo():
    series = load("us_cpi_nsa")
    pre, post = series.split("2024-06", embargo=6)
    assert series.dates[pre[-1]] == "2024-06"
    assert series.dates[post[0]] == "2025-01"
    for label in ("1913-01", "1999-12", "2024-06"):
        assert month_label(month_index(label)) == label
    with pytest.raises(UsageError):
        month_index("June 2024")


def test_a_series_refuses_what_it_cannot_be():
    for kwargs, message in (
        ({"dates": ("2001-01",), "values": (1,)}, "at least two"),
        ({"dates": ("2001-01", "2001-02"), "values": (1,)}, "2 dates, 1 values"),
        ({"dates": ("2001-02", "2001-01"), "values": (1, 2)}, "sorted"),
        ({"dates": ("2001-01", "2001-13"), "values": (1, 2)}, "no monthly date"),
        ({"dates": ("2001-01", "2001-02"), "values": (1, float("nan"))}, "nan"),
    ):
        with pytest.raises(DataError, match=message):
            Series("x", "", "M", **kwargs)


def test_resolve_takes_keys_paths_and_series(tmp_path):
    path = _file(tmp_path, "date,value\n2001-01,1\n2001-02,2\n")
    one, two, three = resolve(["us_m1", path, str(path)])
    assert one.name == "US M1 money stock, end of quarter"
    assert two == three
