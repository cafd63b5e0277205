"""`byheart bench locomo`: retrieval judged on a public data set, every method in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["locomo", "register"]


def locomo(
    data: Annotated[Path, typer.Option(help="Folder (or file) of LoCoMo conversations.")],
    method: Annotated[
        list[str] | None, typer.Option(help="A row of the table; may be repeated; all if left out.")
    ] = None,
    no_encoder: Annotated[
        bool, typer.Option("--no-encoder", help="Only methods that do not embed.")
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Answers the questions from what was found; adds F1.")
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Turns that the model is shown.")] = 10,
    limit: Annotated[
        int | None, typer.Option(min=1, help="First so many questions of each conversation.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for questions.jsonl, and for answers, which a second run goes on from."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Of the encoder and the model.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Evidence recall on LoCoMo; in Python: byheart.notes.locomo.bench(data)."""
    import json as json_module

    from rich.markup import escape

    from byheart.cli._console import bar, console
    from byheart.core.minilm import MiniLM
    from byheart.core.model import load
    from byheart.notes.locomo import bench

    encode = None if no_encoder else MiniLM(device or "cpu")
    answers = None if model is None else load(model, device=device)
    folder = out or Path("byheart-report") / "bench" / "locomo"
    with bar("reading") as tell:
        result = bench(
            data,
            methods=method,
            encode=encode,
            model=answers,
            k=k,
            limit=limit,
            seed=seed,
            answers=None if answers is None else folder / "answers.jsonl",
            progress=tell,
        )
    result.save(folder / "questions.jsonl")
    if json:
        typer.echo(json_module.dumps(result.to_dict(), indent=2, ensure_ascii=False))
        return
    screen = console()
    _print(result.to_dict(), screen)
    screen.print(f"every question: {escape(str(folder / 'questions.jsonl'))}")


def _print(figures: dict, console) -> None:  # type: ignore[no-untyped-def,type-arg]
    from rich.table import Table

    kinds = ["1", "5", "10", "20", *(["f1"] if figures["model"] else [])]
    groups = {g: n for g, n in figures["questions"].items() if n}
    for kind in kinds:
        title = "answer F1, %" if kind == "f1" else f"evidence recall@{kind}, %"
        table = Table(title=title, title_justify="left", padding=(0, 0))
        table.add_column("method", no_wrap=True)
        shown = {g: n for g, n in groups.items() if (g, kind) != ("all", "f1")}
        for group, n in shown.items():
            name = figures["categories"].get(group, "")
            if kind == "f1" and group == "5":
                name = "trap, lower is better"
            table.add_column(f"{group}\n{name}\nn={n}", justify="right", overflow="fold")
            if group == "1-4":
                table.add_column("95 %", justify="right", no_wrap=True)
        for method, of in figures["results"].items():
            cells: list[str] = []
            for group in shown:
                value, low, high = of[group][kind]
                cells.append(f"{value:.1f}")
                if group == "1-4":
                    cells.append(f"{low:.1f}–{high:.1f}")
            table.add_row(method, *cells)
        console.print(table)
    for pair, of in figures["against"].items():
        told = "; ".join(
            f"{'F1' if kind == 'f1' else '@' + kind} {value:+.1f} [{low:+.1f}, {high:+.1f}]"
            for kind, (value, low, high) in of.get("1-4", {}).items()
        )
        if told:
            console.print(f"{pair}, categories 1-4, paired over questions: {told}", markup=False)
    console.print(
        "95 % intervals over questions. Keys as published: about 6 in 100 are wrong, a perfect "
        f"system would reach about 93.6 % over 1-4. {figures['dropped']} questions name no turn "
        "and are left out. Data: LoCoMo (Maharana et al., 2024), CC BY-NC 4.0.",
        style="dim",
    )


def register(app: typer.Typer) -> None:
    """Add the verb and its benchmarks."""
    group = typer.Typer(help="Judge methods on public data.", no_args_is_help=True)

    @group.callback()
    def _benchmarks() -> None:
        """Judge methods on public data."""

    group.command("locomo")(locomo)
    app.add_typer(group, name="bench")
