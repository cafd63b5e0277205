"""One file a paper: its claim, run small, with its figure and its verdict."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from byheart.core.errors import UnknownName

if TYPE_CHECKING:
    from byheart.papers._common import Result

__all__ = ["PAPERS", "Paper", "reproduce"]


@dataclass(frozen=True)
class Paper:
    """A paper that can be reproduced: where its case is, and its claim in a sentence."""

    module: str
    claim: str


PAPERS: dict[str, Paper] = {
    "cdd-ted": Paper(
        "byheart.papers.cdd_ted",
        "a contaminated model's outputs peak around its greedy answer; taking the peak away "
        "gives a fairer score",
    ),
    "economic-recall": Paper(
        "byheart.papers.economic_recall",
        "language models recall economic data up to their cutoff, and being told to forget "
        "does not stop them",
    ),
}


def reproduce(
    key: str,
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | str | None = None,
    device: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Result:
    """Run a paper's case and judge its claim.

    Args:
        key: As `byheart list papers` shows it.
        full: The large case, for a GPU.
        seeds: How many seeds baseline and system share.
        out: Folder for the figure and result.json; None writes none.
        device: As for `byheart.load`.
        progress: Called with what is being done and the share that is finished.

    Raises:
        UnknownName: If there is no such paper.
        UsageError: If there is no such device.
        OutputError: If `out` cannot be written; before anything is run.
    """
    if key not in PAPERS:
        raise UnknownName("paper", key, PAPERS)
    from byheart.core._checkpoints import check_device
    from byheart.core._files import make_folder

    module = importlib.import_module(PAPERS[key].module)
    check_device(device)
    folder = None if out is None else make_folder(Path(out))
    result: Result = module.run(
        full=full, seeds=seeds, out=folder, progress=progress, device=device
    )
    return result
