"""What the inner layers know: features of every block, and a linear probe on each.

The probe asks whether a block tells right from wrong statements about a puzzle ("... Zoey is
knave."). The same features feed the memorised-or-reasoned classifier of `classify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from byheart.audits._kk.draws import Draws
from byheart.audits._kk.sampler import Puzzle
from byheart.audits._kk.wording import render
from byheart.core.errors import CapabilityError, UsageError, need

__all__ = ["LayerScores", "linear", "mlp_features", "probe_layers", "probe_texts"]


@dataclass(frozen=True, slots=True)
class LayerScores:
    """One linear classifier a block.

    Attributes:
        train: Accuracy on what it was fitted to, one a block.
        test: Accuracy on what was held out.
        train_auc: AUC, likewise.
        test_auc: AUC on what was held out.
        n_train: Texts it was fitted to.
        n_test: Texts held out.
    """

    train: tuple[float, ...]
    test: tuple[float, ...]
    train_auc: tuple[float, ...]
    test_auc: tuple[float, ...]
    n_train: int
    n_test: int

    @property
    def best(self) -> int:
        """The block with the best held-out accuracy, from 0; the first of equals."""
        return int(np.argmax(self.test))


def mlp_features(
    model: Any, tokenizer: Any, texts: Sequence[str], *, pool: str = "mean", batch: int = 8
) -> np.ndarray:
    """The MLP's output of every block, over the tokens of each text.

    Args:
        model: A transformers decoder whose blocks have an ``mlp`` (Llama, Qwen, GPT-2, ...; a LoRA
            model too).
        tokenizer: Its tokenizer.
        texts: N texts.
        pool: ``"mean"`` over the tokens, as the project page says, or ``"sum"``, as the authors'
            code does. The sum grows with the length of the text.
        batch: Texts a forward pass.

    Returns:
        ``[N, L, D]`` float32, L blocks of width D. Sums are taken in float32, so that half
        precision does not overflow.

    Raises:
        CapabilityError: If the model's blocks have no ``mlp``.
        UsageError: If there is no text or no such pooling.
    """
    import torch

    if pool not in ("mean", "sum"):
        raise UsageError(f"pool is 'mean' or 'sum', got {pool!r}")
    if not texts:
        raise UsageError("no text is given")
    blocks = _mlps(model)
    device = next(model.parameters()).device
    kept: dict[int, Any] = {}
    mask_BT: Any = None

    def keep(i: int) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            out_BTD = output[0] if isinstance(output, tuple) else output
            total = (out_BTD.float() * mask_BT[..., None]).sum(1)
            kept[i] = total / mask_BT.sum(1, keepdim=True) if pool == "mean" else total

        return hook

    hooks = [block.register_forward_hook(keep(i)) for i, block in enumerate(blocks)]
    training = model.training
    model.eval()
    ids = [list(tokenizer(t)["input_ids"]) or [0] for t in texts]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out: list[Any] = [None] * len(ids)
    try:
        with torch.no_grad():
            for start in range(0, len(order), batch):
                rows = order[start : start + batch]
                longest = max(len(ids[i]) for i in rows)
                tokens = torch.zeros(len(rows), longest, dtype=torch.long)
                mask = torch.zeros(len(rows), longest)
                for r, i in enumerate(rows):
                    tokens[r, : len(ids[i])] = torch.tensor(ids[i])
                    mask[r, : len(ids[i])] = 1
                mask_BT = mask.to(device)
                model(input_ids=tokens.to(device), attention_mask=mask_BT.long(), use_cache=False)
                both = torch.stack([kept[i] for i in range(len(blocks))], 1).cpu().numpy()
                for r, i in enumerate(rows):
                    out[i] = both[r]
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return np.stack(out)


def _mlps(model: Any) -> list[Any]:
    import torch

    config = model.config
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    count = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layer", None)
    for part in model.modules():
        if isinstance(part, torch.nn.ModuleList) and len(part) == count:
            found = [getattr(block, "mlp", None) for block in part]
            if all(m is not None for m in found):
                return found
    raise CapabilityError(
        f"{type(model).__name__} has no blocks with an 'mlp'; probes read the MLP's output"
    )


def probe_texts(
    puzzles: Sequence[Puzzle], *, per_puzzle: int = 2, seed: int = 42
) -> tuple[list[str], list[int], list[int]]:
    """Puzzles followed by a right or a wrong statement about one person.

    Args:
        puzzles: In their published wording.
        per_puzzle: People asked about, of each puzzle (2).
        seed: Of which people.

    Returns:
        Texts, labels (1 right, 0 wrong), and the puzzle's place of each.
    """
    rng = Draws(seed)
    texts: list[str] = []
    right: list[int] = []
    group: list[int] = []
    for at, puzzle in enumerate(puzzles):
        worded = render(puzzle)
        nouns = [role.split()[1] for role in worded.roles]
        for person in sorted(rng.sample(range(puzzle.people), min(per_puzzle, puzzle.people))):
            for label in (1, 0):
                noun = nouns[0 if worded.solution[person] == bool(label) else 1]
                texts.append(f"{worded.quiz} {worded.names[person]} is {noun}.")
                right.append(label)
                group.append(at)
    return texts, right, group


def probe_layers(
    model: Any,
    tokenizer: Any,
    puzzles: Sequence[Puzzle],
    *,
    pool: str = "mean",
    grouped: bool = True,
    seed: int = 42,
    batch: int = 8,
) -> LayerScores:
    """Can a linear probe tell right from wrong roles, block by block?

    Args:
        model: As for `mlp_features`; so are `tokenizer`, `pool` and `batch`.
        tokenizer: Its tokenizer.
        puzzles: At least 10.
        pool: ``"mean"`` or ``"sum"``.
        grouped: Keep all texts of a puzzle on one side of the 80/20 split. False splits texts, as
            the authors do: then a probe has met the puzzle of most held-out texts.
        seed: Of people and split (42).
        batch: Texts a forward pass.

    Raises:
        UsageError: If there are too few puzzles.
    """
    if len(puzzles) < 10:
        raise UsageError(f"a probe needs at least 10 puzzles, got {len(puzzles)}")
    texts, right, group = probe_texts(puzzles, seed=seed)
    features = mlp_features(model, tokenizer, texts, pool=pool, batch=batch)
    return linear(features, right, groups=group if grouped else None, seed=seed)


def linear(
    features: np.ndarray,
    labels: Sequence[int],
    *,
    groups: Sequence[int] | None = None,
    seed: int = 42,
) -> LayerScores:
    """Logistic regression on the features of every block, 80/20 split.

    Features are standardised on the training part, which the authors leave out: their scale differs
    a thousandfold between blocks, and the regression does not converge on some.

    Args:
        features: ``[N, L, D]``.
        labels: N labels, 0 or 1.
        groups: Kept on one side of the split each; None splits by item, stratified.
        seed: Of the split.

    Raises:
        UsageError: If a label has fewer than 5 items.
    """
    need("sklearn", "audit")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupShuffleSplit, train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    y = np.asarray(labels)
    least = min(int((y == v).sum()) for v in (0, 1))
    if least < 5 or len(y) != len(features):
        raise UsageError(
            f"{len(features)} items with {len(y)} labels, the rarer label {least} times; at least 5 "
            "of each are needed"
        )
    if groups is None:
        train, test = train_test_split(
            np.arange(len(y)), test_size=0.2, random_state=seed, stratify=y
        )
    else:
        split = GroupShuffleSplit(1, test_size=0.2, random_state=seed)
        train, test = next(split.split(y, y, groups))
    scores: list[tuple[float, ...]] = []
    for layer in range(features.shape[1]):
        x = features[:, layer]
        fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        fitted.fit(x[train], y[train])
        sure = fitted.decision_function(x)
        scores.append(
            (
                float(((sure[train] > 0) == y[train]).mean()),
                float(((sure[test] > 0) == y[test]).mean()),
                float(roc_auc_score(y[train], sure[train])),
                float(roc_auc_score(y[test], sure[test])) if len(set(y[test])) > 1 else 0.5,
            )
        )
    columns = list(zip(*scores, strict=True))
    return LayerScores(columns[0], columns[1], columns[2], columns[3], len(train), len(test))
