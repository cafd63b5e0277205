"""Pathways followed through a training run of transformers' Trainer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from byheart.audits._pathways.course import Correlation, correlations, measures, sustained_rise
from byheart.audits._pathways.probe import PathwayProbe
from byheart.core._files import make_folder
from byheart.core.errors import DataError, OutputError, UsageError

__all__ = ["PathwayCallback"]


class PathwayCallback(TrainerCallback):
    """Both pathway metrics of chosen samples, every so many steps of a run.

    Each measurement is a forward pass over the probe's samples without gradients; it changes
    neither weights nor random numbers of the run. A row goes into `history`, into the trainer's
    log history (``pathway_distance``, ``pathway_mean_cosine``, ``pathway_consistency``, ...), and at
    once into a file. Only the main process measures; weights that are sharded over devices are not
    gathered.

    Args:
        probe: What is followed; its model may be the one in training, or an equal one.
        every: Steps between measurements; the first and the last step are measured too.
        out: Folder for ``pathways.jsonl``, one row a measurement, appended and flushed.
        snapshots: Also keep every `Snapshot` there, as ``step-N.npz``.
        pairs: At most so many pairs of samples.
        null: Also measure under the null control.
        per_layer: Also measure every layer.
        accuracy: Metric of the trainer's evaluation that is held beside; where it is there, the row
            of that step gets it as ``accuracy``.
        alarm: Called with each row; raise or notify from there as you like (`phase` of `history` says
            what the run is doing).
        seed: Of pairs and null.

    Attributes:
        history: Rows, as `measures` gives them; ``train_loss`` where the trainer logged one.
    """

    def __init__(
        self,
        probe: PathwayProbe,
        every: int = 500,
        *,
        out: str | Path | None = None,
        snapshots: bool = False,
        pairs: int | None = 10_000,
        null: bool = True,
        per_layer: bool = True,
        accuracy: str = "eval_accuracy",
        alarm: Callable[[dict[str, float]], None] | None = None,
        seed: int = 0,
    ) -> None:
        if every < 1:
            raise UsageError(f"every must be at least 1 step, got {every}")
        if not isinstance(probe, PathwayProbe):
            raise UsageError(
                f"the callback takes a PathwayProbe(model, tokenizer, texts), got {type(probe).__name__}"
            )
        if len(probe) < 2:
            raise DataError("pathways are compared between samples; the probe has one")
        if snapshots and out is None:
            raise UsageError("snapshots are kept in the folder `out`, and none is given")
        self.probe, self.every, self.snapshots = probe, every, snapshots
        self.out = None if out is None else make_folder(Path(out))
        self.pairs, self.null, self.seed = pairs, null, seed
        self.per_layer = per_layer
        self.accuracy, self.alarm = accuracy, alarm
        self.history: list[dict[str, float]] = []
        self._evaluated: dict[int, float] = {}
        self._train_loss = math.nan
        self._told: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure before the first step."""
        self._measure(state, kwargs.get("model"))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure every so many steps."""
        if state.global_step % self.every == 0:
            self._measure(state, kwargs.get("model"))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure after the last step, unless that was done."""
        self._measure(state, kwargs.get("model"))

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Take up the trainer's loss; show the newest row beside it."""
        if logs and isinstance(logs.get("loss"), float):
            self._train_loss = logs["loss"]
        if logs is not None and self._told:
            logs.update(self._told)
            self._told = {}

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any
    ) -> None:
        """Hold the accuracy of an evaluation beside the row of its step."""
        value = (metrics or {}).get(self.accuracy)
        if value is None:
            return
        self._evaluated[state.global_step] = float(value)
        for row in self.history:
            if int(row["step"]) == state.global_step and "accuracy" not in row:
                row["accuracy"] = float(value)
                self._write({"step": row["step"], "accuracy": row["accuracy"]})

    def _measure(self, state: Any, model: Any) -> None:
        step = int(state.global_step)
        if not getattr(state, "is_world_process_zero", True):
            return
        if self.history and int(self.history[-1]["step"]) == step:
            return
        snap = self.probe.run(model, step=step)  # NaN raises here; rows before it are kept
        row = measures(
            snap, pairs=self.pairs, seed=self.seed, null=self.null, per_layer=self.per_layer
        )
        if math.isfinite(self._train_loss):
            row["train_loss"] = self._train_loss
        if step in self._evaluated:
            row["accuracy"] = self._evaluated[step]
        self.history.append(row)
        self._write(row)
        if self.snapshots and self.out is not None:
            snap.save(self.out / f"step-{step}.npz")
        shown = {k: v for k, v in row.items() if k not in ("step", "accuracy") and "/" not in k}
        self._told = {f"pathway_{k}": v for k, v in shown.items()}
        if hasattr(state, "log_history"):
            told = {k: v for k, v in self._told.items() if math.isfinite(v)}
            state.log_history.append({**told, "step": step})
        if self.alarm is not None:
            self.alarm(row)

    def _write(self, row: dict[str, float]) -> None:
        if self.out is None:
            return
        path = self.out / "pathways.jsonl"
        record = {k: v if math.isfinite(v) else None for k, v in row.items()}
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

    def correlations(self, *, rise: bool = True) -> list[Correlation]:
        """How each metric goes with the accuracy of the rows that have one.

        Args:
            rise: Only from where accuracy starts its sustained rise, as the paper has it.

        Raises:
            DataError: Fewer than three such rows.
        """
        rows = [r for r in self.history if "accuracy" in r]
        if len(rows) < 3:
            raise DataError(
                f"{len(rows)} measurement(s) have an accuracy, three are needed; let the trainer "
                f"evaluate at the same steps, with a metric called {self.accuracy!r}"
            )
        score = [r["accuracy"] for r in rows]
        begin = min(sustained_rise(score), len(rows) - 3) if rise else 0
        return correlations(rows[begin:], score[begin:], seed=self.seed)
