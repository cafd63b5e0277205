"""`byheart audit memorization DATA` and `byheart audit longtail`: audits of data, not of a model."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

__all__ = ["AuditCommand", "longtail", "memorization"]


def memorization(
    data: Annotated[
        str | None,
        typer.Argument(
            help="digits, iris, wine, breast-cancer; an .npz or .csv file; a folder of datasets.",
            metavar="[DATA]",
        ),
    ] = None,
    held: Annotated[
        Path | None,
        typer.Option(
            "--import",
            help="Runs made elsewhere: a folder of aux_arrays.npz, or an .npz file of mask and correctness.",
        ),
    ] = None,
    learner: Annotated[str, typer.Option(help="mlp, 1-nn, logistic, forest or tree.")] = "mlp",
    runs: Annotated[int, typer.Option(min=4, help="Trainings on random subsets.")] = 300,
    subset: Annotated[float, typer.Option(help="Share of the examples in each.")] = 0.7,
    mem: Annotated[float, typer.Option(help="Least memorisation that counts.")] = 0.25,
    infl: Annotated[float, typer.Option(help="Least influence of a pair.")] = 0.15,
    label: Annotated[
        str | None, typer.Option(help="Column of the labels, of a CSV file or a data set.")
    ] = None,
    missing_classes: Annotated[
        bool, typer.Option("--missing-classes", help="Allow subsets without some class.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(help="Processes; -1 for all cores.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Redraws everything random.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for report, runs and pairs.")] = Path(
        "byheart-report"
    ),
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Which labels are memorised, and which test examples depend on them?

    In Python: byheart.audits.long_tail.audit_data(data).
    """
    from byheart.audits.long_tail import audit_data
    from byheart.cli._console import bar, console
    from byheart.core._report_text import render

    with bar("memorization") as tell:
        report = audit_data(
            data, learner=learner, runs=runs, subset=subset, mem=mem, infl=infl, seed=seed,
            label=label, missing_classes=missing_classes, held=held, out=out, jobs=jobs,
            progress=tell,
        )  # fmt: skip
    if json:
        typer.echo(report.to_json())
        return
    screen = console()
    screen.print(render(report))
    details = report.findings[0].details
    screen.print(
        f"{details['memorised labels']} of {details['labels']} labels have memorisation of {mem:g} or "
        f"more; error of one estimate at most {report.meta['error_bound']:g}"
    )
    typer.echo(f"report: {out / 'report.html'}  ({out / 'report.json'})")


def longtail(
    counts: Annotated[
        Path | None,
        typer.Option(
            help="JSON: a list of counts, {type: count}, or {group: {type: count}}; how often each "
            "subpopulation occurs."
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="Instead of counts: zipf:N, dirichlet:A:N, pareto:S:LOW, ..."),
    ] = None,
    samples: Annotated[int | None, typer.Option("--samples", help="n, with --prior.")] = None,
    classes: Annotated[int, typer.Option(help="K, labels taken as uniform.")] = 2,
    gamma: Annotated[float | None, typer.Option(help="Most that an example is memorised.")] = None,
    epsilon: Annotated[float | None, typer.Option(help="Privacy of one label.")] = None,
    delta: Annotated[float, typer.Option(help="Likewise, with --epsilon.")] = 0.0,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """What does it cost not to memorise rare things? Without gamma or epsilon: to fit no singleton.

    In Python: byheart.audits.long_tail.forecast(counts, classes), unfit_cost(prior, n, classes).
    """
    from byheart.core.errors import UsageError

    if (counts is None) == (prior is None):
        raise UsageError("give --counts FILE or --prior SPEC")
    limits: dict[str, Any] = {"gamma": gamma, "epsilon": epsilon, "delta": delta}
    if counts is not None:
        told = _of_counts(counts, classes, limits)
    else:
        if samples is None:
            raise UsageError("--prior needs --samples N")
        told = {"all": _of_prior(str(prior), samples, classes, limits)}
    if json:
        typer.echo(json_module.dumps(told, indent=2))
        return
    _print(told)


def _of_counts(path: Path, classes: int, limits: dict[str, Any]) -> dict[str, dict[str, Any]]:
    from byheart.audits.long_tail import forecast, forecast_groups
    from byheart.core.errors import DataError

    try:
        held = json_module.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(held, list | dict) or not held:
        raise DataError(f"{path}: expected a list of counts, or an object of type to count")
    if isinstance(held, dict) and all(isinstance(v, list | dict) for v in held.values()):
        found = forecast_groups(held, classes, **limits)
    else:
        found = {"all": forecast(held, classes, **limits)}
    return {name: f.to_dict() for name, f in found.items()}


def _of_prior(prior: str, n: int, classes: int, limits: dict[str, Any]) -> dict[str, Any]:
    from byheart.audits import long_tail as lt

    return {
        "n": n, "tau": lt.tau(prior, n), "unseen": lt.unseen_mass(prior, n),
        "singleton_mass": lt.seen_mass(prior, n), "opt": lt.opt(prior, n, classes),
        "cost": lt.unfit_cost(prior, n, classes, **limits),
    }  # fmt: skip


def _print(told: dict[str, dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from byheart.cli._console import console

    table = Table(
        "", "n", "n tau_1", "unseen", "singletons", "least error", "cost", "by the best off"
    )

    def said(value: float | None, error: float | None = None) -> str:
        if value is None:
            return "-"
        return f"{value:.4f}" + ("" if error is None else f" ± {error:.4f}")

    for name, figures in told.items():
        f = {**figures.get("counts", {}), **figures}
        scaled = None if f["tau"] is None else f["tau"] * f["n"]
        table.add_row(
            escape(name), f"{f['n']:,}", said(scaled), said(f["unseen"], f.get("unseen_se")),
            said(f["singleton_mass"], f.get("singleton_mass_se")), said(f["opt"], f.get("opt_se")),
            said(f["cost"], f.get("cost_se")), said(f.get("ratio")),
        )  # fmt: skip
    screen = console()
    screen.print(table)
    screen.print(
        "shares of the data; ± one standard error, where counts are the source", style="dim"
    )


class AuditCommand(TyperCommand):
    """`audit`, whose first words may name an audit of data: ``memorization`` or ``longtail``."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        """The context of the audit of data where one is named first or second, else one's own."""
        for at, word in enumerate(args[:2]):
            if word in _OF_DATA and not (at and args[0].startswith("-")):
                rest = [*args[:at], *args[at + 1 :]]
                made = typer.Typer(add_completion=False, rich_markup_mode=None)
                made.command(word)(_OF_DATA[word])
                command = typer.main.get_command(made)
                return command.make_context(f"{info_name} {word}", rest, parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


_OF_DATA: dict[str, Any] = {"longtail": longtail, "memorization": memorization}
