"""The swapper for `transformers.Trainer`."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from byheart.states._swapping.swapper import ActivationSwapper

__all__ = ["SwapCallback"]


class SwapCallback(TrainerCallback):  # type: ignore[misc]
    """Swap activations while a `Trainer` trains.

    Args:
        **settings: As for `ActivationSwapper`.

    Attributes:
        swapper: The swapper, from the beginning of the training on.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self.swapper: ActivationSwapper | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **more: Any
    ) -> None:
        """Enter."""
        self.swapper = ActivationSwapper(model, **self._settings)
        self.swapper.__enter__()

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Leave."""
        if self.swapper is not None:
            self.swapper.__exit__(None, None, None)
