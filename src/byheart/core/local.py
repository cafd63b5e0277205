"""Models held here: any transformers causal language model, scored and sampled in batches.

`score` right-pads, which a causal model cannot see, and runs the output layer over the scored
positions only. Texts that follow one context read it once, and contexts that begin alike read that
beginning once. `sample` is in `byheart.core._decode`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from byheart.core.ask import Completion, Message, Prompt, Sample, Score, Scored
from byheart.core.errors import DataError, ModelError, UsageError, need
from byheart.core.model import Model, Progress
from byheart.core.routing import Routed, has_routers, route

__all__ = ["LocalModel", "load_local"]

_HEAD_ROWS = 512
"""Rows that pass the output layer at once: bounds [rows, vocabulary]."""
_LOGITS = 2**28
"""Most logits held where the output layer cannot be run apart from the model."""
_SAVED = 64
"""Tokens that a shared beginning must save to be worth a forward pass of its own."""
_WORTH = 16
"""Least tokens that beginnings of several contexts must have in common to be read once."""


@dataclass(frozen=True)
class _Window:
    """Part of a text: `ids[0:]` with the targets at `first..len(ids)-1` scored into `at`."""

    ask: int
    ids: list[int]
    first: int
    at: int
    whole: bool = True


class LocalModel(Model):
    """A transformers causal language model with its tokenizer.

    Args:
        module: The model (a peft model too); it is put into evaluation mode.
        tokenizer: Its tokenizer, or a name or folder to load it from.
        device: ``"cpu"``, ``"cuda"``, ...; None is the best there is.
        dtype: ``"float32"``, ...; None leaves the module's own.
        name: How reports call it.
        batch_tokens: Tokens scored at once; bounds memory. None is 768 on a CPU, where more only
            leaves the caches, and 8192 elsewhere.
        batch_rows: Continuations sampled at once.
    """

    capabilities = frozenset({"sample", "score", "weights"})
    raw = True

    def __init__(
        self,
        module: Any,
        tokenizer: Any,
        *,
        device: str | None = None,
        dtype: str | None = None,
        name: str | None = None,
        batch_tokens: int | None = None,
        batch_rows: int = 128,
    ) -> None:
        torch = need("torch", "torch")
        if tokenizer is None:
            raise UsageError("a module needs its tokenizer: byheart.load(module, tokenizer=...)")
        if isinstance(tokenizer, str):
            tokenizer = need("transformers", "torch").AutoTokenizer.from_pretrained(tokenizer)
        if getattr(getattr(module, "active_peft_config", None), "is_prompt_learning", False):
            raise UsageError(
                "prompt-learning adapters put virtual tokens before the text and are not "
                "supported; LoRA and other adapters that change weights are"
            )
        self.device = torch.device(device or best_device())
        module = module.to(self.device, getattr(torch, dtype) if dtype else None)
        self.module, self.tokenizer = module.eval(), tokenizer
        self.name = name or getattr(module.config, "_name_or_path", "") or type(module).__name__
        self.chat = bool(getattr(tokenizer, "chat_template", None))
        self.batch_tokens = batch_tokens or (768 if self.device.type == "cpu" else 8192)
        self.batch_rows = batch_rows
        if has_routers(module):
            self.capabilities = self.capabilities | {"routing"}

    def route(self, texts: Sequence[str]) -> Routed:
        """Where the experts' routers send the tokens of texts, averaged over each text.

        Raises:
            CapabilityError: It is no mixture of experts.
            DataError: A text of one token, or longer than the context.
            ModelError: A router or the loss is NaN.
        """
        ids = [self.tokenise(text) for text in texts]
        return route(self.module, ids, batch_tokens=self.batch_tokens, name=self.name)

    @property
    def weights(self) -> Any:
        return self.module

    @property
    def own_tokens(self) -> bool:
        return True

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def tokenise(self, text: str) -> list[int]:
        """Token ids with the special tokens that the tokenizer adds by default."""
        return list(self.tokenizer(text)["input_ids"])

    @property
    def fingerprint(self) -> str:
        """Digest over names, shapes, a sample and the sum of every parameter, adapters included.

        The sum is that of the numbers' bits as integers: exact, so the same on every device.
        """
        import torch

        bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        digest = hashlib.sha256()
        for name, p in self.module.named_parameters():
            flat = p.detach().reshape(-1)
            step = max(1, flat.numel() // 64)
            values = flat[::step][:64].float().cpu().numpy()
            total = int(flat.view(bits[flat.element_size()]).sum(dtype=torch.int64))
            digest.update(f"{name}{tuple(p.shape)}{p.dtype}{total}".encode() + values.tobytes())
        return digest.hexdigest()[:16]

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """A prompt as the model meets it: text with the tokenizer's opening token, or a chat.

        A last message of the assistant is left open, so that the model goes on with it. Where the
        tokenizer has no chat template, messages are set below each other with their roles. Where the
        template knows no system message, its text opens the first message of the user.

        Raises:
            ModelError: The template refuses the messages.
        """
        if isinstance(prompt, str):
            ids = list(self.tokenizer(prompt)["input_ids"])
            ends = {self.tokenizer.eos_token_id, self.tokenizer.sep_token_id} - {None}
            if ids and ids[-1] in ends and len(ids) > len(self.encode(prompt)):
                ids = ids[:-1]  # some tokenizers also close a text
            return ids or [self._start_id()]
        last = prompt[-1][0] == "assistant"
        if self.chat:
            return self.encode(self._rendered(prompt, last))
        lines = [f"{role.capitalize()}: {text}" for role, text in prompt]
        return self.prompt_ids("\n".join(lines) + ("" if last else "\nAssistant:"))

    def _rendered(self, prompt: Sequence[Message], opened: bool) -> str:
        """Messages in the tokenizer's chat template; `opened` leaves the last one to be gone on with."""
        from jinja2 import TemplateError

        def render(messages: Sequence[Message]) -> str:
            return str(
                self.tokenizer.apply_chat_template(
                    [{"role": role, "content": text} for role, text in messages],
                    tokenize=False,
                    add_generation_prompt=not opened,
                    continue_final_message=opened,
                )
            )

        messages = list(prompt)
        try:
            return render(messages)
        except TemplateError as error:
            refused = error
        if len(messages) > 1 and messages[0][0] == "system" and messages[1][0] == "user":
            messages[:2] = [("user", f"{messages[0][1]}\n\n{messages[1][1]}")]
            try:
                return render(messages)
            except TemplateError as error:
                refused = error
        roles = ", ".join(role for role, _ in prompt)
        raise ModelError(
            f"the chat template of {self.name} refuses messages of {roles}: {refused}; ask in plain "
            "text, or give the tokenizer another template"
        )

    def _start_id(self) -> int:
        for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return 0

    @property
    def context_length(self) -> int:
        """Most tokens the model can attend to."""
        config = self.module.config
        return int(
            getattr(config, "max_position_embeddings", 0)
            or getattr(config, "n_positions", 0)
            or 2048
        )

    # scoring -----------------------------------------------------------------------------------

    def _ids(self, ask: Score) -> tuple[list[int], int]:
        """All token ids, and the index of the first scored one.

        A text context is tokenised together with the text; where a token straddles the border, the
        text begins with that token.
        """
        if not ask.context:
            ids = self.prompt_ids(ask.text)
            return ids, len(ids) - len(self.encode(ask.text)) or 1
        if isinstance(ask.context, str):
            context, whole = self.prompt_ids(ask.context), self.prompt_ids(ask.context + ask.text)
            same = 0
            for a, b in zip(context, whole, strict=False):
                if a != b:
                    break
                same += 1
            return whole, max(1, same)
        context = self.prompt_ids(ask.context)
        return context + self.encode(ask.text), len(context)

    def _windows(self, asks: Sequence[Score]) -> Iterator[_Window]:
        limit = self.context_length
        for i, ask in enumerate(asks):
            ids, first = self._ids(ask)
            if len(ids) <= first:
                raise DataError(
                    f"a text of one token and no context cannot be scored: {ask.text[:60]!r}"
                )
            if len(ids) <= limit:
                yield _Window(i, ids, first, 0)
                continue
            start = first  # half-overlapping windows: every token has at least limit/2 of context
            while start < len(ids):
                end = min(len(ids), max(limit, start + limit // 2))
                begin = max(0, end - limit)
                yield _Window(i, ids[begin:end], start - begin, start - first, whole=False)
                start = end

    def score(self, asks: Sequence[Score], progress: Progress | None = None) -> list[Scored]:
        """Token log-probabilities, batched by length.

        Texts beyond the model's context are scored in half-overlapping windows.

        Raises:
            DataError: A text of a single token without context.
            ModelError: The logits are NaN.
        """
        import torch

        windows = list(self._windows(asks))
        parts: dict[int, list[tuple[_Window, np.ndarray]]] = {}
        left = np.bincount(np.array([w.ask for w in windows], dtype=int), minlength=len(asks))
        with torch.inference_mode():
            for batch, measured in self._measure(windows, asks):
                done = 0
                for window, numbers in zip(batch, measured, strict=True):
                    parts.setdefault(window.ask, []).append((window, numbers))
                    left[window.ask] -= 1
                    done += left[window.ask] == 0
                if progress and done:
                    progress(int(done))
        out = []
        for i, ask in enumerate(asks):
            pieces = sorted(parts[i], key=lambda p: p[0].at)
            numbers = np.concatenate([n for _, n in pieces], axis=1)
            tokens = tuple(t for w, _ in pieces for t in w.ids[w.first :])
            out.append(
                Scored(
                    numbers[0],
                    tokens,
                    numbers[1] > 0,
                    numbers[2] if ask.moments else None,
                    numbers[3] if ask.moments else None,
                )
            )
        return out

    def _measure(
        self, windows: Sequence[_Window], asks: Sequence[Score]
    ) -> Iterator[tuple[list[_Window], list[np.ndarray]]]:
        """Batches of windows with their numbers; what they begin with is read once."""
        tokens = self.batch_tokens
        if self._split is None:
            tokens = min(tokens, max(1, _LOGITS // self.module.config.get_text_config().vocab_size))
        groups = _groups(windows, asks, self.context_length if self.caches else 0)
        for alike, common in _families(list(groups)):
            stem = self._read(alike[0][0][0].ids[:common]) if common else None
            for group, shared in alike:
                prefix = self._read(group[0].ids[:shared], common, stem) if shared else None
                for batch in _by_length(group, shared, tokens):
                    yield batch, self._score_batch(batch, asks, shared, prefix)

    @cached_property
    def caches(self) -> bool:
        """Whether past keys and values can be kept; not so for recurrent states."""
        from byheart.core._decode import keeps_keys

        return keeps_keys(self)

    def _read(self, ids: list[int], common: int = 0, stem: Any = None) -> Any:
        """Keys and values of a beginning; those of its first `common` tokens are in `stem`."""
        import torch

        from byheart.core._decode import past_of

        if stem is not None and len(ids) == common:
            return stem
        return past_of(self, torch.tensor([ids[common:]], device=self.device), stem, common)

    def _score_batch(
        self, batch: Sequence[_Window], asks: Sequence[Score], shared: int, prefix: Any
    ) -> list[np.ndarray]:
        """`[4, T]` a window: log-probability, greedy flag, mean and std of log p.

        The first `shared` tokens of all are the same, and their keys and values are in `prefix`.
        """
        import torch

        moments = any(asks[w.ask].moments for w in batch)
        longest = max(len(w.ids) for w in batch) - shared
        ids_BL = torch.zeros(len(batch), longest, dtype=torch.long)
        rows: list[int] = []
        columns: list[int] = []
        for b, w in enumerate(batch):
            ids_BL[b, : len(w.ids) - shared] = torch.tensor(w.ids[shared:])
            rows += [b] * (len(w.ids) - w.first)
            columns += range(w.first - 1 - shared, len(w.ids) - 1 - shared)
        row_N, column_N = torch.tensor(rows), torch.tensor(columns)
        target_N = ids_BL[row_N, column_N + 1].to(self.device)
        numbers_4N = np.zeros((4, len(rows)))
        at = 0
        for logits_nV in self._logits(ids_BL.to(self.device), row_N, column_N, shared, prefix):
            n = len(logits_nV)
            numbers_4N[:, at : at + n] = _token_numbers(logits_nV, target_N[at : at + n], moments)
            at += n
        bad = np.flatnonzero(~np.isfinite(numbers_4N[0]))
        if bad.size:
            text = asks[batch[rows[int(bad[0])]].ask].text
            raise ModelError(
                f"{self.name} gave NaN or infinite logits on the text beginning {text[:60]!r}; "
                "try --dtype float32"
            )
        ends = np.cumsum([len(w.ids) - w.first for w in batch])[:-1]
        return np.split(numbers_4N, ends, axis=1)

    def _logits(
        self, ids_BL: Any, row_N: Any, column_N: Any, shared: int, prefix: Any
    ) -> Iterator[Any]:
        """Logits at the given positions, `[n, V]` at a time, in order."""
        past: dict[str, Any] = {"use_cache": False}
        if prefix is not None:
            from byheart.core._decode import behind

            past = behind(self, prefix, ids_BL, shared)
        if self._split is not None:
            decoder, head = self._split
            hidden_BLD = decoder(input_ids=ids_BL, **past).last_hidden_state
            hidden_ND = hidden_BLD[row_N, column_N]
            for begin in range(0, len(row_N), _HEAD_ROWS):
                yield head(hidden_ND[begin : begin + _HEAD_ROWS])
        else:
            logits_BLV = self.module(input_ids=ids_BL, **past).logits
            for begin in range(0, len(row_N), _HEAD_ROWS):
                part = slice(begin, begin + _HEAD_ROWS)
                yield logits_BLV[row_N[part], column_N[part]]

    @cached_property
    def _split(self) -> tuple[Any, Any] | None:
        """Decoder and output layer apart, if that gives the module's own logits; tried once."""
        import torch

        inner = (
            self.module.get_base_model() if hasattr(self.module, "get_base_model") else self.module
        )
        decoder = getattr(inner, "base_model", None)
        head = inner.get_output_embeddings() if hasattr(inner, "get_output_embeddings") else None
        if decoder is None or head is None or decoder is inner:
            return None
        ids = torch.tensor([[1, 2, 3]], device=self.device) % self.module.config.vocab_size
        with torch.inference_mode():
            whole = self.module(input_ids=ids, use_cache=False).logits
            parts = head(decoder(input_ids=ids, use_cache=False).last_hidden_state)
        same = whole.shape == parts.shape and torch.allclose(whole, parts, rtol=1e-5, atol=1e-6)
        return (decoder, head) if same else None

    # sampling ----------------------------------------------------------------------------------

    def sample(
        self, asks: Sequence[Sample], progress: Progress | None = None
    ) -> list[list[Completion]]:
        """Continuations, batched; those of one prompt share its prefill.

        An empty prompt starts from the tokenizer's opening token (or its end-of-text token).

        Raises:
            DataError: A prompt is longer than the model's context.
            ModelError: The logits are NaN.
        """
        from byheart.core._decode import decode

        return decode(self, asks, progress)


def _groups(
    windows: Sequence[_Window], asks: Sequence[Score], limit: int
) -> Iterator[tuple[list[_Window], int]]:
    """Windows with how many first tokens they share, where reading those once pays; then the rest.

    The token before the first scored one is never shared: its logits are needed in each text.
    """
    rest = [w for w in windows if not (w.whole and asks[w.ask].context and limit)]
    together: dict[Prompt, list[_Window]] = {}
    for w in windows:
        if w.whole and asks[w.ask].context and limit:
            together.setdefault(asks[w.ask].context, []).append(w)
    for group in together.values():
        shared = min(min(w.first for w in group) - 1, _common([w.ids for w in group]))
        if shared * (len(group) - 1) >= _SAVED:
            yield group, shared
        else:
            rest += group
    yield rest, 0


_Group = tuple[list[_Window], int]


def _families(groups: Sequence[_Group]) -> Iterator[tuple[list[_Group], int]]:
    """Groups whose shared tokens begin alike, with how many tokens those are; 0 where none pays.

    Neighbours in lexicographic order share most. A group joins the one before it as long as that
    saves more tokens in all than it costs by shortening what is common.
    """
    family: list[_Group] = []
    common = 0
    for group in sorted(groups, key=lambda g: g[0][0].ids[: g[1]] if g[1] else []):
        stem = group[0][0].ids[: group[1]] if group[1] else []
        if family and family[0][1] and stem:
            before = family[-1][0][0].ids[: family[-1][1]]
            closer = _common([before, stem])
            closer = min(common, closer) if len(family) > 1 else closer
            if closer >= _WORTH and len(family) * closer >= (len(family) - 1) * common:
                family.append(group)
                common = closer
                continue
        if family:
            yield _settled(family, common)
        family, common = [group], 0
    if family:
        yield _settled(family, common)


def _settled(family: list[_Group], common: int) -> tuple[list[_Group], int]:
    return family, common if (len(family) - 1) * common >= _SAVED else 0


def _common(texts: Sequence[list[int]]) -> int:
    """How many first tokens all texts have in common."""
    low, high = min(texts), max(texts)
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))


def _by_length(windows: Sequence[_Window], shared: int, tokens: int) -> Iterator[list[_Window]]:
    """Batches of windows, longest first, of at most `tokens` padded tokens behind the shared."""
    batch: list[_Window] = []
    for w in sorted(windows, key=lambda w: len(w.ids), reverse=True):
        if batch and (len(batch) + 1) * (len(batch[0].ids) - shared) > tokens:
            yield batch
            batch = []
        batch.append(w)
    if batch:
        yield batch


def _token_numbers(logits_NV: Any, target_N: Any, moments: bool) -> np.ndarray:
    """`[4, N]`: log p(target), whether target is the argmax, and mean and std of log p.

    In float32, or float64 where the logits are.
    """
    import torch

    logits_NV = logits_NV if logits_NV.dtype == torch.float64 else logits_NV.float()
    lse_N = torch.logsumexp(logits_NV, -1)
    chosen_N = logits_NV.gather(1, target_N[:, None])[:, 0]
    out = [chosen_N - lse_N, (logits_NV.argmax(-1) == target_N).to(lse_N.dtype)]
    if moments:
        logp_NV = logits_NV - lse_N[:, None]
        p_NV = logp_NV.exp()
        # a token of probability 0 adds nothing: 0 * -inf counts as 0
        mean_N = (p_NV * logp_NV).nan_to_num(0.0).sum(-1)
        second_N = (p_NV * logp_NV.square()).nan_to_num(0.0).sum(-1)
        out += [mean_N, (second_N - mean_N.square()).clamp_min(0).sqrt()]
    else:
        out += [torch.zeros_like(lse_N)] * 2
    return torch.stack(out).double().cpu().numpy()


def best_device() -> str:
    """``cuda`` if there is one, else ``mps``, else ``cpu``."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_local(
    spec: str, *, device: str | None = None, dtype: str | None = None, name: str | None = None
) -> LocalModel:
    """Load ``smollm2``, ``hf:NAME-or-folder`` or ``gguf:FILE``; see `byheart.load`."""
    from byheart.core._checkpoints import read

    module, tokenizer = read(spec, device=device or best_device(), dtype=dtype)
    return LocalModel(module, tokenizer, device=device, name=name or spec)
