"""The registry on a real MLflow: what counts as finished, what a kill leaves, where models lie."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import boto3
import pytest

from tasks import keys, registry, tracking
from tasks.follower import Follower
from tasks.registry import ModelRef

DATA = "0123456789abcdef0123456789abcdef.dir"


def finished(model_dir, stage="base", key="k", round=1, parent=None, name="base", **more):
    with registry.stage_run(stage, key, round, parent, **more) as run:
        run.register(name, model_dir, {"rlhf.epoch": "3"}, {"loss": 1.5})
        return run.finish({"loss": 1.5, "nested": {"n": 2}, "note": "text"})


@pytest.fixture
def on_s3(state, s3):
    """The experiment's artifacts on S3, as a server for several machines keeps them."""
    tracking.client().create_experiment("remote", "s3://bucket/mlflow")
    os.environ["MLFLOW_EXPERIMENT_NAME"] = "remote"
    yield boto3.resource("s3").Bucket("bucket")
    del os.environ["MLFLOW_EXPERIMENT_NAME"]


# ---------------------------------------------------------------- find


def test_a_finished_stage_is_found_by_its_key(state, model_dir):
    done = finished(model_dir)
    assert registry.find("base", "k") == registry.stage_ref(done.run_id)
    assert registry.find("base", "k").figures == {"loss": 1.5, "nested": {"n": 2}, "note": "text"}
    assert registry.find("base", "k").model == ModelRef("base", 1)
    assert registry.find("base", "other") is None
    assert registry.find("sft", "k") is None


def test_a_stage_without_a_model_is_found_too(state):
    with registry.stage_run("curate", "k", 1, None) as run:
        run.finish({"kept": 10})
    assert registry.find("curate", "k").figures == {"kept": 10}


def test_what_failed_is_not_found_and_goes_on_in_the_same_run(state, model_dir):
    with pytest.raises(RuntimeError, match="job"), registry.stage_run("base", "k", 1, None) as run:
        run.register("base", model_dir)
        raise RuntimeError("the job died")
    assert registry.find("base", "k") is None
    assert tracking.client().get_run(run.run_id).info.status == "FAILED"
    done = finished(model_dir)
    assert done.run_id == run.run_id and done.model == ModelRef("base", 2)
    assert registry.newest("base") == ModelRef("base", 2)


def test_a_store_that_goes_away_does_not_hide_why_a_stage_failed(state, monkeypatch):
    def away(*_):
        raise ConnectionError("away")

    with (
        pytest.raises(RuntimeError, match="the job died") as caught,
        registry.stage_run("b", "k", 1, None) as run,
    ):
        monkeypatch.setattr(run, "close", away)
        raise RuntimeError("the job died")
    assert "could not be closed" in caught.value.__notes__[0]


def test_leaving_without_finish_is_not_finishing(state):
    with registry.stage_run("base", "k", 1, None):
        pass
    assert registry.find("base", "k") is None


KILLED = """
import pathlib, sys, time
from tasks import registry
with registry.stage_run("base", "k", 1, None) as run:
    run.register("base", pathlib.Path(sys.argv[1]))
    print("registered", flush=True)
    time.sleep(60)
"""


def test_a_kill_after_registering_leaves_nothing_finished(state, model_dir):
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(model_dir)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "registered\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert registry.versions("base") == [1]
    assert registry.find("base", "k") is None and registry.newest("base") is None
    assert finished(model_dir).model == ModelRef("base", 2)
    assert registry.newest("base") == ModelRef("base", 2)


@pytest.mark.parametrize("harm", ["gone", "cut short", "version deleted"])
def test_outputs_that_are_gone_are_not_found(state, model_dir, harm):
    done = finished(model_dir)
    weights = registry.local_path(done.model) / "model.safetensors"
    if harm == "gone":
        weights.unlink()
    elif harm == "cut short":
        weights.write_bytes(weights.read_bytes()[:-1])
    else:
        tracking.client().delete_model_version("base", "1")
    assert registry.find("base", "k") is None


def test_a_run_deleted_in_the_ui_runs_again(state, model_dir):
    tracking.client().delete_run(finished(model_dir).run_id)
    assert registry.find("base", "k") is None


def test_an_outage_is_not_absence(on_s3, model_dir, monkeypatch):
    finished(model_dir)
    assert registry.find("base", "k") is not None
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9"):
        registry.find("base", "k")


def test_a_server_that_does_not_answer_is_one_sentence(state, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match=r"no MLflow server answers at http://127\.0\.0\.1:9"):
        registry.find("base", "k")


def test_artifacts_of_another_machine_are_not_absence(state):
    tracking.client().create_experiment("elsewhere", "file:///no/such/machine")
    with pytest.raises(ValueError, match="are not on this machine"):
        registry._visible("file:///no/such/machine/run/artifacts")


# ---------------------------------------------------------------- lineage


def test_a_version_carries_its_lineage(state, model_dir):
    base = finished(model_dir).model
    round_run = registry.start_round(1, {"seed": 0})
    sft = finished(
        model_dir, "sft", parent=round_run, name="sft", data_digest=DATA, parents={"base": base},
        tags={"rlhf.git_commit": "abc", "rlhf.params": "def", "rlhf.flow_run": "ghi"},
    )  # fmt: skip
    registry.tag_version(sft.model, {"rlhf.gate": "passed"}, "Gate **passed**")
    assert tracking.version_of(sft.model).description == "Gate **passed**"
    tags = registry.version_tags(sft.model)
    assert tags.items() >= {
        "rlhf.data": DATA, "rlhf.git_commit": "abc", "rlhf.params": "def", "rlhf.flow_run": "ghi",
        "rlhf.parent.base": "base/1", "rlhf.run": sft.run_id, "rlhf.round": "1", "rlhf.stage": "sft",
        "rlhf.epoch": "3", "rlhf.gate": "passed",
    }.items()  # fmt: skip

    run = tracking.client().get_run(sft.run_id)
    assert run.data.tags["mlflow.parentRunId"] == round_run
    assert run.data.metrics == {"loss": 1.5, "nested/n": 2.0}
    assert [item.dataset.digest for item in run.inputs.dataset_inputs] == [DATA]
    assert [item.model_id for item in run.inputs.model_inputs] == [tracking.model_id_of(base)]
    model_id = tracking.model_id_of(sft.model)
    assert [item.model_id for item in run.outputs.model_outputs] == [model_id]
    [metric] = tracking.client().get_logged_model(model_id).metrics
    assert (metric.key, metric.value, metric.dataset_digest) == ("loss", 1.5, DATA)
    assert list(registry.stages(round_run)) == ["sft"]


def test_rounds_go_on_where_the_params_are_the_same(state):
    first = registry.start_round(1, {"seed": 0}, {"rlhf.state": "running"})
    registry.finish_round(first, "KILLED")
    assert [(r.round, r.status) for r in registry.rounds()] == [(1, "KILLED")]
    assert registry.start_round(1, {"seed": 0}) == first
    registry.finish_round(first)
    time.sleep(0.01)  # runs are told apart by their milliseconds
    other = registry.start_round(1, {"seed": 1})
    second = registry.start_round(2, {"seed": 1})
    assert other != first
    assert [(r.round, r.run_id, r.status) for r in registry.rounds()] == [
        (1, other, "RUNNING"),
        (2, second, "RUNNING"),
    ]
    registry.set_data_version(second, "outs: text\n")
    assert registry.data_version(2) == "outs: text\n"
    with pytest.raises(ValueError, match="round 1 keeps no data version"):
        registry.data_version(1)


# ---------------------------------------------------------------- models


@pytest.mark.parametrize("harm", ["code", "pickle", "auto_map", "no weights", "no config"])
def test_models_with_code_or_pickles_are_refused(state, model_dir, tmp_path, harm):
    bad = tmp_path / "bad"
    shutil.copytree(model_dir, bad)
    if harm == "code":
        (bad / "modeling.py").write_text("")
    elif harm == "pickle":
        (bad / "pytorch_model.bin").write_bytes(b"")
    elif harm == "auto_map":
        (bad / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "x.Y"}}))
    elif harm == "no weights":
        (bad / "model.safetensors").unlink()
    else:
        (bad / "config.json").unlink()
    with (
        pytest.raises(ValueError, match=r"carries (code|pickled)|auto_map|no \.safetensors|no config"),
        registry.stage_run("b", "k", 1, None) as run,
    ):
        run.register("base", bad)
    assert registry.versions("base") == []


def test_a_local_store_is_not_copied(state, model_dir):
    from transformers import AutoModelForCausalLM

    ref = finished(model_dir).model
    path = registry.local_path(ref)
    assert path.is_relative_to(state / "artifacts") and not (state / "cache").exists()
    assert keys.manifest(path) == keys.manifest(model_dir)
    AutoModelForCausalLM.from_pretrained(path)


def test_directories_that_are_not_registered_come_back_by_run(state, model_dir):
    with registry.stage_run("rl_start", "k", 1, None) as run:
        run.store(model_dir)
        run.store(model_dir, "epoch-1")
        done = run.finish()
    for name in ("model", "epoch-1"):
        assert keys.manifest(registry.local_dir(done.run_id, name)) == keys.manifest(model_dir)
    with pytest.raises(ValueError, match="keeps no directory 'epoch-9'"):
        registry.local_dir(done.run_id, "epoch-9")
    shutil.rmtree(registry.local_dir(done.run_id, "epoch-1"))
    assert registry.find("rl_start", "k") is None


def test_a_remote_store_is_downloaded_once_and_checked(on_s3, state, model_dir):
    (inner := model_dir / "ema").mkdir(exist_ok=True)
    shutil.copy(model_dir / "config.json", inner)
    try:
        ref = finished(model_dir).model
    finally:
        expected = keys.manifest(model_dir)
        shutil.rmtree(inner)
    assert registry.find("base", "k").model == ref
    path = registry.local_path(ref)
    assert path.is_relative_to(state / "cache") and keys.manifest(path) == expected
    on_s3.objects.filter(Prefix="mlflow/models").delete()
    assert registry.local_path(ref) == path  # it is here already
    assert registry.find("base", "k") is None  # and yet gone from the store


def test_a_damaged_download_is_not_kept(on_s3, state, model_dir):
    ref = finished(model_dir).model
    [weights] = [o for o in on_s3.objects.all() if o.key.endswith(".safetensors")]
    weights.put(Body=b"\0" * weights.size)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"model\.safetensors of .* did not arrive as it was stored"):
            registry.local_path(ref)


def test_versions_by_number_alias_or_newest(state, model_dir):
    finished(model_dir)
    finished(model_dir, key="k2")
    registry.set_alias("base", "chosen", 1, by="test")
    assert registry.resolve("base", "chosen") == registry.resolve("base", 1) == ModelRef("base", 1)
    assert registry.resolve("base") == ModelRef("base", 2)
    assert str(registry.resolve("base")) == "base/2"
    with pytest.raises(ValueError, match=r"base has no version 7 \(versions: 1, 2\)"):
        registry.resolve("base", "7")
    with pytest.raises(ValueError, match=r"no version or alias 'best' \(aliases: chosen\)"):
        registry.resolve("base", "best")
    with pytest.raises(ValueError, match="there is no sft yet"):
        registry.resolve("sft")
    with pytest.raises(ValueError, match=r"base has no version 9"):
        registry.local_path(ModelRef("base", 9))


# ---------------------------------------------------------------- metrics while a job runs


def history(run_id, name):
    return [(m.step, m.value) for m in tracking.client().get_metric_history(run_id, name)]


def test_metrics_arrive_while_the_job_runs(state, tmp_path, monkeypatch):
    file = tmp_path / "metrics.jsonl"
    with registry.stage_run("ppo", "k", 1, None) as run:
        run.follow(file)
        run.followers[0].every = 0.05
        file.write_text('{"step": 0, "time": 1700000000.5, "reward": 1.0, "note": "text"}\n{"step": 1, "rew')
        deadline = time.monotonic() + 30
        while not history(run.run_id, "reward") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert history(run.run_id, "reward") == [(0, 1.0)]
        with file.open("a") as more:
            more.write('ard": 2.0}\n')
        run.finish()
    assert history(run.run_id, "reward") == [(0, 1.0), (1, 2.0)]
    assert tracking.client().get_metric_history(run.run_id, "reward")[0].timestamp == 1700000000500


def test_a_restarted_follower_goes_on_where_it_was(state, tmp_path):
    file = tmp_path / "metrics.jsonl"
    with registry.stage_run("ppo", "k", 1, None) as run:
        lines = [json.dumps({"step": i, "time": 1.0, "loss": i / 2, "kl": 0.1}) + "\n" for i in range(600)]
        file.write_text("".join(lines[:350]))
        assert Follower(run.run_id, file).send() == 350
        with file.open("a") as more:
            more.write("".join(lines[350:]))
        assert Follower(run.run_id, file).send() == 250
        (tmp_path / "metrics.jsonl.sent").unlink()
        assert Follower(run.run_id, file).send() == 600  # sent again, kept once
        run.finish()
    assert history(run.run_id, "loss") == [(i, i / 2) for i in range(600)]


def test_torn_lines_and_odd_numbers_stop_nothing(state, tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text(
        '{"step": 0, "loss": 1.0}\n{"step": 1, "lo{"step": 1, "loss": NaN}\n[1]\n{"step": 2, "loss": 3.0}\n'
    )
    with registry.stage_run("ppo", "k", 1, None) as run:
        assert Follower(run.run_id, file).send() == 4
        file.write_text('{"step": 9, "loss": 9.0}\n')  # the job began anew
        assert Follower(run.run_id, file).send() == 1
        run.finish()
    assert history(run.run_id, "loss") == [(0, 1.0), (2, 3.0), (9, 9.0)]


def test_importing_connects_to_nothing(tmp_path):
    code = "import sys; from tasks import registry, promotion, versioning; assert not {'mlflow','dvc','boto3'} & set(sys.modules)"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "RLHF_HOME": str(tmp_path / "x")}
    )
    assert not (tmp_path / "x").exists()
