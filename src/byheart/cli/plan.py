"""`byheart plan`: does it fit, and where every buffer goes."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated

import typer

from byheart.cli._plan_model import (
    BandwidthOption,
    BatchOption,
    ContextOption,
    CountOption,
    DeviceOption,
    HostMemoryOption,
    LossChunkOption,
    MemoryOption,
    OptimizerOption,
    SequenceOption,
    TensorOption,
    ZeroOption,
    run_forecast,
)
from byheart.core.errors import UsageError

__all__ = ["plan", "register"]


def plan(
    model: Annotated[
        str | None,
        typer.Argument(
            help="What to forecast: 7b, 13b, 30b, 65b, smollm2, a configuration's file or folder, or hf:NAME."
        ),
    ] = None,
    buffers: Annotated[
        Path | None,
        typer.Option(help="Pack these instead: CSV with id,lower,upper,size (half-open times)."),
    ] = None,
    capacity: Annotated[
        str | None, typer.Option(help="Bytes there are: 1048576 or 1MiB; the smallest if left out.")
    ] = None,
    solver: Annotated[
        str, typer.Option(help="auto, cp-sat, search, mip (small cases) or greedy.")
    ] = "auto",
    time_limit: Annotated[float, typer.Option(help="Seconds for packing.")] = 60.0,
    alignment: Annotated[int, typer.Option(help="Addresses are multiples of it.")] = 1,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="CSV of the buffers with their offsets.")
    ] = None,
    sequence: SequenceOption = None,
    device: DeviceOption = "h100",
    count: CountOption = 1,
    batch: BatchOption = 1,
    tensor: TensorOption = None,
    context: ContextOption = None,
    zero: ZeroOption = 1,
    optimizer: OptimizerOption = "adamw",
    loss_chunk: LossChunkOption = "16K",
    memory: MemoryOption = None,
    bandwidth: BandwidthOption = None,
    host_memory: HostMemoryOption = None,
    html: Annotated[Path | None, typer.Option(help="Page of pictures to write.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How long a sequence fits a model and machine, or an address for every buffer of a file.

    byheart plan 7b --sequence 1M --device a800 --count 8 --html plan.html
    byheart plan --buffers trace.csv --capacity 1048576 -o offsets.csv

    In Python: byheart.states.planner.forecast and plan_memory.
    """
    if (model is None) == (buffers is None):
        raise UsageError("give either a model to forecast or --buffers FILE to pack")
    if buffers is not None:
        given = {"--sequence": sequence, "--memory": memory, "--host-memory": host_memory}
        wrong = [name for name, value in given.items() if value is not None]
        if wrong:
            raise UsageError(f"{wrong[0]} belongs to a model; leave it out with --buffers")
        _pack(buffers, capacity, solver, time_limit, alignment, out, html, json)
        return
    for name, value in (("--capacity", capacity), ("--out", out)):
        if value is not None:
            raise UsageError(f"{name} belongs to --buffers; a model has --memory and --html")
    assert model is not None
    run_forecast(
        model, sequence=sequence, device=device, count=count, batch=batch, tensor=tensor,
        context=context, zero=zero, optimizer=optimizer, loss_chunk=loss_chunk, memory=memory,
        bandwidth=bandwidth, host_memory=host_memory, html=html, json=json,
    )  # fmt: skip


def _pack(
    file: Path,
    capacity: str | None,
    solver: str,
    time_limit: float,
    alignment: int,
    out: Path | None,
    html: Path | None,
    json: bool,
) -> None:
    from rich.markup import escape

    from byheart.cli._console import bar, console
    from byheart.states._planner.csv_format import read_buffers, write_plan
    from byheart.states._planner.solve import plan_memory
    from byheart.states._planner.words import read_bytes, size_text

    found = read_buffers(file)
    with bar("planning") as tell:
        plan = plan_memory(
            found, None if capacity is None else read_bytes(capacity), solver,  # type: ignore[arg-type]
            time_limit, alignment=alignment, progress=tell,
        )  # fmt: skip
    saved = []
    if out is not None:
        write_plan(plan, out)
        saved.append(out)
    if html is not None:
        from byheart.core._files import write_atomically
        from byheart.states._planner.page import plan_page

        write_atomically(html, plan_page(plan, name=file.name))
        saved.append(html)
    if json:
        typer.echo(json_module.dumps(plan.to_dict(), indent=2))
        return
    screen = console()
    verdict = (
        "no plan is lower" if plan.proven else f"at most {plan.gap:.2%} above the lowest possible"
    )
    screen.print(
        f"{len(plan.buffers):,} buffers in [bold]{plan.height:,}[/bold] bytes "
        f"({size_text(plan.height)}): {verdict}; {plan.solver}, {plan.seconds:.2f} s",
        soft_wrap=True,
    )
    if plan.capacity is not None:
        screen.print(f"capacity {plan.capacity:,}, {plan.capacity - plan.height:,} bytes spare")
    for note in plan.notes:
        screen.print(escape(note), style="dim", soft_wrap=True)
    for path in saved:
        screen.print(escape(str(path)), soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Hang the verb on the command line."""
    app.command("plan")(plan)
