"""Power and false-positive rate of every audit against how often its items were trained on.

For each seed and multiplicity, fresh items of all audits' kinds are drawn, one half is planted in a
model by fine-tuning on it so many times, between other texts, and the audits run on the planted and
on the held-back half. Power is the share of seeds in which planted items are called memorised; the
false-positive rate is that of held-back items, and of items at multiplicity 0.

    python benchmarks/calibration.py                 a small model, 3 seeds: some minutes
    python benchmarks/calibration.py --seeds 40 --out tiny.jsonl
    python benchmarks/calibration.py --model smollm2 --dtype bfloat16 --seeds 5 --out smollm2.jsonl

With --out, finished work is kept, and the same command takes up where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from _calibration_model import tiny, world
from _calibration_records import ARMS, Ledger, record
from _calibration_tables import summary, tables

import byheart
from byheart.audits import AUDITS, audit_class, make
from byheart.core.audit import Audit, Planting, Row
from byheart.core.drive import drive
from byheart.core.errors import ByheartError, DataError, UsageError
from byheart.core.local import LocalModel
from byheart.core.model import Model
from byheart.data.passages import shipped

Trainer = Callable[..., Any]


def plantings(names: Sequence[str], seed: int, items: int, samples: int) -> dict[str, Planting]:
    """Fresh items of every audit's kind.

    Args:
        names: Audits.
        seed: Draws them.
        items: Planted, held back and fresh ones, each.
        samples: Answers an item, for audits that sample.
    """
    out = {}
    for name in names:
        knobs = {"samples": samples} if name == "output-distribution" else {}
        out[name] = make(name, **knobs).planted(seed=seed, n=items)
    return out


def mixture(items: int, seed: int) -> list[Any]:
    """What is trained on once beside the planted items: prose and questions of their kinds, and
    the beginnings of public-domain passages (there are 23). As many texts as planted ones."""
    classics = [" ".join(p.text.split()[:60]) for p in shipped() if not p.famous]
    return [*world(2 * items, items, seed=1 + seed), *classics[:items]]


def findings(planting: Planting, model: Model, seed: int) -> dict[str, list[Any]]:
    """Findings on the planted and on the held-back items.

    Both arms are held against the same fresh items; those are asked once.
    """
    probes = {arm: _of(planting, arm).probes(seed=seed) for arm in ARMS}
    planted = drive(planting.audit, model, probes["planted"], seed=seed)
    fresh = {p.id: p for p in probes["planted"] if p.arm == "fresh"}
    known: dict[str, Row] = {r.id: r for r in planted if r.arm == "fresh"}
    for p in probes["held"]:
        if p.arm == "fresh" and fresh.get(p.id) != p:
            raise UsageError(f"{planting.audit.name}: the fresh items of both arms differ: {p.id}")
    asked = [p for p in probes["held"] if p.arm == "seen"]
    known |= {r.id: r for r in drive(planting.held, model, asked, seed=seed)}
    held = [known[p.id] for p in probes["held"]]
    return {
        "planted": planting.audit.findings(planted, seed=seed),
        "held": planting.held.findings(held, seed=seed),
    }


def _of(planting: Planting, arm: str) -> Audit:
    return planting.audit if arm == "planted" else planting.held


def calibrate(
    model: Model,
    ledger: Ledger,
    settings: Mapping[str, Any],
    *,
    name: str,
    audits: Sequence[str],
    seeds: Iterable[int],
    multiplicities: Sequence[int],
    train: Trainer,
    progress: Callable[[float], None] = lambda work: None,
) -> None:
    """Measure what the ledger lacks.

    Args:
        model: The base model.
        ledger: Takes the records.
        settings: `items`, `samples`; all of them are written into each record.
        name: How records call the model.
        audits: Which audits.
        seeds: One planting each.
        multiplicities: One training each, a seed.
        train: Given the model, the planted texts, `repeats`, `mix` and `seed`, returns the tuned
            model; its `unplant`, if any, is called afterwards.
        progress: Called with the work of each finished part, in the units of `work`.
    """
    for seed in seeds:
        drawn = plantings(audits, seed, settings["items"], settings["samples"])
        texts = [t for planting in drawn.values() for t in planting.texts]
        mix = mixture(settings["items"], seed)
        if set(texts) & set(mix):
            raise UsageError(f"seed {seed}: a planted text is also in the mixture")
        for multiplicity in multiplicities:
            todo = ledger.missing(seed, multiplicity, audits)
            if not todo:
                continue
            tuned = train(model, texts, repeats=multiplicity, mix=mix, seed=seed)
            try:
                for audit in todo:
                    for arm, found in findings(drawn[audit], tuned, seed).items():
                        new = record(name, seed, multiplicity, audit, arm, dict(settings), found)
                        if new.key not in ledger.records:
                            ledger.add(new)
            finally:
                if hasattr(tuned, "unplant"):
                    tuned.unplant()
            progress(work(multiplicity))


def work(multiplicity: int) -> float:
    """Rough cost of one training with its audits, in passes over the planted texts."""
    return multiplicity + 12.0


def main() -> None:
    """Measure, print, draw."""
    args = _arguments()
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    torch.set_num_threads(args.threads)
    settings = _settings(args)
    ledger = Ledger(args.out, args.model, settings)
    for path in args.beside:
        if not path.exists():
            raise DataError(f"{path}, given with --beside, is not there")
    beside = [Ledger(path) for path in args.beside]
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    audits = [n for n in sorted(AUDITS) if audit_class(n).needs <= LocalModel.capabilities]
    left = [(s, m) for s in seeds for m in args.multiplicities if ledger.missing(s, m, audits)]
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f}%"),
        TimeRemainingColumn(), console=Console(stderr=True),
    )  # fmt: skip
    with bar:
        if left:
            if args.model == "tiny":
                base = bar.add_task("training the small model", total=1.0)
                model: Model = tiny(progress=lambda share: bar.update(base, completed=share))
            else:
                model = byheart.load(args.model, dtype=args.dtype)
            task = bar.add_task("plant and audit", total=sum(work(m) for _, m in left))
            calibrate(
                model, ledger, settings, name=args.model, audits=audits, seeds=seeds,
                multiplicities=args.multiplicities, train=_trainer(settings),
                progress=lambda done: bar.advance(task, done),
            )  # fmt: skip
    if args.json:
        print(json.dumps([summary(x) for x in (ledger, *beside)], indent=1))
    else:
        for each in (ledger, *beside):
            told = summary(each)
            print(f"{told['model']}: {told['seeds']} seeds, {told['settings']}\n\n{tables(each)}")
    if args.figure:
        from _calibration_figure import draw

        draw([ledger, *beside], args.figure)


def _trainer(settings: Mapping[str, Any]) -> Trainer:
    from byheart.weights.planting import plant

    knobs = {k: settings[k] for k in ("method", "layers", "lr", "batch")}
    return lambda model, texts, **how: plant(model, texts, **knobs, **how)


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    small = args.model == "tiny"
    return {
        "items": args.items,
        "samples": args.samples,
        "method": "full" if small else "lora",
        "layers": None if small else args.layers,
        "lr": args.lr,
        "batch": 8,
        "dtype": "float32" if small else args.dtype or "own",
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="tiny", help="tiny (trained on the spot) or what byheart.load takes")
    add("--seeds", type=int, default=3, help="plantings (default: 3, some minutes)")
    add("--first-seed", type=int, default=0)
    add(
        "--items",
        type=int,
        default=12,
        help="planted items an audit, as many held back and fresh; economic-recall wants 12",
    )
    add("--samples", type=int, default=8, help="answers an item, for output-distribution")
    add("--multiplicities", type=int, nargs="+", default=[0, 1, 4, 16, 64])
    add("--layers", type=int, default=4, help="upper layers that wear the adapter (not for tiny)")
    add("--lr", type=float, default=1e-3, help="peak step size (default: 0.001)")
    add("--dtype", help="of the model's numbers (not for tiny)")
    add("--threads", type=int, default=1)
    add("--out", type=Path, help="JSON lines; taken up, and shown whole, if it exists")
    add("--beside", type=Path, nargs="*", default=[], help="records of other runs, shown as well")
    add("--figure", type=Path, help="draw power and gaps against multiplicity (.svg, .png)")
    add("--json", action="store_true", help="print rates and gaps as JSON")
    args = parser.parse_args()
    if min(args.multiplicities) < 0 or args.seeds < 1 or args.items < 2:
        parser.error("multiplicities must not be negative, seeds be at least 1, items at least 2")
    return args


if __name__ == "__main__":
    try:
        main()
    except ByheartError as error:
        sys.exit(f"calibration: {error}")
    except KeyboardInterrupt:
        sys.exit("calibration: interrupted; with --out, the same command goes on from here")
