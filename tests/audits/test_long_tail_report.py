"""A data set audited from Python and the command line, with its pictures; files in and out."""

from __future__ import annotations

import base64
import json
import re
import zlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

from byheart.audits import long_tail as lt
from byheart.audits._longtail.data import picture
from byheart.core.errors import DataError, UnknownName, UsageError
from byheart.core.report import Report

DIGITS = load_digits()


@pytest.fixture(scope="module")
def planted():
    """300 digits, 15 with a wrong label."""
    x, y = DIGITS.images[:300] / 16, DIGITS.target[:300].copy()
    wrong = np.random.default_rng(0).choice(300, 15, replace=False)
    y[wrong] = (y[wrong] + 1) % 10
    return lt.Labelled("planted", x, y, DIGITS.images[300:500] / 16, DIGITS.target[300:500]), wrong


def test_wrong_labels_are_found_and_shown(planted, tmp_path):
    data, wrong = planted
    report = lt.audit_data(data, learner="1-nn", runs=120, out=tmp_path)
    assert [f.verdict() for f in report.findings] == ["memorised"] * 3
    labels, chosen, influence = report.findings
    assert labels.seen.value == pytest.approx(1)
    assert abs(labels.control_gap.value) < 0.01
    first = {int(e.id.split()[1]) for e in labels.evidence if e.arm == "seen"}
    assert len(first & set(wrong.tolist())) >= 13
    assert chosen.gap.value > 0.25
    assert influence.n >= 5
    page = (tmp_path / "report.html").read_text()
    assert page.count('<img class="picture"') == sum(len(f.evidence) for f in report.findings)
    assert Report.load(tmp_path) == report
    assert len(lt.read_pairs(tmp_path / "pairs.npz")) == influence.details["pairs"]
    # a second call goes on from the runs that were kept
    assert lt.audit_data(data, learner="1-nn", runs=120, out=tmp_path).findings == report.findings


def test_a_learner_without_memory_is_not_accused():
    from sklearn.dummy import DummyClassifier

    data = lt.Labelled("digits", DIGITS.data[:200], DIGITS.target[:200], DIGITS.data[200:300], DIGITS.target[200:300])  # fmt: skip
    report = lt.audit_data(data, learner=DummyClassifier(strategy="constant", constant=3), runs=60)
    assert "memorised" not in [f.verdict() for f in report.findings]
    # right or wrong by a coin, whatever was trained on
    coin = lambda x, y, seed: lambda p: np.random.default_rng(seed).integers(10, size=len(p))  # noqa: E731
    verdicts = [lt.audit_data(data, learner=coin, runs=40, seed=s).findings for s in range(6)]
    assert sum(f.verdict() == "memorised" for found in verdicts for f in found) <= 1


def test_pictures_are_pngs_that_a_decoder_reads():
    image = np.arange(12).reshape(3, 4) / 11
    raw = base64.b64decode(picture(image, image).split(",")[1])
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    at = raw.index(b"IDAT") + 4
    rows = zlib.decompressobj().decompress(raw[at:])
    assert len(rows) == 3 * (1 + 3 * 9)
    assert rows[1] == 255  # 0 is white


def test_only_pictures_within_the_page_are_shown(planted):
    from dataclasses import replace

    report = lt.audit_data(planted[0], learner="1-nn", runs=20)
    for bad in ("https://example.org/a.png", 'data:image/png;base64,AA"onerror="x', "data:image/svg+xml,<svg/>"):  # fmt: skip
        first = report.findings[0]
        spoiled = replace(first, evidence=(replace(first.evidence[0], image=bad),))
        assert not re.search(r"<img", Report.of("m", [spoiled]).to_html())


def test_files_are_read(tmp_path):
    x, y = DIGITS.images[:60], DIGITS.target[:60]
    np.savez(tmp_path / "a.npz", x_train=(x * 15).astype(np.uint8), y_train=y[:, None], x_test=x[:5], y_test=y[:5])  # fmt: skip
    held = lt.read_data(tmp_path / "a.npz")
    assert held.pictures
    assert held.x.max() <= 1
    assert held.y.shape == (60,)
    lines = ["a,kind,b", *[f"{v:.3f},{'cat' if v > 0 else 'dog'},{v * 2:.3f}" for v in np.linspace(-1, 1, 30)]]  # fmt: skip
    (tmp_path / "b.csv").write_text("\n".join(lines))
    table = lt.read_data(tmp_path / "b.csv", label="kind")
    assert len(table.y) + len(table.y_test) == 30
    assert set(table.y) == {"cat", "dog"}
    (tmp_path / "c.csv").write_text("a,kind\n1,x\noops,y\n")
    with pytest.raises(DataError, match="line 3"):
        lt.read_data(tmp_path / "c.csv")
    with pytest.raises(UnknownName, match="column"):
        lt.read_data(tmp_path / "b.csv", label="colour")
    with pytest.raises(UnknownName, match="digits"):
        lt.read_data("digit")
    np.savez(tmp_path / "d.npz", data=x)
    with pytest.raises(DataError, match="needs x and y"):
        lt.read_data(tmp_path / "d.npz")


def test_data_sets_of_datasets_are_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    held = datasets.Dataset.from_dict({"a": np.linspace(0, 1, 20).tolist(), "label": [0, 1] * 10})
    held.save_to_disk(str(tmp_path / "d"))
    for what in (held, tmp_path / "d"):
        assert len(lt.read_data(what).y) == 14


def test_from_the_command_line(run_cli, tmp_path):
    code, text, err = run_cli("audit", "memorization", "digits", "--learner", "1-nn", "--runs", "40", "--out", str(tmp_path / "o"), "--json")  # fmt: skip
    assert code == 0, err
    assert json.loads(text)["findings"][0]["name"] == "memorization/labels"
    # the other order, and runs made elsewhere, in the authors' layout
    lt.save_aux(lt.load_runs(tmp_path / "o" / "runs.npz"), tmp_path / "aux")
    code, again, err = run_cli("audit", "digits", "memorization", "--import", str(tmp_path / "aux"), "--out", str(tmp_path / "p"), "--json")  # fmt: skip
    assert code == 0, err
    pick = lambda t: [f["gap"]["value"] for f in json.loads(t)["findings"]]  # noqa: E731
    assert pick(again) == pick(text)
    (tmp_path / "counts.json").write_text(
        json.dumps({"cat": 40, "axolotl": 1, "newt": 1, "owl": 2})
    )
    code, text, err = run_cli("audit", "longtail", "--counts", str(tmp_path / "counts.json"), "--classes", "10", "--epsilon", "1.0", "--json")  # fmt: skip
    assert code == 0, err
    told = json.loads(text)["all"]
    assert told["cost"] == pytest.approx((1 - np.e / 10) * 2 / 44)
    (tmp_path / "groups.json").write_text(json.dumps({"a": [1] * 9 + [2] * 4 + [8] * 20, "b": [1, 2, 2, 30]}))  # fmt: skip
    code, text, _ = run_cli("audit", "longtail", "--counts", str(tmp_path / "groups.json"))
    assert code == 0
    assert "cost" in text
    code, text, _ = run_cli("audit", "longtail", "--prior", "zipf:5000", "--samples", "10000", "--classes", "10", "--gamma", "0.5", "--json")  # fmt: skip
    assert json.loads(text)["all"]["cost"] == pytest.approx(0.0353, abs=1e-4)
    code, text, _ = run_cli("audit", "memorization", "--help")
    assert code == 0
    assert "--learner" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("audit", "longtail"), "--counts"),
        (("audit", "longtail", "--prior", "zipf:5"), "--samples"),
        (("audit", "longtail", "--counts", "none.json"), "none.json"),
        (("audit", "memorization"), "name a data set"),
        (("audit", "memorization", "digit"), "digits"),
        (("audit", "memorization", "iris", "--learner", "svm"), "logistic"),
        (("audit", "memorization", "iris", "--subset", "1.5"), "subset"),
        (("audit", "memorization", "--import", "none.npz"), "no such file"),
    ],
)
def test_wrong_words_are_said(run_cli, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli(*words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


@pytest.fixture
def run_cli(capsys, monkeypatch):
    """Calls the command line in this process: exit code, stdout, stderr."""
    import sys

    from byheart.cli import main

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["byheart", *words])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


def test_runs_of_other_data_are_refused(planted):
    runs = lt.MemorizationEstimator(lt.NearestNeighbour(), DIGITS.data[:100], DIGITS.target[:100], runs=8).run()  # fmt: skip
    with pytest.raises(UsageError, match="100 examples"):
        lt.audit_data(planted[0], held=runs)
