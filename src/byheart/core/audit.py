"""What an audit is: probes in two arms, a conversation for each, and findings over the rows.

The conversation is a generator: it yields a list of asks and is sent the list of replies, as often
as it likes, and returns its `Row`. A one-question audit yields once; a game of many turns yields
many times. Nothing in it knows who answers, so the local engine can run a hundred conversations in
lock-step as batches, and an endpoint can run them concurrently.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from byheart.core.ask import Ask, Facts, Reply
from byheart.core.errors import UsageError
from byheart.core.finding import Evidence, Finding

__all__ = ["Audit", "Conversation", "Planting", "Probe", "Row"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One item of an audit.

    Attributes:
        id: Unique in the audit.
        arm: ``"seen"`` or ``"fresh"``.
        prompt: What the model is given (text; how it is framed is the audit's business).
        target: What reciting would produce.
        pair: Name shared by an item and its twin; empty where arms are not paired.
        meta: JSON values that the audit needs later.
    """

    id: str
    arm: str
    prompt: str
    target: str = ""
    pair: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.arm not in ("seen", "fresh"):
            raise UsageError(f"a probe's arm is 'seen' or 'fresh', got {self.arm!r} ({self.id})")


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one probe: its numbers and what a person can read.

    `values` maps a metric's name to a number, or None where it could not be measured. All fields
    are JSON values, so that a row can be kept on disk and taken up again.
    """

    id: str
    arm: str
    values: dict[str, float | None]
    pair: str = ""
    evidence: Evidence | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; `from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Row:
        """Rebuild from `to_dict`."""
        record = dict(record)
        if record.get("evidence") is not None:
            record["evidence"] = Evidence(**record["evidence"])
        return cls(**record)


Conversation = Generator[list[Ask], list[Reply], Row]


@dataclass(frozen=True)
class Planting:
    """Freshly drawn items of one audit's kind, for ground truth.

    Attributes:
        audit: An audit whose *seen* arm is the planted items and whose *fresh* arm are twins that
            no model was trained on.
        held: The same audit with held-back items, alike but never trained on, as its seen arm.
        texts: The documents to train on, exactly as the audit's prompts meet them; one a planted
            item. A `(prompt, answer)` pair where the model will be asked in chat, else a string.
    """

    audit: Audit
    held: Audit
    texts: tuple[str | tuple[str, str], ...]


class Audit(ABC):
    """Base of all audits. Subclasses are dataclasses; their fields are the user's knobs.

    Class attributes:
        name: As typed on the command line.
        title: A few words for a heading.
        claim: What this audit can show, in one sentence.
        control: What it is held against, in one sentence.
        needs: Capabilities without which it cannot run.
        source: Where the method comes from.
        self_test_items: Items planted, held back and left fresh that are enough for a verdict; 0 where
            the audit gives none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    claim: ClassVar[str]
    control: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    source: ClassVar[str] = ""
    self_test_items: ClassVar[int] = 8

    @abstractmethod
    def probes(self, *, seed: int = 0, limit: int | None = None) -> list[Probe]:
        """Draw the items of both arms.

        Args:
            seed: Redraws whatever is random.
            limit: At most this many pairs (or items an arm); None is the audit's own default.

        Raises:
            DataError: If the user's material cannot give both arms.
        """

    def prepared(
        self,
        hold: Callable[[Audit, Sequence[Probe], str], Sequence[Row]],
        *,
        seed: int = 0,
        limit: int | None = None,
    ) -> Audit:
        """Settle knobs that the model itself decides, before anything is scored; most have none.

        Args:
            hold: Holds conversations of an audit of the same kind (the audit, its probes, a name for
                progress) and keeps their rows, so that a second run takes them up.
            seed: As for `probes`.
            limit: As for `probes`.
        """
        return self

    @abstractmethod
    def ask(self, probe: Probe, facts: Facts) -> Conversation:
        """The conversation about one probe."""

    @abstractmethod
    def findings(self, rows: Sequence[Row], *, seed: int = 0) -> list[Finding]:
        """Contrast the arms. Rows that failed are simply absent; too few of them is said in
        `Finding.no_verdict`, not raised."""

    @abstractmethod
    def planted(self, *, seed: int = 0, n: int = 24) -> Planting:
        """Fresh items of this audit's kind, to be planted in a model as ground truth."""

    def config(self) -> dict[str, Any]:
        """The knobs, as JSON values; part of the key under which finished rows are kept."""
        if not dataclasses.is_dataclass(self):
            return {}
        return json.loads(
            json.dumps(
                {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init},
                default=_digest,
            )
        )


def _digest(value: Any) -> str:
    """A stable stand-in for a knob that is no JSON value (a model, a list of texts)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = json.dumps(dataclasses.asdict(value), default=str, sort_keys=True)
    return hashlib.sha256(str(value).encode()).hexdigest()[:16]
