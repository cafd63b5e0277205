"""What every paper's case returns, and the small GPT that two of them train on the spot.

`TinyGPT`, `Characters`, `fit` and `generate` live in `byheart.papers._tinygpt` and are re-exported
here lazily, so that naming a result needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from byheart.core.errors import OutputError, need
from byheart.core.finding import Finding

if TYPE_CHECKING:
    from byheart.papers._tinygpt import Characters, TinyGPT, fit, generate

__all__ = [
    "Characters",
    "Check",
    "Result",
    "TinyGPT",
    "find_locomo",
    "fit",
    "generate",
    "save_figure",
    "verdict_of",
]

_LAZY = ("Characters", "TinyGPT", "fit", "generate")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        need("torch", "torch")
        from byheart.papers import _tinygpt

        return getattr(_tinygpt, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class Check:
    """One part of a paper's claim, measured here.

    Attributes:
        name: What was tested, in a few words.
        expected: What the paper (or its sheet) says should come out.
        measured: What came out, with numbers.
        passed: Whether it holds.
    """

    name: str
    expected: str
    measured: str
    passed: bool


def verdict_of(checks: Sequence[Check]) -> str:
    """``"reproduced"`` if all checks hold, ``"not reproduced"`` if at most half do.

    >>> verdict_of([Check("a", "", "", True), Check("b", "", "", True), Check("c", "", "", False)])
    'partly reproduced'
    """
    passed = sum(check.passed for check in checks)
    if checks and passed == len(checks):
        return "reproduced"
    return "partly reproduced" if passed * 2 > len(checks) else "not reproduced"


@dataclass(frozen=True)
class Result:
    """A paper's claim, run here.

    Attributes:
        key: The paper's key.
        claim: Its claim in a sentence.
        verdict: ``"reproduced"``, ``"partly reproduced"`` or ``"not reproduced"``.
        checks: The parts of the claim.
        findings: The contrasts behind them.
        figures: Files that were written.
        seconds: Wall-clock time.
        notes: What differs from the paper, what was not run.
    """

    key: str
    claim: str
    verdict: str
    checks: list[Check]
    findings: list[Finding] = field(default_factory=list)
    figures: list[Path] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; figures by file name."""
        return {
            "key": self.key,
            "claim": self.claim,
            "verdict": self.verdict,
            "checks": [
                {"name": c.name, "expected": c.expected, "measured": c.measured, "passed": c.passed}
                for c in self.checks
            ],
            "findings": [f.to_dict() for f in self.findings],
            "figures": [p.name for p in self.figures],
            "seconds": round(self.seconds, 1),
            "notes": list(self.notes),
        }

    def save(self, folder: Path | str) -> Path:
        """Write ``result.json`` into `folder` (made if missing) and return its path.

        Raises:
            OutputError: If it cannot be written.
        """
        path = Path(folder) / "result.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        return path


def save_figure(figure: Any, path: Path) -> Path:
    """Write a figure of matplotlib without the frame's upper and right lines; its folder is made.

    Raises:
        OutputError: It cannot be written.
    """
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def find_locomo(data: Path | str | None) -> Path | None:
    """The folder of LoCoMo's conversations: the one that is named, else ``data/locomo`` if it is there."""
    if data is not None:
        return Path(data)
    here = Path("data/locomo")
    return here if here.is_dir() else None
