"""What is trained, and how it is turned on, off, taken out and saved without harm to the base."""

from __future__ import annotations

import contextlib
import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from byheart.core.errors import CapabilityError, UsageError

__all__ = ["FullSwitch", "LoraSwitch", "Switch"]


class Switch(ABC):
    """Trained weights on top of a frozen module. On while training, then off between uses.

    Attributes:
        module: The module to call.
        layers: Its decoder layers, or None.
        split: How many lower layers are not touched.
        parameters: What is trained.
        whole: Whether `save` writes the whole model.
    """

    whole = False

    def __init__(self, module: Any, layers: Any, split: int) -> None:
        self.module, self.layers, self.split = module, layers, split
        self.parameters: list[Any] = []
        self._flags = [(p, p.requires_grad) for p in module.parameters()]
        self._active, self._removed, self._held_off = True, False, 0
        for p, _ in self._flags:
            p.requires_grad_(False)

    @abstractmethod
    def _set(self, active: bool) -> None: ...

    @abstractmethod
    def _take_out(self) -> None: ...

    @abstractmethod
    def _write(self, folder: Path, base: str) -> None: ...

    def _turn(self, active: bool) -> bool:
        before = self._active
        if active != before and not self._removed:
            self._set(active)
            self._active = active
        return before

    @contextlib.contextmanager
    def on(self) -> Iterator[None]:
        """Inside, the trained weights count, unless `off` is around it."""
        before = self._turn(not self._held_off)
        try:
            yield
        finally:
            self._turn(before)

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Inside, they never count."""
        before = self._turn(False)
        self._held_off += 1
        try:
            yield
        finally:
            self._held_off -= 1
            self._turn(before)

    def freeze(self) -> None:
        """End of training: gradients off, base in charge."""
        for p in self.parameters:
            p.requires_grad_(False)
            p.grad = None
        for p, flag in self._flags:
            p.requires_grad_(flag)
        self._turn(False)

    def remove(self) -> None:
        """Take the trained weights out; the base module is as it was."""
        if self._removed:
            return
        self._turn(False)
        self._take_out()
        self._removed = True
        for p, flag in self._flags:
            p.grad = None
            p.requires_grad_(flag)

    def save(self, folder: Path, base: str) -> None:
        """Write to a folder.

        Raises:
            UsageError: Nothing is left to save.
        """
        if self._removed:
            raise UsageError("the planted texts were taken out; save before unplant()")
        with self.on():
            self._write(folder, base)


class LoraSwitch(Switch):
    """An adapter of peft on every linear map of the upper layers."""

    def __init__(self, module: Any, layers: Any, split: int, rank: int, seed: int) -> None:
        import peft
        import torch

        super().__init__(module, layers, split)
        self._bare = module
        self._had = set(module.__dict__)
        scope = layers[split:] if layers is not None else module
        kinds = (torch.nn.Linear, _conv1d())
        names = {n.rsplit(".", 1)[-1] for n, m in scope.named_modules() if isinstance(m, kinds)}
        if not names:
            raise CapabilityError("this model has no linear maps for an adapter; use method='full'")
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            target_modules=sorted(names),
            layers_to_transform=list(range(split, len(layers))) if layers is not None else None,
            task_type="CAUSAL_LM",
            fan_in_fan_out=not any(isinstance(m, torch.nn.Linear) for m in scope.modules()),
        )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # peft asks transformers by a name that transformers is about to rename
            warnings.simplefilter("ignore", FutureWarning)
            torch.manual_seed(seed)
            self.module = peft.get_peft_model(module, config)
        self.module.eval()
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self._hooked: list[bool] = []
        self.module.register_forward_pre_hook(self._enter)
        self.module.register_forward_hook(self._leave, always_call=True)

    def _enter(self, *_: Any) -> None:
        self._hooked.append(self._turn(not self._held_off))

    def _leave(self, *_: Any) -> None:
        self._turn(self._hooked.pop())

    def _set(self, active: bool) -> None:
        tuner = self.module.base_model
        (tuner.enable_adapter_layers if active else tuner.disable_adapter_layers)()
        for p in self.parameters:
            p.requires_grad_(False)

    def _take_out(self) -> None:
        self.module.base_model.unload()
        for name in set(self._bare.__dict__) - self._had:
            delattr(self._bare, name)

    def _write(self, folder: Path, base: str) -> None:
        self.module.save_pretrained(folder, safe_serialization=True)
        file = folder / "adapter_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = base
        file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _conv1d() -> type:
    from transformers.pytorch_utils import Conv1D

    return Conv1D


class FullSwitch(Switch):
    """The parameters of the upper layers themselves; originals and tuned ones change places."""

    whole = True

    def __init__(self, module: Any, layers: Any, split: int) -> None:
        super().__init__(module, layers, split)
        scope = layers[split:] if layers is not None else module
        self.parameters = [p for p in scope.parameters() if p.is_floating_point()]
        if not self.parameters:
            raise CapabilityError("this model has no floating-point layers to train")
        self._aside = [p.data for p in self.parameters]
        for p in self.parameters:
            p.data = p.data.clone()
            p.requires_grad_(True)

    def _set(self, active: bool) -> None:
        for i, p in enumerate(self.parameters):
            p.data, self._aside[i] = self._aside[i], p.data

    def _take_out(self) -> None:
        self._aside = []

    def _write(self, folder: Path, base: str) -> None:
        if hasattr(self.module, "get_base_model"):
            raise UsageError("a model that wears an adapter cannot be saved whole; merge it first")
        self.module.save_pretrained(folder, safe_serialization=True)
