"""The life of an item or a cube (MemOS, arXiv 2507.03724, §5.2): six states, legal steps only.

>>> check_step("Generated", "Activated")
>>> check_step("Expired", "Activated")
Traceback (most recent call last):
...
byheart.core.errors.IllegalTransition: no step leads from Expired to Activated; only erasing is left
"""

from __future__ import annotations

from byheart.core.errors import IllegalTransition, UsageError

__all__ = ["STATES", "STEPS", "check_step"]

STEPS: dict[str, tuple[str, ...]] = {
    "Generated": ("Activated", "Archived", "Expired"),
    "Activated": ("Merged", "Archived", "Frozen", "Expired"),
    "Merged": ("Activated", "Archived", "Frozen"),
    "Archived": ("Activated", "Expired"),
    "Frozen": ("Activated",),
    "Expired": (),
}
"""From each state to those it may go to. Frozen is left by unfreezing only, Expired by erasing."""

STATES = tuple(STEPS)


def check_step(before: str, after: str) -> None:
    """Raise unless the lifecycle has this step.

    Raises:
        UsageError: No such state.
        IllegalTransition: Not from here to there.
    """
    if after not in STEPS:
        raise UsageError(f"state must be one of {', '.join(STATES)}, got {after!r}")
    if after not in STEPS[before]:
        to = " or ".join(STEPS[before])
        rest = f"from there to {to}" if to else "only erasing is left"
        raise IllegalTransition(f"no step leads from {before} to {after}; {rest}")
