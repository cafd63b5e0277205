"""Pathways through a mixture of experts: how alike samples are routed, and how that moves in training.

Two metrics that need training samples only (Li, Fan and Zhou, arXiv 2506.21551): the edit distance
between samples' pathways of experts, and the consistency of a sample's routing from layer to layer.
The paper holds their course over checkpoints against accuracy on benchmarks: after training loss
has settled, falling distance and rising consistency go with generalisation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from byheart.audits._pathways import judge as _judge
from byheart.audits._pathways.checkpoints import Scores, checkpoint_folders, read_probe, read_scores
from byheart.audits._pathways.consistency import PathwayConsistency, consistency
from byheart.audits._pathways.course import (
    Correlation,
    correlate,
    correlations,
    course,
    measures,
    phase,
    sustained_rise,
)
from byheart.audits._pathways.distance import (
    PathwayDistance,
    path_lengths,
    pathway_distance,
    pathways,
)
from byheart.audits._pathways.groups import (
    Generalised,
    GroupMatch,
    Memorised,
    generalised_at,
    match_groups,
    memorised_at,
    uncontaminated,
)
from byheart.audits._pathways.probe import PathwayProbe
from byheart.audits._pathways.snapshot import Snapshot, permuted_experts
from byheart.audits._pathways.theory import (
    controlled_routing,
    effective_dimension,
    excess_risk_bound,
    relu_ntk,
    routing_kernel,
)
from byheart.core.ask import Facts
from byheart.core.audit import Audit, Conversation, Planting, Probe, Row
from byheart.core.errors import CapabilityError, DataError, UsageError, need
from byheart.core.finding import Evidence, Finding
from byheart.core.routing import find_routers, token_means
from byheart.data.canaries import canary_material
from byheart.data.passages import Passage
from byheart.data.texts import arms, draw_windows

if TYPE_CHECKING:
    from byheart.audits._pathways.callback import PathwayCallback

__all__ = [
    "Correlation",
    "Generalised",
    "GroupMatch",
    "Memorised",
    "PathwayCallback",
    "PathwayConsistency",
    "PathwayDistance",
    "PathwayProbe",
    "Pathways",
    "Scores",
    "Snapshot",
    "checkpoint_folders",
    "consistency",
    "controlled_routing",
    "correlate",
    "correlations",
    "course",
    "effective_dimension",
    "excess_risk_bound",
    "find_routers",
    "generalised_at",
    "match_groups",
    "measures",
    "memorised_at",
    "path_lengths",
    "pathway_distance",
    "pathways",
    "permuted_experts",
    "phase",
    "read_scores",
    "relu_ntk",
    "routing_kernel",
    "sustained_rise",
    "token_means",
    "uncontaminated",
]


def __getattr__(name: str) -> Any:
    if name == "PathwayCallback":  # derives from a class of transformers
        need("transformers", "torch")
        from byheart.audits._pathways.callback import PathwayCallback

        return PathwayCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True)
class Pathways(Audit):
    """How alike texts are routed through the experts of a model, and how that moves in training.

    Of one checkpoint both arms are shown, and there is no verdict: texts may share a pathway because
    they are of one kind, and no claim of the paper is about one checkpoint. With `checkpoints` the
    course of both metrics is shown, on the seen texts; with `scores` it is held against them, with
    the number of checkpoints, permutation p-values, training loss as a baseline, and entropy, path
    length and step taken out.

    Args:
        texts: Files or folders of training texts; None takes the shipped famous passages.
        fresh: Texts that were certainly not trained on; None takes the shipped twins.
        probe: Instead of both, JSON lines ``{"text": ..., "arm": "seen" or "fresh"}``; seen if no arm
            is given. A line is cut to `window`.
        checkpoints: Folders of a run's checkpoints, or a folder that holds them; with tokenizer.
        scores: CSV with a column ``step`` or ``checkpoint`` and one of scores; see `read_scores`.
        score: That column's name; empty takes ``accuracy``, ``score`` or ``acc``.
        threshold: Share of each layer's weight that a pathway covers (paper: .7).
        pairs: At most so many pairs of texts a checkpoint.
        window: Length of a text, in words and punctuation marks; longer ones are cut.
        minimum: Texts shorter than this are left out.
        per_arm: Windows an arm where no limit is given.
        windows_per_text: At most so many windows of one file; 0 is as many as needed.
        material: Passages in memory instead of files.
        device: Where checkpoints are run; empty is the best there is.
    """

    name: ClassVar[str] = "pathways"
    title: ClassVar[str] = "Pathways through experts"
    claim: ClassVar[str] = (
        "over a run's checkpoints the texts' pathways become more alike, and their layers more aligned, "
        "as the model generalises"
    )
    control: ClassVar[str] = (
        "paths of the same lengths with experts drawn anew; over checkpoints the loss, and entropy, path "
        "length and step taken out"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"routing"})
    source: ClassVar[str] = "Li, Fan, Zhou 2025, arXiv 2506.21551"
    self_test_items: ClassVar[int] = 0  # no verdict, so nothing that could be found

    texts: str | Path | tuple[str | Path, ...] | None = None
    fresh: str | Path | tuple[str | Path, ...] | None = None
    probe: str | Path | None = None
    checkpoints: str | Path | tuple[str | Path, ...] | None = None
    scores: str | Path | None = None
    score: str = ""
    threshold: float = 0.7
    pairs: int = 10_000
    window: int = 96
    minimum: int = 16
    per_arm: int = 48
    windows_per_text: int = 0
    material: tuple[Passage, ...] | None = None
    device: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise UsageError(f"threshold is a share in (0, 1), got {self.threshold} (paper: 0.7)")
        if not 2 <= self.minimum <= self.window:
            raise UsageError(
                f"minimum must lie between 2 and window, got {self.minimum} and {self.window}"
            )
        if self.per_arm < 1 or self.windows_per_text < 0 or self.pairs < 1:
            raise UsageError(
                "per_arm and pairs must be at least 1 and windows_per_text not negative, "
                f"got {self.per_arm}, {self.pairs} and {self.windows_per_text}"
            )
        if self.probe is not None and (self.texts is not None or self.fresh is not None):
            raise UsageError("probe holds the texts of both arms; leave texts and fresh out")
        if self.scores is not None and self.checkpoints is None:
            raise UsageError("scores are of a run's checkpoints; name them too (--checkpoints)")

    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """Texts of both arms, and one probe a checkpoint; see `Audit.probes`.

        Raises:
            DataError: Texts, checkpoints or scores that cannot be used.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"limit must be at least 1, got {limit}")
        material, stand_in = self.material, False
        if self.probe is not None:
            material, stand_in = read_probe(self.probe)
        both = arms(self.texts, self.fresh, material)
        windows, notes = draw_windows(
            both, length=self.window, minimum=self.minimum, per_arm=limit or self.per_arm,
            per_text=self.windows_per_text, seed=seed,
        )  # fmt: skip
        if both.stand_in or stand_in:
            notes["stand_in"] = True
        out = [
            Probe(w.id, w.arm, w.text, "", w.pair, {"doc": w.doc, "title": w.title, **notes})
            for w in windows
        ]
        if self.checkpoints is None:
            return out
        texts = [w.text for w in windows if w.arm == "seen"]
        if len(texts) < 2:
            raise DataError("a course of pathways needs at least two texts in the seen arm")
        found = checkpoint_folders(self.checkpoints)
        scored = None if self.scores is None else read_scores(self.scores, self.score)
        for step, folder in found:
            if scored is not None and step not in scored.accuracy:
                raise DataError(f"{self.scores} has no line of step {step} ({folder})")
            files = sorted(folder.glob("*.safetensors"))
            stamp = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
            meta = {"step": step, "texts": texts, "files": stamp, "pairs_seed": seed}
            out.append(Probe(f"checkpoint:{step}", "seen", str(folder), "", "", meta))
        return out

    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        """Route one text; or load one checkpoint, route all texts and let it go.

        Raises:
            CapabilityError: The model has no routers.
        """
        yield []  # nothing is computed before the turn comes: what it costs is asked first
        if "files" in probe.meta:
            return self._checkpoint(probe)
        if facts.route is None:
            raise CapabilityError(f"{facts.name} has no routers; pathways are those of experts")
        tokens = len((facts.tokenise or facts.encode)(probe.prompt))
        if facts.context and tokens > facts.context:
            raise DataError(
                f"{probe.id} has {tokens} tokens and the context of {facts.name} is {facts.context}; take "
                f"shorter windows: --set pathways.window={self.window * facts.context // tokens}"
            )
        routed = facts.route([probe.prompt])
        snap = Snapshot(routed.g, routed.W, routed.nll, routed.layers, self.threshold)
        values: dict[str, float | None] = {
            "length": float(path_lengths(snap.g, self.threshold).sum()),
            "entropy": float(snap.entropy.mean()),
            "loss": float(snap.nll[0]),
            "mean_cosine": None,
            "centred_cosine": None,
            "consistency": None,
        }
        if len(snap.W) > 1:
            found = consistency(snap)
            values["mean_cosine"] = float(found.mean_cosine[0])
            values["centred_cosine"] = float(consistency(snap, centred=True).mean_cosine[0])
            values["consistency"] = float(found.consistency[0]) if found.valid[0] else None
        (path,) = pathways(snap, threshold=self.threshold)
        meta = {
            **probe.meta,
            "path": [[int(k) for k in part.split(",")] for part in path.split("-")],
            "experts": int(snap.g.shape[2]),
        }
        title = str(probe.meta.get("title", ""))
        evidence = Evidence(
            probe.id, probe.arm, probe.prompt, "", path, values["mean_cosine"], title
        )
        return Row(probe.id, probe.arm, values, probe.pair, evidence, meta)

    def _checkpoint(self, probe: Probe) -> Row:
        from byheart.core.model import load

        model = load(f"hf:{probe.prompt}", device=self.device or None)
        seen = PathwayProbe(model, None, probe.meta["texts"], threshold=self.threshold)
        snap = seen.run(step=probe.meta["step"])
        found = measures(snap, pairs=self.pairs, seed=probe.meta["pairs_seed"], per_layer=True)
        values = {k: v if math.isfinite(v) else None for k, v in found.items()}
        meta = {"step": snap.step, "layers": len(snap.W), "experts": int(snap.g.shape[2])}
        return Row(probe.id, probe.arm, values, "", None, {**meta, "checkpoint": probe.prompt})

    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        """Both metrics, both arms, and the course over checkpoints; see `Audit.findings`."""
        texts = [r for r in rows if "path" in r.meta]
        run = sorted((r for r in rows if "step" in r.meta), key=lambda r: r.meta["step"])
        scored = None if self.scores is None else read_scores(self.scores, self.score)
        return [
            *_judge.arms_of(texts, seed=seed),
            *_judge.course_of(run, scored, seed=seed),
        ]

    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """Drawn prose, as `membership` plants it. Nothing here is judged, so nothing can be found.

        Raises:
            UsageError: If `n` is below 2.
        """
        if n < 2:
            raise UsageError(f"n must be at least 2, got {n}")
        planted, held, texts = canary_material(seed=seed + 2_506_215, n=n, words=44)
        base = dataclasses.replace(
            self,
            texts=None,
            fresh=None,
            probe=None,
            checkpoints=None,
            scores=None,
            per_arm=n,
            material=planted,
        )
        return Planting(base, dataclasses.replace(base, material=held), texts)
