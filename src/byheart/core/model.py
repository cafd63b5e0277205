"""Models: anything that can be sampled or scored, under one small interface."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from byheart.core.ask import Completion, Facts, Sample, Score, Scored, _words
from byheart.core.errors import CapabilityError, DataError, UnknownName, UsageError

__all__ = ["CallableModel", "Model", "load"]

Progress = Callable[[int], None]
"""Called with the number of asks finished since the last call."""


class Model(ABC):
    """A model under audit.

    Attributes:
        name: As the user named it.
        capabilities: Subset of ``{"sample", "score", "weights", "routing"}``.
        chat: Whether it takes messages.
        raw: Whether a plain string is continued as it stands.
    """

    name: str = "model"
    capabilities: frozenset[str] = frozenset()
    chat: bool = False
    raw: bool = True

    def require(self, *capabilities: str, purpose: str = "this") -> None:
        """Raise unless the model has all of `capabilities`.

        Raises:
            CapabilityError: Names what is missing and the audits that need less.
        """
        missing = sorted(set(capabilities) - self.capabilities)
        if missing:
            less = (
                "; audits that only sample: byheart list" if "sample" in self.capabilities else ""
            )
            raise CapabilityError(
                f"{purpose} needs {', '.join(missing)}, and {self.name} offers "
                f"{', '.join(sorted(self.capabilities)) or 'nothing'}{less}"
            )

    @abstractmethod
    def sample(
        self, asks: Sequence[Sample], progress: Progress | None = None
    ) -> list[list[Completion]]:
        """Continue every prompt; `asks[i].n` completions at position i.

        Raises:
            CapabilityError: If the model cannot be sampled.
            ModelError: If it fails or its logits are NaN.
        """

    @abstractmethod
    def score(self, asks: Sequence[Score], progress: Progress | None = None) -> list[Scored]:
        """Log-probability of every token of every text.

        Raises:
            CapabilityError: If the model tells no log-probabilities.
            ModelError: If it fails or its logits are NaN.
        """

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`: the model's own tokenizer, else one number a word."""
        return _words(text)

    def tokenise(self, text: str) -> list[int]:
        """`encode`, with the special tokens that the model's tokenizer adds by default."""
        return self.encode(text)

    @property
    def own_tokens(self) -> bool:
        """Whether `encode` is the model's own tokenizer."""
        return False

    @property
    def weights(self) -> Any:
        """The `torch.nn.Module` itself.

        Raises:
            CapabilityError: If the model is not held here.
        """
        raise CapabilityError(f"{self.name} shows no weights; load it with hf: or gguf:")

    @property
    def fingerprint(self) -> str:
        """A digest that changes when the model does; finished rows are kept under it."""
        return hashlib.sha256(self.name.encode()).hexdigest()[:16]

    def facts(self) -> Facts:
        """What audits may know of this model."""
        return Facts(
            name=self.name,
            capabilities=self.capabilities,
            chat=self.chat,
            raw=self.raw,
            encode=self.encode,
            own_tokens=self.own_tokens,
            tokenise=self.tokenise,
            context=getattr(self, "context_length", 0),
            route=getattr(self, "route", None) if "routing" in self.capabilities else None,
        )


class CallableModel(Model):
    """A function from prompt to text, as a model that can only be sampled.

    Args:
        function: Takes a prompt (text, or a tuple of messages) and returns the answer.
        name: How reports call it.

    >>> CallableModel(str.upper).sample([Sample("so it goes")])[0][0].text
    'SO IT GOES'
    """

    capabilities = frozenset({"sample"})

    def __init__(self, function: Callable[..., str], name: str = "") -> None:
        self._function = function
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.chat = True

    def sample(
        self, asks: Sequence[Sample], progress: Progress | None = None
    ) -> list[list[Completion]]:
        out = []
        for ask in asks:
            texts = [self._function(ask.prompt) for _ in range(ask.n)]
            for text in texts:
                if not isinstance(text, str):
                    raise UsageError(
                        f"the model function returned {type(text).__name__}, expected str"
                    )
            out.append([Completion(_cut(text, ask.stop)) for text in texts])
            if progress:
                progress(1)
        return out

    def score(self, asks: Sequence[Score], progress: Progress | None = None) -> list[Scored]:
        self.require("score", purpose="scoring")
        raise AssertionError("unreachable")


def _cut(text: str, stops: Sequence[str]) -> str:
    """`text` up to the first stop string."""
    ends = [i for s in stops if (i := text.find(s)) >= 0]
    return text[: min(ends)] if ends else text


def load(
    spec: Any,
    *,
    device: str | None = None,
    dtype: str | None = None,
    tokenizer: Any = None,
    name: str | None = None,
) -> Model:
    """Load a model by name, path, module or function.

    Args:
        spec: ``"smollm2"`` (embedded, no network), ``"hf:NAME"`` or ``"hf:FOLDER"`` (a peft adapter
            folder too), ``"gguf:FILE"``, ``"inspect:PROVIDER/NAME"`` (any provider of inspect_ai),
            a ``torch.nn.Module`` (give its `tokenizer`), a function from prompt to text, or a
            `Model`, which is returned as it is.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; None picks the best there is.
        dtype: ``"float32"``, ``"bfloat16"``, ``"float16"``; None is float32 on a CPU and the
            checkpoint's own on an accelerator.
        tokenizer: For a module: its tokenizer, or a name or folder to load it from.
        name: How reports call it; None derives it from `spec`.

    Raises:
        UnknownName: If the scheme or name is not known.
        DataError: If a file or folder is missing or broken.
        MissingExtra: If torch, transformers or inspect_ai is needed and not installed.
    """
    if isinstance(spec, Model):
        return spec
    if isinstance(spec, Path):
        spec = f"gguf:{spec}" if spec.suffix == ".gguf" else f"hf:{spec}"
    if isinstance(spec, str):
        scheme, _, rest = spec.partition(":")
        if spec == "smollm2" or (scheme in ("hf", "gguf") and rest):
            from byheart.core.local import load_local

            return load_local(spec, device=device, dtype=dtype, name=name)
        if scheme == "inspect" and rest:
            from byheart.core.endpoint import InspectModel

            return InspectModel(rest, name=name)
        if scheme in ("hf", "gguf", "inspect"):
            raise DataError(f"{spec!r} names no model; write {scheme}:NAME")
        if Path(spec).exists():
            raise UsageError(
                f"{spec!r} is a path; write {'gguf' if spec.endswith('.gguf') else 'hf'}:{spec}"
            )
        known = ["smollm2", "hf:NAME", "gguf:FILE", "inspect:PROVIDER/NAME"]
        raise UnknownName("model", spec, known)
    if hasattr(spec, "named_parameters"):
        from byheart.core.local import LocalModel

        return LocalModel(spec, tokenizer, device=device, dtype=dtype, name=name)
    if callable(spec):
        return CallableModel(spec, name or "")
    raise UsageError(f"cannot load a {type(spec).__name__} as a model; see byheart.load")
