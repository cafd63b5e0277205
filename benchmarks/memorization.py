"""Models a second of the memorisation estimator: a plain loop over subsets against many nets at once.

Run: python benchmarks/memorization.py [--runs 256] [--threads 2] [--json]

Digits of scikit-learn (1257 rows of 64 numbers), subsets of 70 %, AdamW, 30 passes in steps of about
128 own rows. The loops train one `torch.nn.Sequential` after another, as one writes it: with a
DataLoader, and with rows taken by index. scikit-learn's MLPClassifier is the peer. Each loop is timed on
a few models and the batched learner on all; test accuracies are printed, since equal work must learn
equally.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument(
        "--runs", type=int, default=256, help="models trained at once, in groups of 32"
    )
    parser.add_argument("--few", type=int, default=8, help="models of each loop")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    import torch
    from sklearn.datasets import load_digits

    torch.set_num_threads(args.threads)
    digits = load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target
    out = []
    for units in (32, 64, 128):
        took, right = {}, {}
        for name, train in (("loop, DataLoader", loader), ("loop, rows by index", indexed), ("scikit-learn", peer)):  # fmt: skip
            train(x[:200], y[:200], x[:9], units, 0)  # imports and first calls are not counted
            began, hits = time.perf_counter(), []
            for seed in range(args.few):
                hits.append(np.mean(train(x[:1257], y[:1257], x[1257:], units, seed) == y[1257:]))
            took[name] = (time.perf_counter() - began) / args.few
            right[name] = float(np.mean(hits))
        took["byheart"], right["byheart"] = ours(x, y, units, args.runs)
        out.append({"units": units, "seconds_a_model": took, "accuracy": right})
    if args.json:
        print(json.dumps(out, indent=2))
        return
    print(f"{args.threads} thread(s); models a second, and test accuracy\n")
    print("| net | " + " | ".join(took) + " | of the DataLoader loop | of the index loop |")
    print("| --- | " + "---: | " * (len(took) + 2))
    for one in out:
        s, a = one["seconds_a_model"], one["accuracy"]
        cells = [f"{1 / s[k]:.1f} ({a[k]:.3f})" for k in s]
        ratios = [
            f"{s[k] / s['byheart']:.1f}x" for k in ("loop, DataLoader", "loop, rows by index")
        ]
        print(f"| 64-{one['units']}-10 | {' | '.join(cells + ratios)} |")


def subset(n: int, seed: int) -> np.ndarray:
    """Rows of a run."""
    return np.random.default_rng(seed).permutation(n)[: int(0.7 * n)]


def loader(x, y, x_test, units, seed):  # type: ignore[no-untyped-def]
    """One net, as one writes it."""
    import torch

    rows = subset(len(y), seed)
    data = torch.utils.data.TensorDataset(torch.tensor(x[rows]), torch.tensor(y[rows]))
    batches = torch.utils.data.DataLoader(data, batch_size=128, shuffle=True)
    return _train(lambda: batches, x_test, units, seed)


def indexed(x, y, x_test, units, seed):  # type: ignore[no-untyped-def]
    """The same without a DataLoader."""
    import torch

    rows = subset(len(y), seed)
    xs, ys = torch.tensor(x[rows]), torch.tensor(y[rows])

    def batches():  # type: ignore[no-untyped-def]
        order = torch.randperm(len(ys))
        for i in range(0, len(ys), 128):
            yield xs[order[i : i + 128]], ys[order[i : i + 128]]

    return _train(batches, x_test, units, seed)


def _train(batches, x_test, units, seed):  # type: ignore[no-untyped-def]
    import torch

    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(64, units), torch.nn.ReLU(), torch.nn.Linear(units, 10)
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(30):
        for xs, ys in batches():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(xs), ys).backward()
            optimizer.step()
    with torch.no_grad():
        return net(torch.tensor(x_test)).argmax(1).numpy()


def peer(x, y, x_test, units, seed):  # type: ignore[no-untyped-def]
    """scikit-learn's net, Adam, the same passes."""
    import warnings

    from sklearn.neural_network import MLPClassifier

    rows = subset(len(y), seed)
    net = MLPClassifier((units,), batch_size=128, learning_rate_init=1e-2, max_iter=30, random_state=seed, n_iter_no_change=99)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return net.fit(x[rows], y[rows]).predict(x_test)


def ours(x: np.ndarray, y: np.ndarray, units: int, runs: int) -> tuple[float, float]:
    """Seconds a model and accuracy, the estimator's own call, counting and all."""
    from byheart.audits.long_tail import BatchedMLP, MemorizationEstimator

    learner = BatchedMLP((units,), lr=1e-2, epochs=30, batch=183)
    MemorizationEstimator(learner, x[:1257], y[:1257], x[1257:], y[1257:], runs=32, seed=1).run()
    began = time.perf_counter()
    found = MemorizationEstimator(learner, x[:1257], y[:1257], x[1257:], y[1257:], runs=runs).run()
    return (time.perf_counter() - began) / runs, found.accuracy


if __name__ == "__main__":
    main()
