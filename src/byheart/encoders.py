"""What `Memory(encoder=...)` takes: a local model, any sentence-transformers model, an endpoint."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from byheart.core.errors import DataError, MissingExtra, UnknownName, UsageError
from byheart.stores._embedder import Embedder

__all__ = ["FORMS", "make_embedder"]

FORMS = ("minilm", "st:NAME", "endpoint:URL#MODEL")
"""How encoders are named."""


def make_embedder(encoder: str | Callable[[list[str]], Any] | None) -> Embedder | None:
    """What `Memory(encoder=...)` means.

    Args:
        encoder: None; ``"minilm"`` (all-MiniLM-L6-v2 out of its PyPI package); ``"st:NAME"`` (a
            sentence-transformers model, or ``"st:FOLDER"`` with one); ``"endpoint:URL#MODEL"``
            (see `byheart.core.embedding_endpoint.EmbeddingEndpoint`); or a function from texts to
            ``[N, D]`` numbers, whose attributes `name` and `version` say whose vectors they are.

    Raises:
        UnknownName: No such encoder.
        MissingExtra: Its package is not installed.
        DataError: sentence-transformers cannot open the model.
    """
    if encoder is None:
        return None
    if isinstance(encoder, Embedder):
        return replace(encoder)
    if not isinstance(encoder, str):
        if not callable(encoder):
            raise UsageError(f"encoder must be a name or a function, got {type(encoder).__name__}")
        default = getattr(encoder, "__qualname__", type(encoder).__qualname__)
        name = str(getattr(encoder, "name", None) or default)
        return Embedder(encoder, name, str(getattr(encoder, "version", "") or ""))
    kind, _, name = encoder.partition(":")
    if encoder == "minilm":
        from byheart.core.minilm import MiniLM

        model = MiniLM()
        return Embedder(model, model.name)
    if kind == "st" and name:
        return Embedder(_transformer(name), encoder)
    if kind == "endpoint" and name:
        from byheart.core.embedding_endpoint import EmbeddingEndpoint

        endpoint = EmbeddingEndpoint.parse(name)
        return Embedder(endpoint, endpoint.name)
    raise UnknownName("encoder", encoder, FORMS)


def _transformer(name: str) -> Callable[[list[str]], Any]:
    if importlib.util.find_spec("sentence_transformers") is None:
        raise MissingExtra(
            f"the encoder 'st:{name}' needs sentence-transformers; "
            "type: pip install sentence-transformers"
        )
    library = importlib.import_module("sentence_transformers")
    # weights are read from safetensors alone: the older format is a pickle, which is a program
    options: dict[str, Any] = {"model_kwargs": {"use_safetensors": True}}
    if Path(name).exists():
        options["local_files_only"] = True
    try:
        model = library.SentenceTransformer(name, **options)
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        raise DataError(
            f"sentence-transformers cannot open {name!r}: {told}; name a folder that holds such a "
            "model with its weights in safetensors, or a model of its hub"
        ) from error
    return lambda texts: model.encode(texts, show_progress_bar=False, convert_to_numpy=True)
