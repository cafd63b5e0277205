"""`byheart page`: a trace under several policies and cache sizes."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["page", "register"]

ALL = "belady,flush,mark0,mark-and-predict,marker,lru,fifo"


def page(
    trace: Annotated[Path, typer.Argument(help="File: oracleGeneral, CSV, or one page a line.")],
    policies: Annotated[
        str,
        typer.Option(
            help="Names with commas between: belady, fifo, lru, random, marker, flush, mark0, mark0-eager, mark-and-predict, blind-oracle, predictive-marker, lmarker, lnonmarker, trust-and-doubt, combine."
        ),
    ] = ALL,
    sizes: Annotated[
        str, typer.Option(help="Pages of the cache, with commas; 5% is of the distinct pages.")
    ] = "1%,5%,10%,20%",
    predict: Annotated[
        str,
        typer.Option(
            help="Bits: true; flip:P turns each around with probability P; learned:S learns them "
            "from the first share S of the trace and plays the rest."
        ),
    ] = "true",
    times: Annotated[
        str, typer.Option(help="Predicted times: true; noise:SIGMA; popu; pleco.")
    ] = "true",
    format: Annotated[
        str | None, typer.Option(help="oracleGeneral, csv or txt; by the name if left out.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="Of a CSV: heading or number from 0.")] = None,
    seed: Annotated[int, typer.Option(help="Of all coins.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for results.json and curves.svg.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Faults of eviction policies on a trace; in Python: byheart.states.paging.simulate.

    byheart page requests.txt --policies lru,mark0,belady --sizes 100,1000
    byheart page t.oracleGeneral.zst --predict flip:0.05 --out curves/
    """
    from rich.markup import escape

    from byheart.cli._console import bar, console
    from byheart.states._paging.study import draw, study
    from byheart.states.paging import read_trace

    with bar("reading") as tell:
        found = read_trace(trace, format, column=column, progress=lambda x: tell("reading", x / 2))
        done = study(
            found, policies.split(","), sizes.split(","), predict=predict, times=times, seed=seed,
            progress=lambda what, x: tell(what, 0.5 + x / 2),
        )  # fmt: skip
    told = {
        "trace": str(trace), "requests": len(done.trace), "pages": done.trace.distinct,
        "begin": done.begin, "predict": predict, "times": times, "seed": seed,
        "results": [r.to_dict() for r in done.results],
    }  # fmt: skip
    saved = []
    if out is not None:
        from byheart.core._files import write_atomically

        write_atomically(out / "results.json", json_module.dumps(told, indent=2) + "\n")
        saved = [out / "results.json", draw(done.results, out / "curves.svg")]
    if json:
        typer.echo(json_module.dumps(told, indent=2))
        return
    screen = console()
    _print(told, screen)
    for file in saved:
        screen.print(escape(str(file)), soft_wrap=True)


def _print(told: dict[str, Any], screen: Any) -> None:
    from rich.table import Table

    table = Table(
        title=f"{told['requests']:,} requests of {told['pages']:,} pages", title_justify="left"
    )
    for name in ("policy", "k", "faults", "miss ratio", "by the optimum", "eta0", "eta1", "bound"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for r in told["results"]:
        dash = lambda x: "" if x is None else f"{x:,.0f}"  # noqa: E731
        table.add_row(
            r["policy"], f"{r['k']:,}", f"{r['faults']:,}", f"{r['miss_ratio']:.4f}",
            f"{r['ratio_to_opt']:.3f}", dash(r["eta0"]), dash(r["eta1"]), dash(r["bound"]),
        )  # fmt: skip
    screen.print(table)
    screen.print(
        "eta0: bits predicted 0 that are 1; eta1: the reverse. The bound is what the theory allows, "
        "in expectation.",
        style="dim",
    )


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("page")(page)
