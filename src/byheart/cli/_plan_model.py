"""`byheart plan MODEL`: a forecast from a configuration, without weights."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from byheart.core.errors import UsageError

if TYPE_CHECKING:
    from byheart.states._planner.forecast import Forecast

__all__ = [
    "BandwidthOption", "BatchOption", "ContextOption", "CountOption", "DeviceOption",
    "HostMemoryOption", "LossChunkOption", "MemoryOption", "OptimizerOption", "SequenceOption",
    "TensorOption", "ZeroOption", "run_forecast",
]  # fmt: skip

SequenceOption = Annotated[
    str | None, typer.Option(help="Tokens of one sequence: 131072, 128K or 1M.")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        help="a100, a100-40gb, a800, h100, h800, h200, gh200, b200, mi300x, l40s, rtx4090, rtx3090 or v100."
    ),
]
CountOption = Annotated[int, typer.Option(help="How many devices.")]
BatchOption = Annotated[int, typer.Option(help="Sequences for each data-parallel group.")]
TensorOption = Annotated[
    int | None, typer.Option(help="Tensor-parallel devices; as many of a host's 8 as go.")
]
ContextOption = Annotated[
    int | None, typer.Option(help="Context-parallel devices; all others if left out.")
]
ZeroOption = Annotated[int, typer.Option(help="Stage of optimiser sharding, 0 to 3.")]
OptimizerOption = Annotated[str, typer.Option(help="adamw, adamw-8bit or sgd.")]
LossChunkOption = Annotated[
    str, typer.Option(help="Tokens whose logits are there at a time; 0 for all.")
]
MemoryOption = Annotated[str | None, typer.Option(help="Of one device, such as 80GiB.")]
BandwidthOption = Annotated[
    str | None, typer.Option(help="Between one device and its host, as specified: 32GB/s.")
]
HostMemoryOption = Annotated[
    str | None, typer.Option(help="Of one whole host, which up to 8 devices share: 2TiB.")
]


def run_forecast(
    model: str,
    *,
    sequence: str | None,
    device: str = "h100",
    count: int = 1,
    batch: int = 1,
    tensor: int | None = None,
    context: int | None = None,
    zero: int = 1,
    optimizer: str = "adamw",
    loss_chunk: str = "16K",
    memory: str | None = None,
    bandwidth: str | None = None,
    host_memory: str | None = None,
    html: Path | None = None,
    json: bool = False,
) -> None:
    """Print a forecast; in Python: byheart.states.planner.forecast.

    Args:
        model: "7b", "smollm2", ..., a configuration's file or folder, or hf:NAME.
        sequence: As `read_tokens` reads it.
        memory, bandwidth, host_memory: As `read_bytes` reads them.
        html: Where a page of pictures goes.
        json: Whether to print JSON.

    Raises:
        UsageError: If there is no sequence, or something cannot be read.
        OutputError: If the page cannot be written.
    """
    from byheart.states._planner.forecast import forecast
    from byheart.states._planner.words import read_bytes, read_tokens

    if sequence is None:
        raise UsageError("a model is planned for a length; add --sequence, such as --sequence 128K")
    rate = None if bandwidth is None else read_bytes(bandwidth)
    found = forecast(
        model,
        sequence=read_tokens(sequence),
        device=device,
        count=count,
        batch=batch,
        tensor=tensor,
        context=context,
        zero=zero,
        optimizer=optimizer,
        loss_chunk=0 if loss_chunk.strip() == "0" else read_tokens(loss_chunk),
        memory=None if memory is None else read_bytes(memory),
        bandwidth=rate,
        host_memory=None if host_memory is None else read_bytes(host_memory),
    )
    if html is not None:
        from byheart.core._files import write_atomically
        from byheart.states._planner.page import forecast_page

        write_atomically(html, forecast_page(found))
    if json:
        typer.echo(json_module.dumps(found.to_dict(), indent=2))
        return
    _print(found, html)


def _print(found: Forecast, html: Path | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    from byheart.cli._console import console
    from byheart.states._planner.words import size_text, time_text, token_text

    screen = console()
    layout, best = found.layout, found.best
    screen.print(
        f"[bold]{escape(found.model.name)}[/bold], {found.model.parameters:,} parameters, "
        f"{token_text(found.sequence)} tokens on {layout.count} x {found.device.name} "
        f"(tensor {layout.tensor}, context {layout.context}, data {layout.data}): "
        + (f"fits, {best.name}, MFU {best.mfu:.1%}" if best else "[red]does not fit[/red]"),
        soft_wrap=True,
    )
    table = Table()
    for name in ("way", "fits", "device", "host", "step", "MFU", "longest sequence"):
        table.add_column(name, justify="left" if name in ("way", "fits") else "right")
    for way in found.ways.values():
        table.add_row(
            way.name, "yes" if way.fits else "no", size_text(way.bytes),
            size_text(way.host_bytes) if way.host_bytes else "", time_text(way.seconds),
            f"{way.mfu:.1%}", _length(way.longest, token_text),
        )  # fmt: skip
    screen.print(table)
    for way in found.ways.values():
        if way.reason:
            screen.print(f"{way.name}: {way.reason}", soft_wrap=True)
    split = found.ways["swap"].split
    if split is not None:
        limit = {"host": "host memory", "bandwidth": "the link", "backward": "the backward pass"}
        held = f"held down by {limit[split.limit]}" if split.limit in limit else "all of it"
        screen.print(
            f"swap: alpha {split.alpha:.4f} ({held}); a layer waits {time_text(split.stall)} forward "
            f"and {time_text(split.backward_stall)} backward, and recomputes "
            f"{time_text(split.recompute_seconds)}; copies of everything hide from "
            + ("no length" if found.overlap_from is None else f"{found.overlap_from:,} tokens"),
            soft_wrap=True,
        )
    for text in found.assumptions:
        screen.print(f"- {escape(text)}", style="dim", soft_wrap=True)
    screen.print(
        f"- {found.device.name}: {escape(found.device.source)}", style="dim", soft_wrap=True
    )
    if html is not None:
        screen.print(escape(str(html)), soft_wrap=True)


def _length(value: int | None, text: Any) -> str:
    return "" if value is None else text(value) if value else "none"
