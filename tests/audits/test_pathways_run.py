"""Pathways followed through a real Trainer, and asked of checkpoints on disk."""

from __future__ import annotations

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "core"))
from tiny import WORDS, make_tiny_gpt2, make_tiny_llama, make_tiny_neox, make_tokenizer
from tiny_moe import make_tiny_moe

import byheart
from byheart.audits._pathways.checkpoints import checkpoint_folders, read_scores
from byheart.audits.pathways import (
    PathwayCallback,
    PathwayProbe,
    Pathways,
    Snapshot,
    consistency,
    course,
    pathway_distance,
    pathways,
    permuted_experts,
)
from byheart.core.audit import Row
from byheart.core.drive import drive
from byheart.core.errors import CapabilityError, DataError, ModelError, OutputError, UsageError
from byheart.core.local import LocalModel
from byheart.core.report import Report
from byheart.core.toy import SuffixModel

IDS = [[3, 4, 5, 6], [7, 8, 9], [10, 11, 12, 13, 14], [15, 16, 17]]


class Texts(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, i):
        ids = torch.tensor([3 + (i + j) % 20 for j in range(5)])
        return {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)}


def trainer_of(model, folder, *callbacks, steps=6, evaluate=None, **options):
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(
        str(folder), max_steps=steps, per_device_train_batch_size=4, learning_rate=1e-2,
        report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True, logging_steps=2, seed=5,
        **options,
    )  # fmt: skip
    return Trainer(
        model, arguments, train_dataset=Texts(), callbacks=list(callbacks), eval_dataset=Texts(),
        compute_metrics=evaluate,
    )  # fmt: skip


# the probe


def test_a_probe_gives_what_both_metrics_need():
    model = make_tiny_moe()
    probe = PathwayProbe(
        model, make_tokenizer(), ["the quick brown fox", "rain falls on grey river"]
    )
    assert [len(t) for t in probe.ids] == [4, 5]
    snap = probe.run(step=3)
    assert snap.g.shape == (2, 3, 8)
    assert [w.shape for w in snap.W] == [(8, 32)] * 3
    assert (snap.step, snap.scoring, snap.threshold) == (3, "softmax", 0.7)
    assert snap.layers[0] == "model.layers.0.mlp.gate"
    assert 0 <= pathway_distance(snap, normalize="length").mean <= 1
    assert consistency(snap).mean_cosine.shape == (2,)
    as_ids = PathwayProbe(model, None, probe.ids).run()
    np.testing.assert_array_equal(as_ids.g, snap.g)
    assert as_ids.digest == snap.digest
    assert repr(probe) == "PathwayProbe(OlmoeForCausalLM, 2 samples, threshold=0.7)"


def test_a_probe_takes_a_local_model_and_other_checkpoints():
    tokenizer = make_tokenizer()
    first, second = make_tiny_moe(seed=0), make_tiny_moe(seed=1)
    probe = PathwayProbe(
        LocalModel(first, tokenizer, name="mine"), None, ["old tree", "a lazy dog"]
    )
    assert probe.name == "mine"
    other = probe.run(LocalModel(second, tokenizer))
    np.testing.assert_array_equal(other.g, probe.run(second).g)
    assert np.abs(other.g - probe.run().g).max() > 0.01


def test_permuting_the_experts_of_a_real_model_changes_no_metric_in_experts():
    model = make_tiny_moe()
    before = PathwayProbe(model, None, IDS).run()
    loss = before.nll
    with torch.no_grad():
        for n, layer in enumerate(model.model.layers):
            order = torch.randperm(8, generator=torch.Generator().manual_seed(n))
            moe = layer.mlp
            moe.gate.weight.copy_(moe.gate.weight[order].clone())
            for p in moe.experts.parameters():
                p.copy_(p[order].clone())
    after = PathwayProbe(model, None, IDS).run()
    np.testing.assert_allclose(after.nll, loss, rtol=1e-4)  # it is the same model
    assert np.abs(after.g - before.g).max() > 0.1
    for normalize in (None, "length"):
        found = [pathway_distance(s, normalize=normalize).mean for s in (before, after)]
        assert found[0] == pytest.approx(found[1])
    np.testing.assert_allclose(
        consistency(after).mean_cosine, consistency(before).mean_cosine, atol=1e-5
    )


@pytest.mark.parametrize(
    ("texts", "options", "error", "message"),
    [
        ([], {}, DataError, "no sample"),
        (["fox", "  "], {}, DataError, "sample 1 is empty"),
        ([[]], {}, DataError, "sample 0 is empty"),
        ([[3, 99]], {}, DataError, "token 99, outside the model's vocabulary of"),
        ([[3, -1]], {}, DataError, "token -1, outside"),
        (["fox"], {}, DataError, "text 0 has 1 token"),
        ([[3] * 65], {}, DataError, "65 tokens and the context of OlmoeForCausalLM is 64"),
        ([[3] * 65], {"max_tokens": 1}, UsageError, "max_tokens at least 2"),
        ([[3, 4]], {"threshold": 0}, UsageError, "share in"),
        ([[3, 4]], {"scoring": "hard"}, UsageError, "scoring is"),
        ("the quick fox", {}, UsageError, "put it in a list"),
        (["old tree", None], {}, DataError, "sample 1 is neither a text nor token ids"),
        ([[3.5, 4]], {}, DataError, "sample 0 is neither"),
    ],
)
def test_samples_that_cannot_be_followed(texts, options, error, message):
    with pytest.raises(error, match=message):
        PathwayProbe(make_tiny_moe(), make_tokenizer(), texts, **options)


def test_long_samples_are_cut_where_that_is_asked():
    probe = PathwayProbe(make_tiny_moe(), None, [[3] * 65, [4] * 10], max_tokens=64)
    assert [len(t) for t in probe.ids] == [64, 10]
    with pytest.raises(UsageError, match="need the model's tokenizer"):
        PathwayProbe(make_tiny_moe(), None, ["fox and dog"])


def test_a_tokenizer_of_another_model_is_noticed():
    with pytest.raises(DataError, match="outside the model's vocabulary of 10"):
        PathwayProbe(make_tiny_moe(vocab_size=10), make_tokenizer(), ["rain falls on grey river"])


def test_ids_may_be_arrays_and_models_names(run):
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    model = make_tiny_moe()
    a, b = PathwayProbe(model, None, ids), PathwayProbe(model, None, ids.numpy())
    assert a.digest == b.digest == PathwayProbe(model, None, ids.tolist()).digest
    named = PathwayProbe(f"hf:{run / 'out' / 'checkpoint-100'}", None, ["old tree", "lazy dog"])
    assert named.run().g.shape == (2, 3, 8)
    with pytest.raises(UsageError, match="follows a torch module, got dict"):
        PathwayProbe({}, None, ["old tree"])
    with pytest.raises(UsageError, match="no configuration of transformers"):
        PathwayProbe(torch.nn.Linear(2, 2), None, [[3, 4]])
    with pytest.raises(UsageError, match="takes a PathwayProbe"):
        PathwayCallback(model)


def test_a_dense_model_is_refused_at_once():
    model, tokenizer = make_tiny_llama()
    with pytest.raises(CapabilityError, match="no router"):
        PathwayProbe(model, tokenizer, ["old tree"])


def test_a_real_model_is_the_same_with_a_vector_added_to_a_routers_rows():
    """And so are its pathways and the centred cosine; the paper's consistency is another."""
    model = make_tiny_moe()
    before = PathwayProbe(model, None, IDS).run()
    c = 3 * torch.randn(32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.mlp.gate.weight.add_(c)
    after = PathwayProbe(model, None, IDS).run()
    np.testing.assert_allclose(after.nll, before.nll, rtol=1e-3)
    np.testing.assert_allclose(after.g, before.g, atol=1e-4)
    centred = [consistency(s, centred=True).mean_cosine for s in (before, after)]
    np.testing.assert_allclose(centred[0], centred[1], atol=1e-3)
    assert consistency(after).mean_cosine.min() > 0.9 > consistency(before).mean_cosine.max()


def test_a_snapshot_stays_what_it_was_while_the_model_learns():
    model = make_tiny_moe()
    snap = PathwayProbe(model, None, IDS).run()
    before = consistency(snap).mean_cosine
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    np.testing.assert_array_equal(consistency(snap).mean_cosine, before)


def test_snapshots_of_models_with_other_layers_make_no_course():
    probe = PathwayProbe(make_tiny_moe(), None, IDS)
    two = probe.run(make_tiny_moe(num_hidden_layers=2))
    with pytest.raises(
        DataError, match="2 MoE layers and 8 experts, the first of one with 3 and 8"
    ):
        course([probe.run(), two])


# the callback


def test_the_callback_follows_a_run_and_does_not_disturb_it(tmp_path):
    plain = make_tiny_moe()
    trainer_of(plain, tmp_path / "a").train()
    model = make_tiny_moe()
    probe = PathwayProbe(model, None, IDS)
    rows = []
    seen = PathwayCallback(probe, every=2, out=tmp_path / "out", snapshots=True, alarm=rows.append)
    trainer = trainer_of(model, tmp_path / "b", seen)
    trainer.train()
    for (name, a), b in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b), name
    assert [r["step"] for r in seen.history] == [0, 2, 4, 6]
    assert rows == seen.history
    assert seen.history[-1]["loss"] < seen.history[0]["loss"]
    np.testing.assert_allclose(probe.run().nll.mean(), seen.history[-1]["loss"])
    assert "train_loss" in seen.history[-1]
    lines = [json.loads(x) for x in (tmp_path / "out" / "pathways.jsonl").read_text().splitlines()]
    assert [x["distance"] for x in lines] == [r["distance"] for r in seen.history]
    assert Snapshot.load(tmp_path / "out" / "step-4.npz").step == 4
    logged = [x for x in trainer.state.log_history if "pathway_distance" in x]
    assert [x["step"] for x in logged] == [0, 2, 4, 6]
    assert "distance/0" in seen.history[0]
    assert not any("/" in k for x in logged for k in x)  # a number a layer is too much for a log


def test_accuracy_of_evaluations_is_held_beside(tmp_path):
    model = make_tiny_moe()
    callback = PathwayCallback(PathwayProbe(model, None, IDS), every=1)

    def right(prediction):
        guesses = prediction.predictions.argmax(-1)[:, :-1]
        return {"accuracy": float((guesses == prediction.label_ids[:, 1:]).mean())}

    trainer = trainer_of(
        model, tmp_path, callback, steps=5, eval_strategy="steps", eval_steps=1,
        evaluate=right,
    )  # fmt: skip
    trainer.train()
    assert [("accuracy" in r) for r in callback.history] == [False, *[True] * 5]
    found = {c.metric: c for c in callback.correlations(rise=False)}
    assert found["distance"].n == 5
    assert {"loss", "mean_cosine", "step"} <= set(found)
    assert found["loss"].pearson < 0
    callback.history = callback.history[:2]
    with pytest.raises(DataError, match="three are needed"):
        callback.correlations()


def test_a_loss_that_turns_nan_is_said_and_what_was_measured_is_kept(tmp_path):
    from transformers import TrainerCallback

    model = make_tiny_moe()

    class Poison(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 3:
                with torch.no_grad():
                    model.lm_head.weight.fill_(float("nan"))

    callback = PathwayCallback(PathwayProbe(model, None, IDS), every=2, out=tmp_path)
    with pytest.raises(ModelError, match="NaN or infinite"):
        trainer_of(model, tmp_path / "t", Poison(), callback).train()
    assert [r["step"] for r in callback.history] == [0, 2]
    lines = (tmp_path / "pathways.jsonl").read_text().splitlines()
    assert [json.loads(x)["step"] for x in lines] == [0, 2]


def test_only_the_main_process_measures(tmp_path):
    callback = PathwayCallback(PathwayProbe(make_tiny_moe(), None, IDS))
    state = type(
        "State", (), {"global_step": 0, "is_world_process_zero": False, "log_history": []}
    )()
    callback.on_train_begin(None, state, None, model=None)
    assert callback.history == []


@pytest.mark.parametrize(
    ("ids", "options", "error", "message"),
    [
        (IDS, {"every": 0}, UsageError, "at least 1 step"),
        (IDS, {"snapshots": True}, UsageError, "folder `out`"),
        (IDS[:1], {}, DataError, "the probe has one"),
    ],
)
def test_callbacks_that_cannot_be(ids, options, error, message):
    with pytest.raises(error, match=message):
        PathwayCallback(PathwayProbe(make_tiny_moe(), None, ids), **options)


def test_a_folder_that_cannot_be_written_is_said_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        PathwayCallback(PathwayProbe(make_tiny_moe(), None, IDS), out=tmp_path / "file" / "x")


# the audit


def words(n, seed):
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS[:-4]) for _ in range(n))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Four checkpoints of a run, whose routers become sharper, with texts of both arms."""
    place = tmp_path_factory.mktemp("run")
    for step in (100, 200, 300, 400):
        model = make_tiny_moe()
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "gate.weight" in name:
                    p.mul_(step / 100)
        folder = place / "out" / f"checkpoint-{step}"
        model.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
    for arm, begin in (("seen", 0), ("fresh", 100)):
        (place / arm).mkdir()
        for i in range(6):
            (place / arm / f"{i}.txt").write_text(words(40, begin + i))
    (place / "acc.csv").write_text(
        "checkpoint,accuracy,val_loss\ncheckpoint-100,.1,3\ncheckpoint-200,.3,2\n"
        "checkpoint-300,.5,2.2\ncheckpoint-400,.9,1\n"
    )
    return place


def audit_of(run, **more):
    options = {"window": 30, "minimum": 10, **more}
    return Pathways(texts=str(run / "seen"), fresh=str(run / "fresh"), **options)


def test_one_checkpoint_is_shown_in_both_arms_without_verdict(run):
    model = byheart.load(f"hf:{run / 'out' / 'checkpoint-400'}")
    audit = audit_of(run)
    rows = drive(audit, model, seed=1)
    assert [r.arm for r in rows] == ["seen"] * 6 + ["fresh"] * 6
    found = {f.name: f for f in Report.of("m", audit.findings(rows, seed=1)).findings}
    assert set(found) == {"pathways/distance", "pathways/cosine"}
    for f in found.values():
        assert f.verdict() == "no verdict"
        assert f.exploratory
        assert "one checkpoint" in f.no_verdict
        assert f.p_value is None
        assert f.evidence[0].produced.count("-") == 2
    texts = [p.prompt for p in audit.probes(seed=1) if p.arm == "seen"]
    snap = PathwayProbe(model, None, texts).run()
    whole = pathway_distance(snap, normalize="length")
    assert found["pathways/distance"].seen.value == pytest.approx(whole.mean)
    assert found["pathways/distance"].details["length seen"] == pytest.approx(
        whole.length, abs=1e-4
    )
    f = found["pathways/distance"]  # lower is more alike: a positive gap means seen texts are
    assert f.gap.value == pytest.approx(f.fresh.value - f.seen.value)
    assert f.control_gap is not None
    assert abs(f.control_gap.value) < 0.1
    assert found["pathways/cosine"].seen.value == pytest.approx(
        consistency(snap).mean_cosine.mean()
    )
    centred = found["pathways/cosine"].details["without what a router's rows share, seen"]
    assert centred == pytest.approx(consistency(snap, centred=True).mean_cosine.mean(), abs=1e-4)


def test_the_contract_of_audits_but_for_verdicts(run):
    """Same seed, same rows and report; both survive JSON; poor rows give nothing."""
    model = byheart.load(f"hf:{run / 'out' / 'checkpoint-400'}")
    audit = audit_of(run, checkpoints=str(run / "out"), scores=str(run / "acc.csv"))
    probes = audit.probes(seed=7)
    assert probes == audit.probes(seed=7)
    assert len({p.id for p in probes}) == len(probes)
    rows = drive(audit, model, probes)
    again = [Row.from_dict(json.loads(json.dumps(r.to_dict(), allow_nan=False))) for r in rows]
    assert again == rows == drive(audit, model, probes)
    report = Report.of(model.name, audit.findings(rows, seed=7))
    assert Report.from_json(report.to_json()) == report
    assert Report.of(model.name, audit.findings(again, seed=7)) == report
    assert all(f.name.startswith("pathways/") for f in report.findings)
    for some in (
        [],
        rows[:1],
        [r for r in rows if r.arm == "seen"],
        [r for r in rows if r.arm == "fresh"],
    ):
        assert all(f.verdict() == "no verdict" for f in audit.findings(some, seed=0))
    planting = audit.planted(seed=1, n=4)
    assert planting.audit.checkpoints is None
    assert len(planting.texts) == 4
    json.dumps(audit.config())


def test_a_course_is_held_against_scores(run):
    model = byheart.load(f"hf:{run / 'out' / 'checkpoint-400'}")
    audit = audit_of(run, checkpoints=str(run / "out"), scores=str(run / "acc.csv"))
    rows = drive(audit, model)
    found = {f.name: f for f in audit.findings(rows)}
    assert set(found) >= {"pathways/course-distance", "pathways/course-cosine"}
    f = found["pathways/course-distance"]
    assert f.verdict() == "no verdict"
    assert "n = 4" in f.no_verdict
    assert "no p-value can be below 0.083" in f.no_verdict
    assert "any two trends correlate" in f.no_verdict
    (c,) = f.details["correlations"]
    assert c["n"] == 4
    assert set(c["partial"]) == {"entropy", "length", "step", "entropy+length"}
    assert any(x.startswith("val_loss: r = ") for x in f.details["beside"])
    assert any(x.startswith("loss: ") for x in f.details["beside"])
    values = [r.values for r in rows if "step" in r.meta]
    x, y = [v["distance"] for v in values], [0.1, 0.3, 0.5, 0.9]
    assert c["pearson"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    # sharper routers: shorter paths and lower entropy, which is what the controls are for
    assert values[0]["length"] > values[-1]["length"]
    assert values[0]["entropy"] > values[-1]["entropy"]
    assert (f.details["fresh_is"], f.details["seen_is"]) == ("step 100", "step 400")


def test_without_scores_the_course_is_shown_alone(run):
    model = byheart.load(f"hf:{run / 'out' / 'checkpoint-400'}")
    audit = audit_of(run, checkpoints=(str(run / "out" / "checkpoint-400"), str(run / "out" / "checkpoint-100")))  # fmt: skip
    found = {f.name: f for f in audit.findings(drive(audit, model))}
    f = found["pathways/course-cosine"]
    assert (f.n, f.control) == (2, "no scores were given (--scores)")


def test_checkpoints_of_different_models_make_no_course(run, tmp_path):
    other = tmp_path / "checkpoint-500"
    make_tiny_moe(num_hidden_layers=2).save_pretrained(other)
    make_tokenizer().save_pretrained(other)
    audit = audit_of(run, checkpoints=(str(run / "out"), str(other)))
    model = byheart.load(f"hf:{run / 'out' / 'checkpoint-400'}")
    found = {f.name: f for f in audit.findings(drive(audit, model))}
    assert "500: 2 layers of 8); no course" in found["pathways/course-distance"].no_verdict
    assert "pathways/distance" in found  # what was measured is kept


def test_the_command_line(cli, run, tmp_path):
    code, out, err = cli(
        "audit", f"hf:{run / 'out' / 'checkpoint-400'}", "pathways", "--texts", run / "seen",
        "--fresh", run / "fresh", "--checkpoints", run / "out", "--scores", run / "acc.csv",
        "--set", "pathways.window=30", "--set", "pathways.minimum=10", "--out", tmp_path, "--json",
    )  # fmt: skip
    assert code == 0, err
    report = json.loads(out)
    names = {f["name"] for f in report["findings"]}
    assert names == {f"pathways/{x}" for x in ("distance", "cosine", "course-distance", "course-cosine")}  # fmt: skip
    assert report["failures"] == []
    page = (tmp_path / "report.html").read_text()
    assert "any two trends correlate" in page


def test_a_dense_model_is_skipped_with_the_reason(cli, tmp_path):
    module, tokenizer = make_tiny_llama(context=512)
    folder = tmp_path / "dense"
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    code, out, _ = cli("audit", f"hf:{folder}", "pathways", "--out", tmp_path / "r", "--json")
    assert code == 0
    (skipped,) = json.loads(out)["skipped"]
    assert "a mixture of experts whose weights are here" in skipped["reason"]
    with pytest.raises(CapabilityError, match="needs routing"):
        drive(Pathways(), SuffixModel(["a text"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step,accuracy\n", "needs a heading and lines"),
        ("a,b\n1,2\n", "no column step or checkpoint"),
        ("step,x,y\n1,2,3\n", "no column accuracy; there are step, x, y"),
        ("step,accuracy\n100\n", "line 2: 1 fields"),
        ("step,accuracy\nfirst,1\n", "line 2: no step in 'first'"),
        ("step,accuracy\n100,high\n", "line 2: accuracy is no finite number: 'high'"),
        ("step,accuracy\n100,nan\n", "no finite number"),
        ("step,accuracy\n100,1\ncheckpoint-100,2\n", "line 3: step 100 is there twice"),
    ],
)
def test_scores_that_cannot_be_read(tmp_path, text, message):
    (tmp_path / "acc.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_scores(tmp_path / "acc.csv")


def test_scores_are_read_by_their_heading(tmp_path):
    (tmp_path / "acc.csv").write_text("step, gsm8k ,val_loss\n10,.5,2\n20,.6,1\n")
    found = read_scores(tmp_path / "acc.csv", "gsm8k")
    assert found.accuracy == {10: 0.5, 20: 0.6}
    assert found.others == {"val_loss": {10: 2.0, 20: 1.0}}
    with pytest.raises(DataError, match="cannot read"):
        read_scores(tmp_path / "none.csv")


def test_checkpoints_are_ordered_by_their_steps(run, tmp_path):
    assert [s for s, _ in checkpoint_folders(run / "out")] == [100, 200, 300, 400]
    with pytest.raises(DataError, match="holds no checkpoint"):
        checkpoint_folders(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        checkpoint_folders(tmp_path / "x")
    with pytest.raises(DataError, match="both of step 100"):
        checkpoint_folders([run / "out", run / "out" / "checkpoint-100"])
    with pytest.raises(DataError, match="no checkpoint was named"):
        checkpoint_folders([])


def test_a_probe_in_json_lines(cli, run, tmp_path):
    file = tmp_path / "probe.jsonl"
    file.write_text("\n".join(json.dumps({"text": words(30, s)}) for s in range(7)))
    audit = Pathways(probe=str(file), window=30, minimum=10)
    probes = audit.probes()
    assert sum(p.arm == "seen" for p in probes) == 7
    assert {p.prompt for p in probes if p.arm == "seen"} == {words(30, s) for s in range(7)}
    assert all(p.meta["stand_in"] for p in probes)
    lines = [{"text": words(30, s), "arm": "seen" if s < 4 else "fresh"} for s in range(8)]
    file.write_text("\n".join(map(json.dumps, lines)))
    code, out, err = cli(
        "audit", f"hf:{run / 'out' / 'checkpoint-400'}", "pathways", "--checkpoints", run / "out",
        "--scores", run / "acc.csv", "--set", f"pathways.probe={file}", "--set",
        "pathways.window=30", "--set", "pathways.minimum=10", "--out", tmp_path / "r", "--json",
    )  # fmt: skip
    assert code == 0, err
    found = {f["name"]: f for f in json.loads(out)["findings"]}
    assert found["pathways/distance"]["n"] == 4
    assert "stand in" not in found["pathways/distance"]["no_verdict"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "line 1: no text"),
        ('{"text": " "}', "line 1: no text"),
        ('{"text": "a", "arm": "old"}', "arm is seen or fresh, got 'old'"),
        ('{"text": "a", "arm": "fresh"}', "no line of the seen arm"),
        ("text", "line 1: not JSON"),
        ("", "no line of the seen arm"),
    ],
)
def test_probes_that_cannot_be_read(tmp_path, line, message):
    (tmp_path / "p.jsonl").write_text(line)
    with pytest.raises(DataError, match=message):
        Pathways(probe=tmp_path / "p.jsonl").probes()


def test_audits_that_cannot_be(run):
    with pytest.raises(UsageError, match="leave texts and fresh out"):
        Pathways(probe="p.jsonl", texts="t")
    with pytest.raises(UsageError, match="name them too"):
        Pathways(scores="x.csv")
    with pytest.raises(UsageError, match="share in"):
        Pathways(threshold=1.5)
    with pytest.raises(UsageError, match="minimum must lie"):
        Pathways(minimum=200)
    with pytest.raises(UsageError, match="pairs must be at least 1"):
        Pathways(pairs=0)
    (run / "few.csv").write_text("step,accuracy\n100,1\n")
    with pytest.raises(DataError, match="has no line of step 200"):
        audit_of(run, checkpoints=str(run / "out"), scores=str(run / "few.csv")).probes()
    with pytest.raises(DataError, match="at least two texts"):
        audit_of(run, checkpoints=str(run / "out")).probes(limit=1)


def test_windows_beyond_the_context_say_which_would_do(run):
    model = LocalModel(make_tiny_moe(max_position_embeddings=20), make_tokenizer())
    with pytest.raises(
        DataError, match=r"30 tokens and the context .* is 20; .*pathways\.window=20"
    ):
        drive(audit_of(run), model)
    assert drive(audit_of(run, window=20), model)


def test_the_self_test_has_nothing_to_plant_for_it(cli, run, tmp_path):
    code, _, err = cli(
        "audit", f"hf:{run / 'out' / 'checkpoint-400'}", "pathways", "--texts", run / "seen",
        "--fresh", run / "fresh", "--set", "pathways.window=30", "--set", "pathways.minimum=10",
        "--out", tmp_path, "--self-test", "--json",
    )  # fmt: skip
    assert code == 2
    assert "nothing to plant: the audits to run (pathways) give no verdict" in err
    assert not (tmp_path / "report.json").exists()  # said before anything is run


def test_a_model_with_one_moe_layer_has_a_distance_only(run):
    model = LocalModel(make_tiny_moe(num_hidden_layers=1), make_tokenizer())
    audit = audit_of(run)
    found = audit.findings(drive(audit, model))
    assert [f.name for f in found] == ["pathways/distance"]
    assert math.isfinite(found[0].gap.value)


# dense models


@pytest.mark.parametrize("make", [make_tiny_llama, make_tiny_gpt2, make_tiny_neox])
def test_neurons_of_a_dense_model_stand_in_for_experts(make):
    model, tokenizer = make()
    texts = ["the quick brown fox", "lazy dog and old tree", "rain falls"]
    snap = PathwayProbe(model, tokenizer, texts, neurons=5).run()
    width = snap.W[0].shape
    assert snap.g.shape == (3, 2, width[0])
    assert width[1] == 32
    assert snap.scoring == "activity"
    assert [len(p.split(",")) for p in pathways(snap)[0].split("-")] == [5, 5]
    found = pathway_distance(snap)
    assert found.length == 10
    assert 0 < found.mean <= 10
    seen = {}  # the activity of the first block, by a hook of the test's own on one text

    def see(module, inputs):
        seen["a"] = inputs[0]

    part = dict(model.named_modules())[snap.layers[0]]
    handle = part.register_forward_pre_hook(see)
    model(torch.tensor([tokenizer(texts[0])["input_ids"]]))
    handle.remove()
    a = seen["a"][0].abs()
    np.testing.assert_allclose(snap.g[0, 0], (a / a.sum(-1, True)).mean(0).detach(), atol=1e-6)
    np.testing.assert_array_equal(np.argsort(-snap.g[0, 0], kind="stable")[:5], [int(k) for k in pathways(snap)[0].split("-")[0].split(",")])  # fmt: skip
    e = torch.zeros(1, width[0])
    e[0, 3] = 1.0
    bias = part(torch.zeros(1, width[0]))
    np.testing.assert_allclose(snap.W[0][3], (part(e) - bias)[0].detach(), atol=1e-6)


def test_neurons_are_asked_of_dense_models_only(tmp_path):
    with pytest.raises(CapabilityError, match="has routers"):
        PathwayProbe(make_tiny_moe(), None, IDS, neurons=4)
    model, tokenizer = make_tiny_llama()
    with pytest.raises(UsageError, match=r"neurons must lie in 0\.\.48"):
        PathwayProbe(model, tokenizer, ["old tree"], neurons=49)
    snap = PathwayProbe(model, tokenizer, ["old tree", "lazy dog"], neurons=4).run()
    assert Snapshot.load(snap.save(tmp_path / "s.npz")).top == 4
    null = permuted_experts(snap, seed=0)
    assert pathway_distance(null).length == 8
