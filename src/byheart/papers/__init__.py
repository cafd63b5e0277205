"""One file a paper: its claim, run small, with its figure and its verdict."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from byheart.core.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from byheart.papers._common import Result

__all__ = ["PAPERS", "Paper", "reproduce"]


@dataclass(frozen=True)
class Paper:
    """A paper that can be reproduced: where its case is, and its claim in a sentence."""

    module: str
    claim: str


PAPERS: dict[str, Paper] = {
    "a-mem": Paper(
        "byheart.papers.a_mem",
        "notes that are annotated, linked and rewritten as others arrive answer more than plain "
        "retrieval, most of all where several turns are needed",
    ),
    "book-sort": Paper(
        "byheart.papers.book_sort",
        "models tell the order of two segments that they have before them, and are near chance about "
        "books that they were only trained on",
    ),
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
    "grokking-pathways": Paper(
        "byheart.papers.grokking_pathways",
        "after the loss has settled a mixture of experts goes on reorganising its routing, and this "
        "goes with accuracy on held-out items",
    ),
    "knights-and-knaves": Paper(
        "byheart.papers.knights_and_knaves",
        "models come to recite logic puzzles and fail on slightly changed twins, and still reason "
        "better about new ones",
    ),
    "long-tail": Paper(
        "byheart.papers.long_tail",
        "where frequencies have a long tail, not fitting what was seen once costs accuracy by an amount "
        "that the prior tells, and training on random subsets finds which labels are memorised",
    ),
    "random-calculation": Paper(
        "byheart.papers.random_calculation",
        "benchmarks that were read can be restored from their beginnings; on problems that nobody can "
        "have read only right rewards help",
    ),
    "succinct-paging": Paper(
        "byheart.papers.succinct_paging",
        "one predicted bit a request makes eviction optimal when the bits are right, and each wrong bit "
        "costs little",
    ),
    "memo-training": Paper(
        "byheart.papers.memo_training",
        "activations swapped by tokens and addresses planned beforehand let a 7B model train on a "
        "million tokens with 8 GPUs at about half of their peak",
    ),
    "think-in-memory": Paper(
        "byheart.papers.think_in_memory",
        "keeping conclusions instead of dialogue makes a memory consistent and small, and a hash "
        "makes recall cheaper than comparing with everything",
    ),
    "wilt": Paper(
        "byheart.papers.wilt",
        "finding a hidden rule takes two skills that can be told apart, choosing tests and "
        "inferring the rule; no game has an answer that could be recited at once",
    ),
}


def reproduce(
    key: str,
    *,
    full: bool = False,
    seeds: int = 3,
    out: Path | str | None = None,
    device: str | None = None,
    data: Path | str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Result:
    """Run a paper's case and judge its claim.

    Args:
        key: As `byheart list papers` shows it.
        full: The large case, for a GPU.
        seeds: How many seeds baseline and system share.
        out: Folder for the figure and result.json; None writes none.
        device: As for `byheart.load`.
        data: Folder of data that the case reads and byheart does not ship (LoCoMo's).
        progress: Called with what is being done and the share that is finished.

    Raises:
        UnknownName: If there is no such paper.
        UsageError: If there is no such device, or the case reads no data.
        OutputError: If `out` cannot be written; before anything is run.
    """
    if key not in PAPERS:
        raise UnknownName("paper", key, PAPERS)
    from byheart.core._checkpoints import check_device
    from byheart.core._files import make_folder

    module = importlib.import_module(PAPERS[key].module)
    check_device(device)
    folder = None if out is None else make_folder(Path(out))
    more = {} if data is None else {"data": data}
    if more and "data" not in inspect.signature(module.run).parameters:
        raise UsageError(f"the case of {key} reads no data; leave it out")
    result: Result = module.run(
        full=full, seeds=seeds, out=folder, progress=progress, device=device, **more
    )
    return result
