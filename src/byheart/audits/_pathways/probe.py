"""Chosen samples, run through a mixture of experts at any of its checkpoints."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from typing import Any

from byheart.audits._pathways.snapshot import Snapshot, _threshold
from byheart.core.errors import DataError, UsageError
from byheart.core.model import Model, load
from byheart.core.routing import Router, check_lengths, find_neurons, find_routers, route

__all__ = ["PathwayProbe"]


class PathwayProbe:
    """A fixed set of samples whose pathways are followed through the experts of a model.

    The routers are found and the samples cut into tokens once; each `run` is one forward pass over
    them without gradients, after which the model is what it was before. Nothing is held per token:
    ``N * L * K`` floats come back.

    Args:
        model: A mixture-of-experts causal model of transformers, a local `byheart.Model`, or what
            `byheart.load` makes one of.
        tokenizer: Its tokenizer; not needed where `texts` are token ids, nor with a `byheart.Model`.
        texts: The samples: texts, or sequences of token ids, each of at least two tokens.
        threshold: Share of each layer's weight that a pathway covers (paper, §4.1: .7; it ablates
            .5, .6 and .8).
        max_tokens: Longer samples are cut to so many tokens; None refuses those that are longer
            than the model's context.
        batch_tokens: Tokens of a batch, padding included; bounds memory.
        neurons: For a dense model, which has no routers: take so many of each feed-forward block's
            most active neurons for the pathway (a wish of the paper's reviewers, not the paper's).
            `N * L * neurons of a block` floats come back then.
        scoring: ``"auto"``, ``"softmax"``, ``"sigmoid"`` or ``"probabilities"``; see
            `byheart.core.routing.route`.

    Raises:
        CapabilityError: The model has no routers.
        DataError: No samples, an empty one, one of a single token, or one that is too long.

    >>> from transformers import OlmoeConfig, OlmoeForCausalLM
    >>> config = OlmoeConfig(vocab_size=20, hidden_size=16, intermediate_size=16, pad_token_id=0,
    ...     num_hidden_layers=2, num_attention_heads=2, num_experts=4, num_experts_per_tok=2)
    >>> probe = PathwayProbe(OlmoeForCausalLM(config), None, [[1, 2, 3], [4, 5, 6, 7]])
    >>> probe.run().g.shape
    (2, 2, 4)
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        texts: Sequence[str] | Sequence[Sequence[int]] = (),
        *,
        threshold: float = 0.7,
        max_tokens: int | None = None,
        batch_tokens: int = 2048,
        neurons: int = 0,
        scoring: str = "auto",
    ) -> None:
        _threshold(threshold)
        if batch_tokens < 1 or (max_tokens is not None and max_tokens < 2):
            raise UsageError(
                "batch_tokens must be at least 1 and max_tokens at least 2, got "
                f"{batch_tokens} and {max_tokens}"
            )
        if scoring not in ("auto", "softmax", "sigmoid", "probabilities"):
            raise UsageError(f"scoring is auto, softmax, sigmoid or probabilities, got {scoring!r}")
        if isinstance(texts, str):
            raise UsageError("texts must be a sequence of samples, got one text; put it in a list")
        if isinstance(model, str):
            model = load(model)
        self.name = model.name if isinstance(model, Model) else ""
        if isinstance(model, Model):
            tokenizer = tokenizer or getattr(model, "tokenizer", None)
            model = model.weights
        if not hasattr(model, "named_modules"):
            raise UsageError(f"a probe follows a torch module, got {type(model).__name__}")
        if not hasattr(getattr(model, "config", None), "get_text_config"):
            raise UsageError(
                f"{type(model).__name__} has no configuration of transformers; a probe calls "
                "model(input_ids=..., attention_mask=..., use_cache=False).logits and reads its config"
            )
        self.model, self.tokenizer = model, tokenizer
        self.name = self.name or type(model).__name__
        self.neurons = neurons
        found = self._parts(model)
        least = min(r.experts for r in found)
        if not 0 <= neurons <= least:
            raise UsageError(f"neurons must lie in 0..{least}, got {neurons}")
        self.threshold, self.batch_tokens, self.scoring = threshold, batch_tokens, scoring
        self.ids = tuple(tuple(self._tokens(i, text))[:max_tokens] for i, text in enumerate(texts))
        if not self.ids:
            raise DataError("no sample was given; pathways are compared, so give at least two")
        check_lengths(self.ids, model, self.name)

    def _tokens(self, i: int, text: Any) -> list[int]:
        if isinstance(text, str):
            if not text.strip():
                raise DataError(f"sample {i} is empty; leave it out")
            if self.tokenizer is None:
                raise UsageError("texts need the model's tokenizer; give it, or token ids")
            ids = list(self.tokenizer(text)["input_ids"])
        else:
            try:
                ids = [operator.index(t) for t in text]
            except TypeError as error:
                raise DataError(
                    f"sample {i} is neither a text nor token ids: {type(text).__name__} ({error})"
                ) from error
        if not ids:
            raise DataError(f"sample {i} is empty; leave it out")
        vocabulary = int(getattr(self.model.config.get_text_config(), "vocab_size", 0) or 0)
        if min(ids) < 0 or (vocabulary and max(ids) >= vocabulary):
            raise DataError(
                f"sample {i} has token {max(ids) if min(ids) >= 0 else min(ids)}, outside the "
                f"model's vocabulary of {vocabulary}"
            )
        return ids

    def _parts(self, module: Any) -> tuple[Router, ...]:
        """Routers, or a dense model's feed-forward blocks."""
        return (find_neurons if self.neurons else find_routers)(module, self.name)

    @property
    def digest(self) -> str:
        """Of the samples' tokens."""
        return hashlib.sha256(repr(self.ids).encode()).hexdigest()[:16]

    def run(self, model: Any = None, *, step: int = -1) -> Snapshot:
        """Route all samples.

        Args:
            model: Another checkpoint of the same model; None is the one the probe was made with.
            step: Of the training, kept in the snapshot.

        Raises:
            CapabilityError: That model has no routers.
            ModelError: A router or the loss is NaN; says which and on which sample.
        """
        module = self.model if model is None else model
        module = module.weights if isinstance(module, Model) else module
        module = getattr(module, "module", module)  # as wrapped for several devices
        routed = route(
            module,
            self.ids,
            routers=self._parts(module),
            scoring=self.scoring,
            batch_tokens=self.batch_tokens,
            name=self.name,
        )
        return Snapshot(
            routed.g, routed.W, routed.nll, routed.layers, self.threshold, step, routed.scoring,
            self.digest, self.neurons,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"PathwayProbe({self.name}, {len(self)} samples, threshold={self.threshold})"
