"""Memorisation by subsampled training: exact values, known learners, files, clusters, bad input."""

from __future__ import annotations

import importlib.util
import itertools
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from byheart.audits import long_tail as lt
from byheart.core.errors import DataError, ModelError, UsageError

RNG = np.random.default_rng(5)
X = np.concatenate([RNG.normal(0, 1, (20, 3)), RNG.normal(1.2, 1, (20, 3))])
Y = np.repeat([0, 1], 20)
XT, YT = RNG.normal(0.6, 1.2, (9, 3)), RNG.integers(0, 2, 9)


def brute(x, y, xt, yt, m):
    """mem_m and infl_m of 1-NN by going through every subset."""
    n = len(y)
    points, labels = np.concatenate([x, xt]), np.concatenate([y, yt])
    hits = {True: np.zeros((n, len(points))), False: np.zeros((n, len(points)))}
    seen = {True: np.zeros(n), False: np.zeros(n)}
    for subset in itertools.combinations(range(n), m):
        s = np.array(subset)
        gap = ((points[:, None] - x[s]) ** 2).sum(-1)
        right = y[s][gap.argmin(1)] == labels
        for i in range(n):
            hits[i in subset][i] += right
            seen[i in subset][i] += 1
    infl = hits[True] / seen[True][:, None] - hits[False] / seen[False][:, None]
    return np.diagonal(infl[:, :n]), infl[:, n:]


@pytest.mark.parametrize("m", [1, 2, 4, 7])
def test_exact_nearest_is_what_all_subsets_give(m):
    x, y = X[14:23], Y[14:23]
    mem, infl = lt.exact_nearest(x, y, XT, YT, m=m)
    expected = brute(x, y, XT, YT, m)
    np.testing.assert_allclose(mem, expected[0], atol=1e-12)
    np.testing.assert_allclose(infl, expected[1], atol=1e-12)


def test_runs_of_nearest_neighbour_estimate_the_exact_values():
    digits = load_digits()
    x, y = digits.data, digits.target
    est = lt.MemorizationEstimator(
        lt.NearestNeighbour(), x[:1257], y[:1257], x[1257:], y[1257:], runs=600
    ).run()
    mem, infl = lt.exact_nearest(x[:1257], y[:1257], x[1257:], y[1257:], m=879)
    assert np.sqrt(np.mean((est.mem - mem) ** 2)) < 0.01
    assert np.sqrt(np.mean((est.infl - infl) ** 2)) < 0.01
    assert (mem >= 0.25).sum() == pytest.approx(20, abs=1)
    sure = np.abs(est.mem - mem) <= 4 * est.mem_se + 1e-9
    assert sure.mean() > 0.995
    assert est.bound < 0.1
    # scikit-learn's own nearest neighbour, on the same subsets, says the same
    peer = lt.MemorizationEstimator(
        KNeighborsClassifier(1, algorithm="brute"), x[:200], y[:200], runs=12
    ).run()
    ours = lt.MemorizationEstimator(lt.NearestNeighbour(), x[:200], y[:200], runs=12).run()
    assert (peer.correct_train == ours.correct_train).mean() > 0.999


def lookup(x, y, seed):
    known = {tuple(a): b for a, b in zip(x, y, strict=True)}
    rng = np.random.default_rng(seed)
    return lambda points: np.array([known.get(tuple(p), rng.integers(4)) for p in points])


def test_learners_whose_memorisation_is_known():
    x, y = np.arange(60.0)[:, None], np.tile([0, 1, 2, 3], 15)
    constant = lt.MemorizationEstimator(DummyClassifier(strategy="constant", constant=1), x, y, runs=30).run()  # fmt: skip
    np.testing.assert_array_equal(constant.mem, 0)
    table = lt.MemorizationEstimator(lookup, x, y, runs=400).run()
    assert table.mem.mean() == pytest.approx(3 / 4, abs=0.02)
    assert table.mem.mean() == pytest.approx(table.gap, abs=0.01)
    # three copies of each point, one wrongly labelled: the majority needs none of the right ones
    copies, labels = np.repeat(np.arange(30.0), 3)[:, None], np.repeat(np.arange(30) % 2, 3)
    labels[::3] = 1 - labels[::3]
    votes = lt.MemorizationEstimator(
        KNeighborsClassifier(3), copies, labels, runs=200, subset=0.9
    ).run()
    assert np.nanmean(votes.mem[::3]) < np.nanmean(votes.mem[1::3])


def test_mean_memorisation_is_the_generalisation_gap_by_leaving_one_out():
    x, y = X[:30], Y[5:35]
    mem = []
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        inside = KNeighborsClassifier(1).fit(x, y).predict(x[[i]])[0] == y[i]
        outside = KNeighborsClassifier(1).fit(x[rest], y[rest]).predict(x[[i]])[0] == y[i]
        mem.append(float(inside) - float(outside))
    exact, _ = lt.exact_nearest(x, y, m=len(y) - 1)
    np.testing.assert_allclose(mem, exact, atol=1e-12)
    loo_error = np.mean([1 - (inside - m) for inside, m in zip(np.ones(len(y)), mem, strict=True)])
    assert np.mean(mem) == pytest.approx(loo_error)  # training error is 0


def test_influence_is_two_matrix_products_and_empty_groups_are_nan():
    mask = np.array([[1, 1, 0], [1, 0, 1], [1, 0, 0], [1, 1, 1]], bool)
    right, test = RNG.random((4, 3)) < 0.5, RNG.random((4, 5)) < 0.5
    runs = lt.Runs(mask, right, test)
    for i, j in itertools.product((1, 2), range(5)):
        expected = test[mask[:, i], j].mean() - test[~mask[:, i], j].mean()
        assert runs.infl[i, j] == pytest.approx(expected)
    assert np.isnan(runs.mem[0])  # every run had it
    assert np.isnan(runs.infl[0]).all()
    assert np.isnan(runs.mem_se[0])
    np.testing.assert_array_equal(runs.influence(slice(1, 3)), runs.infl[:, 1:3])
    assert lt.pairs_of_runs(runs, mem=-1, infl=-1, block=2).tests == 5


def test_the_authors_bound():
    assert lt.error_bound(2000, 0.7) == pytest.approx(0.0488, abs=1e-4)
    assert lt.error_bound(2000, 0.3) == pytest.approx(lt.error_bound(2000, 0.7))


def test_batched_nets_are_the_nets_that_torch_trains():
    torch = pytest.importorskip("torch")
    x, y = X.astype(np.float32), Y
    masks = np.random.default_rng(1).random((3, 40)) < 0.7
    for hidden, optimizer in (((6,), "adamw"), ((5, 4), "sgd")):
        made = lt.BatchedMLP(hidden, lr=0.02, epochs=6, batch=16, optimizer=optimizer)
        nets = made.fit(x, y, masks, seeds=[3, 4, 5], order=9)
        for r in range(3):
            start = lt.MLPs(made._initial(3, 2, [3, 4, 5]), np.arange(2)).module(r)
            opt = (
                torch.optim.AdamW(start.parameters(), lr=0.02, weight_decay=0.01)
                if optimizer == "adamw"
                else torch.optim.SGD(start.parameters(), lr=0.02, weight_decay=0.01, momentum=0.9)
            )
            shuffle = torch.Generator().manual_seed(9)
            for _ in range(6):
                rows = torch.randperm(40, generator=shuffle)
                for begin in range(0, 40, 16):
                    at = rows[begin : begin + 16].numpy()
                    at = at[masks[r][at]]
                    opt.zero_grad()
                    torch.nn.functional.cross_entropy(
                        start(torch.tensor(x[at])), torch.tensor(y[at])
                    ).backward()
                    opt.step()
            expected = start(torch.tensor(x)).detach().numpy()
            np.testing.assert_allclose(nets.logits(x)[r], expected, atol=2e-4)
            np.testing.assert_allclose(
                nets.module(r)(torch.tensor(x)).detach(), expected, atol=2e-4
            )


def test_a_torch_training_function_is_read_in_eval_mode():
    torch = pytest.importorskip("torch")

    def train(x, y, seed):
        net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Dropout(0.9))
        with torch.no_grad():
            net[0].weight.copy_(torch.tensor([[-1.0, -1, -1], [1, 1, 1]]))
            net[0].bias.zero_()
        return net.train()

    runs = lt.MemorizationEstimator(train, X, Y, runs=40).run()
    assert (runs.correct_train == ((X.sum(1) > 0) == Y)).all()
    np.testing.assert_array_equal(runs.mem, 0)


def test_flipped_labels_are_the_memorised_ones():
    pytest.importorskip("torch")
    digits = load_digits()
    x, y = digits.data[:400] / 16, digits.target[:400].copy()
    flipped = np.zeros(400, bool)
    flipped[RNG.choice(400, 20, replace=False)] = True
    y[flipped] = (y[flipped] + 3) % 10
    runs = lt.MemorizationEstimator(lt.BatchedMLP((64,), epochs=90, batch=128), x, y, runs=64).run()
    assert runs.mem[flipped].mean() - runs.mem[~flipped].mean() > 0.4
    assert runs.half_split() > 0.8
    assert (runs.likely()[flipped] == digits.target[:400][flipped]).mean() > 0.7


def test_runs_go_on_from_a_file_and_are_the_same(tmp_path):
    calls = []

    def train(x, y, seed):
        calls.append(seed)
        return KNeighborsClassifier(1).fit(x, y)

    def est(runs):
        return lt.MemorizationEstimator(train, X, Y, XT, YT, runs=runs)

    file = tmp_path / "runs.npz"
    est(10).run(file)
    more = est(25).run(file)
    assert len(calls) == 25
    whole = est(25).run()
    for name in ("mask", "correct_train", "correct_test", "votes"):
        np.testing.assert_array_equal(getattr(more, name), getattr(whole, name))
    read = lt.load_runs(file)
    np.testing.assert_array_equal(read.infl, whole.infl)
    np.load(file, allow_pickle=False)["y"]
    with pytest.raises(UsageError, match="at least 25"):
        est(5).run(file)
    with pytest.raises(DataError, match="other data"):
        lt.MemorizationEstimator(train, X, 1 - Y, XT, YT, runs=30).run(file)


def test_what_was_measured_is_kept_when_a_training_fails(tmp_path):
    file, stop, n = tmp_path / "runs.npz", [True], itertools.count()

    def train(x, y, seed):
        if stop[0] and next(n) == 6:
            raise RuntimeError("out of memory")
        return KNeighborsClassifier(1).fit(x, y)

    est = lt.MemorizationEstimator(train, X, Y, runs=12)
    with pytest.raises(ModelError, match=r"run 6: .*out of memory"):
        est.run(file)
    assert len(lt.load_runs(file)) >= 6
    stop[0] = False
    assert len(est.run(file)) == 12


def test_damaged_and_pickled_files_are_refused(tmp_path):
    file = tmp_path / "runs.npz"
    lt.MemorizationEstimator(KNeighborsClassifier(1), X, Y, runs=4).run(file)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"runs\.npz"):
        lt.load_runs(file)
    np.savez(tmp_path / "evil.npz", mask=np.array([{"a": 1}], object), correct_train=np.eye(2))
    with pytest.raises(DataError, match=r"evil\.npz"):
        lt.load_runs(tmp_path / "evil.npz")
    (tmp_path / "raw.npz").write_bytes(pickle.dumps([1]))
    with pytest.raises(DataError, match=r"raw\.npz"):
        lt.load_runs(tmp_path / "raw.npz")
    with pytest.raises(DataError, match="no such file"):
        lt.load_runs(tmp_path / "none.npz")


def test_the_authors_layout_comes_in_and_goes_out(tmp_path):
    runs = lt.MemorizationEstimator(KNeighborsClassifier(1), X, Y, XT, YT, runs=12).run()
    lt.save_aux(runs, tmp_path / "aux")
    # the released files name examples in the order of evaluation
    one = tmp_path / "aux" / "3" / "aux_arrays.npz"
    with np.load(one) as held:
        arrays = {k: held[k] for k in held.files}
    for part in ("train", "removed", "test"):
        order = RNG.permutation(len(arrays[f"index_{part}"]))
        for kind in ("index", "correctness"):
            arrays[f"{kind}_{part}"] = arrays[f"{kind}_{part}"][order]
    np.savez(one, **arrays)
    back = lt.load_runs(tmp_path / "aux")
    for name in ("mask", "correct_train", "correct_test", "y", "y_test"):
        np.testing.assert_array_equal(getattr(back, name), getattr(runs, name))
    np.savez(one, **{**arrays, "subsample_idx": arrays["index_removed"]})
    with pytest.raises(DataError, match="different examples"):
        lt.load_runs(tmp_path / "aux")
    np.savez(one, **{k: v for k, v in arrays.items() if k != "index_removed"})
    with pytest.raises(DataError, match="lacks index_removed"):
        lt.load_runs(tmp_path / "aux")


def test_the_authors_subsets_are_drawn_as_in_their_example():
    est = lt.MemorizationEstimator(KNeighborsClassifier(1), X, Y, runs=3, draw="authors")
    chosen = np.random.RandomState(2).choice(40, size=int(40 * 0.7), replace=False)
    np.testing.assert_array_equal(np.flatnonzero(est.mask(2)), np.sort(chosen))


def test_pairs_are_of_one_class_and_read_back(tmp_path):
    infl = np.array([[0.5, 0.2], [0.16, 0.15], [0.9, np.nan]])
    found = lt.high_influence_pairs([0.3, 0.25, 0.2], infl, [0, 1, 0], [0, 1])
    assert list(found) == [(0, 0, 0.5, 0.3), (1, 1, 0.15, 0.25)]
    assert (found.tests, found.single) == (2, 2)
    found.save(tmp_path / "pairs.npz")
    assert list(lt.read_pairs(tmp_path / "pairs.npz")) == list(found)
    # the published class-wise layout
    np.savez(
        tmp_path / "matrix.npz", tr_mem=np.array([0.9, 0.1, 0.8]),
        infl_matrix_class0=np.array([[0.2], [0.4]]), tr_classidx_0=np.array([2, 1]),
        tt_classidx_0=np.array([7]),
    )  # fmt: skip
    assert list(lt.read_pairs(tmp_path / "matrix.npz")) == [(2, 7, 0.2, 0.8)]
    with pytest.raises(UsageError, match="transpose"):
        lt.high_influence_pairs([0.3, 0.25, 0.2], infl.T)


def test_processes_give_the_same(tmp_path):
    est = lt.MemorizationEstimator(LogisticRegression(), X, Y, XT, YT, runs=8)
    np.testing.assert_array_equal(est.run(jobs=2).infl, est.run().infl)


def _on_backend(name):
    import joblib

    est = lt.MemorizationEstimator(LogisticRegression(), X, Y, XT, YT, runs=8)
    with joblib.parallel_config(backend=name):
        return est.run().infl, est.run.__self__


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed (dev group)")  # fmt: skip
def test_the_same_call_runs_on_a_local_ray():
    import ray
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    try:
        register_ray()
        found, est = _on_backend("ray")
    finally:
        ray.shutdown()
    np.testing.assert_array_equal(found, est.run().infl)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="dask.distributed is not installed (dev group)")  # fmt: skip
def test_the_same_call_runs_on_a_local_dask():
    from distributed import Client

    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None):
        found, est = _on_backend("dask")
    np.testing.assert_array_equal(found, est.run().infl)


def test_memorised_examples_are_worth_more_than_random_ones():
    digits = load_digits()
    x, y = digits.data[:300], digits.target[:300]
    mem, infl = lt.exact_nearest(x, y, digits.data[1257:], digits.target[1257:], m=210)
    pairs = lt.high_influence_pairs(mem, infl, y, digits.target[1257:])
    (found,) = lt.marginal_utility(
        lt.NearestNeighbour(), x, y, digits.data[1257:], digits.target[1257:], mem,
        tests=pairs.test, repeats=4,
    )  # fmt: skip
    assert found.removed == (mem >= 0.25).sum()
    assert found.worth.value > 0.05
    assert found.full.value >= found.without.value


BAD = [
    (lambda: lt.MemorizationEstimator(KNeighborsClassifier(1), X, np.zeros(40)), "one class"),
    (lambda: lt.MemorizationEstimator(KNeighborsClassifier(1), X, Y, subset=1.0), "subset"),
    (lambda: lt.MemorizationEstimator(KNeighborsClassifier(1), X, Y[:-1]), "as many"),
    (lambda: lt.MemorizationEstimator(KNeighborsClassifier(1), np.where(X > 2, np.nan, X), Y), "nan"),
    (lambda: lt.MemorizationEstimator(KNeighborsClassifier(1), X, Y, XT), "together"),
    (lambda: lt.MemorizationEstimator(KNeighborsClassifier, X, Y), "make an instance"),
    (lambda: lt.MemorizationEstimator("knn", X, Y), "train_many"),
    (lambda: lt.MemorizationEstimator(KNeighborsClassifier(1), X, np.append(Y[:-1], 7), runs=60).run(), "class 7 .*without an example in"),
    (lambda: lt.MemorizationEstimator(lambda x, y, seed: lambda p: np.full(len(p), np.nan), X, Y).run(), "not finite"),
    (lambda: lt.MemorizationEstimator(lambda x, y, seed: lambda p: p[:3, 0], X, Y).run(), "shape"),
    (lambda: lt.MemorizationEstimator(lt.BatchedMLP((8,), lr=1e30, epochs=9), X, Y, runs=4).run(), "no numbers"),
    (lambda: lt.BatchedMLP(optimizer="adam"), "optimizer"),
    (lambda: lt.Runs(np.eye(3), np.eye(2), np.zeros((3, 0))), "same runs"),
    (lambda: lt.Runs(np.full((2, 2), 0.5), np.eye(2), np.eye(2)), "0 and 1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "said"), BAD, ids=[s for _, s in BAD])
def test_bad_input_is_refused(call, said):
    with pytest.raises((UsageError, DataError, ModelError), match=said):
        call()


def test_rare_classes_may_be_missing_if_one_says_so():
    y = np.append(Y[:-1], 7)
    runs = lt.MemorizationEstimator(
        KNeighborsClassifier(1), X, y, runs=60, missing_classes=True
    ).run()
    assert runs.mem[-1] == 1  # nothing else has its label
