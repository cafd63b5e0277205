"""Series that plain Python packages carry on disk.

`cpi`, `arch`, `bokeh-sampledata` and `statsmodels`.
"""

from __future__ import annotations

import csv
import datetime
import functools
import gzip
import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from byheart.core.errors import DataError, MissingExtra, UnknownName
from byheart.data.series import FREQUENCIES, Series

__all__ = ["load", "registry"]

_CPI = "index, 1982-84=100"
_ARCH = "arch.data"
_MACRO = "statsmodels.datasets.macrodata"


@dataclass(frozen=True)
class _Entry:
    """Where a series lies. `column` is a BLS id for `cpi`, else a column of `file`."""

    package: str
    column: str
    name: str
    unit: str
    freq: str
    decimals: int
    adjusted: bool | None = None
    file: str = ""
    span: str = ""


def _bls(column: str, what: str, adjusted: bool, start: str) -> _Entry:
    name = f"US {what}consumer price index (CPI-U)"
    return _Entry("cpi", column, name, _CPI, "M", 3, adjusted, "cpi.db", f"{start} to 2026")


def _macro(column: str, name: str, unit: str, decimals: int, adjusted: bool | None) -> _Entry:
    file = "datasets/macrodata/macrodata.csv"
    span = "1959-Q1 to 2009-Q3"
    return _Entry("statsmodels", column, name, unit, "Q", decimals, adjusted, file, span)


def _arch(
    file: str, column: str, name: str, unit: str, freq: str, decimals: int, span: str,
    adjusted: bool | None = None,
) -> _Entry:  # fmt: skip
    return _Entry("arch", column, name, unit, freq, decimals, adjusted, f"data/{file}", span)


_DOLLARS = "billions of chained 2005 US dollars, annual rate"
_DAYS = "1999-01-04 to 2018-12-31"
_FF = "1926-07 to 2018-11"
_ENTRIES: dict[str, _Entry] = {
    "us_cpi_nsa": _bls("CUUR0000SA0", "", False, "1913-01"),
    "us_cpi_sa": _bls("CUSR0000SA0", "", True, "1947-01"),
    "us_cpi_core_nsa": _bls(
        "CUUR0000SA0L1E", "core ", False, "1957-01"
    ),
    "us_cpi_core_sa": _bls(
        "CUSR0000SA0L1E", "core ", True, "1957-01"
    ),
    "us_cpi_food_nsa": _bls("CUUR0000SAF1", "food ", False, "1913-01"),
    "us_cpi_energy_nsa": _bls("CUUR0000SA0E", "energy ", False, "1957-01"),
    "us_cpi_shelter_nsa": _bls("CUUR0000SAH1", "shelter ", False, "1952-12"),
    "us_cpi_medical_nsa": _bls(
        "CUUR0000SAM", "medical care ", False, "1935-03"
    ),
    "us_cpi_gasoline_nsa": _bls(
        "CUUR0000SETB01", "gasoline ", False, "1935-03"
    ),
    "sp500": _arch("sp500/sp500", "Close", "S&P 500 index, daily close", "index points", "D", 2, _DAYS),
    "nasdaq": _arch(
        "nasdaq/nasdaq", "Close", "Nasdaq Composite index, daily close", "index points", "D", 2, _DAYS
    ),
    "vix": _arch(
        "vix/vix", "vix", "CBOE volatility index (VIX), daily close", "index points", "D", 2,
        "2014-01-03 to 2019-01-03",
    ),
    "us_cpi_core_sa_2018": _arch(
        "core_cpi/core-cpi", "CPILFESL",
        "US core consumer price index (CPI-U)", _CPI, "M", 3, "1957-01 to 2018-11", True,
    ),
    "aaa_yield": _arch(
        "default/default", "AAA", "Moody's seasoned Aaa corporate bond yield", "percent", "M", 2,
        "1919-01 to 2018-12",
    ),
    "baa_yield": _arch(
        "default/default", "BAA", "Moody's seasoned Baa corporate bond yield", "percent", "M", 2,
        "1919-01 to 2018-12",
    ),
    "wti_daily": _arch(
        "wti/wti", "DCOILWTICO", "WTI crude oil spot price, daily", "US dollars per barrel", "D", 2,
        "1986-01-02 to 2019-01-03",
    ),
    "wti_monthly": _arch(
        "crude/crude", "WTI", "WTI crude oil spot price, monthly average", "US dollars per barrel",
        "M", 2, "1987-05 to 2020-01",
    ),
    "brent_monthly": _arch(
        "crude/crude", "Brent", "Brent crude oil spot price, monthly average",
        "US dollars per barrel", "M", 2, "1987-05 to 2020-01",
    ),
    "ff_market": _arch(
        "frenchdata/frenchdata", "Mkt-RF", "Fama-French US market excess return", "percent", "M", 2, _FF
    ),
    "ff_smb": _arch(
        "frenchdata/frenchdata", "SMB", "Fama-French small-minus-big factor return", "percent", "M",
        2, _FF,
    ),
    "ff_hml": _arch(
        "frenchdata/frenchdata", "HML", "Fama-French high-minus-low factor return", "percent", "M",
        2, _FF,
    ),
    "ff_rf": _arch(
        "frenchdata/frenchdata", "RF", "US one-month Treasury bill return", "percent", "M", 2, _FF
    ),
    "us_unemployment_nsa": _Entry(
        "bokeh_sampledata", "unemployment", "US unemployment rate", "percent", "M", 1, False,
        "_data/unemployment1948.csv", "1948-01 to 2016-12",
    ),
    "us_real_gdp": _macro("realgdp", "US real gross domestic product", _DOLLARS, 3, True),
    "us_real_consumption": _macro(
        "realcons", "US real personal consumption expenditures", _DOLLARS, 1, True
    ),
    "us_real_investment": _macro(
        "realinv", "US real gross private domestic investment", _DOLLARS, 3, True
    ),
    "us_real_government": _macro(
        "realgovt", "US real federal consumption expenditures and gross investment", _DOLLARS, 3, True
    ),
    "us_real_income": _macro("realdpi", "US real private disposable income", _DOLLARS, 1, True),
    "us_cpi_sa_quarterly": _macro(
        "cpi", "US consumer price index (CPI-U), end of quarter",
        _CPI, 3, True,
    ),
    "us_m1": _macro("m1", "US M1 money stock, end of quarter", "billions of US dollars", 1, True),
    "us_tbill_3m": _macro("tbilrate", "US 3-month Treasury bill rate", "percent", 2, None),
    "us_unemployment": _macro("unemp", "US unemployment rate", "percent", 1, True),
    "us_inflation": _macro(
        "infl", "US consumer price inflation, quarterly at an annual rate", "percent", 2, True
    ),
    "us_population": _macro("pop", "US population, end of quarter", "millions", 3, None),
}  # fmt: skip


def registry() -> dict[str, str]:
    """Key to ``name; frequency, adjustment, span (package)``."""
    words = {None: "", True: "seasonally adjusted, ", False: "not seasonally adjusted, "}
    return {
        key: f"{e.name}; {FREQUENCIES[e.freq]}, {words[e.adjusted]}{e.span} ({e.package})"
        for key, e in sorted(_ENTRIES.items())
    }


@functools.lru_cache(maxsize=64)
def load(key: str) -> Series:
    """See `byheart.data.series.load`."""
    if key.startswith("cpi:"):
        return _load_bls(key.removeprefix("cpi:"), None)
    if key not in _ENTRIES:
        raise UnknownName("series", key, _ENTRIES)
    entry = _ENTRIES[key]
    if entry.package == "cpi":
        return _load_bls(entry.column, entry)
    read = {"arch": _arch_rows, "bokeh_sampledata": _bokeh_rows}.get(entry.package, _macro_rows)
    rows = list(read(entry))
    return _series(entry, rows)


def _series(entry: _Entry, rows: list[tuple[str, float]]) -> Series:
    return Series(
        entry.name,
        entry.unit,
        entry.freq,
        tuple(d for d, _ in rows),
        tuple(round(v, entry.decimals) for _, v in rows),
        vintage=rows[-1][0],
        adjusted=entry.adjusted,
        source=f"{entry.package}: {entry.column}",
        decimals=entry.decimals,
    )


def _path(package: str, file: str) -> Path:
    """A data file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingExtra(f"{package} is not installed; type: pip install 'byheart[series]'")
    path = Path(spec.origin).parent / file
    if not path.exists():
        raise DataError(
            f"the installed package {package} carries no {file}; reinstall it: "
            f"pip install --force-reinstall {package.replace('_', '-')}"
        )
    return path


def _arch_rows(entry: _Entry) -> Iterator[tuple[str, float]]:
    path = _path("arch", entry.file + ".csv.gz")
    text = gzip.decompress(path.read_bytes()).decode("utf-8-sig")
    for row in csv.DictReader(io.StringIO(text)):
        cell = row[entry.column].strip()
        if cell in ("", "."):
            continue  # market holidays
        day = row["Date"].strip()
        if "/" in day:
            month, d, year = (int(x) for x in day.split("/"))
        elif len(day) == 6:
            year, month, d = int(day[:4]), int(day[4:]), 1
        else:
            year, month, d = (int(x) for x in day.split("-"))
        stamp = datetime.date(year, month, d)
        yield f"{stamp:%Y-%m-%d}" if entry.freq == "D" else f"{stamp:%Y-%m}", float(cell)


_TWELVE = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _bokeh_rows(entry: _Entry) -> Iterator[tuple[str, float]]:
    """A line a year, a column a month; later years' months may be blank."""
    with _path(entry.package, entry.file).open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for number, month in enumerate(_TWELVE, 1):
                if (row[month] or "").strip():
                    yield f"{int(row['Year'])}-{number:02d}", float(row[month])


def _macro_rows(entry: _Entry) -> Iterator[tuple[str, float]]:
    path = _path("statsmodels", entry.file)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield (
                f"{int(float(row['year']))}-Q{int(float(row['quarter']))}",
                float(row[entry.column]),
            )


def _load_bls(series_id: str, entry: _Entry | None) -> Series:
    import sqlite3
    from contextlib import closing

    path = _path("cpi", "cpi.db")
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        found = database.execute(
            "SELECT title, seasonally_adjusted, periodicity FROM series WHERE id = ?", (series_id,)
        ).fetchone()
        if found is None:
            near = database.execute(
                "SELECT id FROM series WHERE id LIKE ? LIMIT 200", (series_id[:8] + "%",)
            )
            raise UnknownName("BLS series", series_id, [r[0] for r in near])
        rows = database.execute(
            "SELECT year, period, value FROM indexes WHERE series = ? AND period LIKE 'M%' "
            "AND period <> 'M13' AND value IS NOT NULL ORDER BY year, period",
            (series_id,),
        ).fetchall()
    if entry is None:
        entry = _Entry("cpi", series_id, f"US consumer price index: {found[0]}",
                       "index", "M", 3, bool(found[1]))  # fmt: skip
    return _series(entry, [(f"{year}-{period[1:]}", float(value)) for year, period, value in rows])
