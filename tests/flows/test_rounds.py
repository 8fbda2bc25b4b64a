"""Rounds in order: what runs, what comes from the cache, what the next round begins from.

MLflow, DVC and curation are real. Of the other jobs only the products are, made in no time, and they depend
on what the job was given, as the real ones do. Prefect's engine is left out: tests/infra/test_stack.py has it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from prefect import Task
from prefect.states import Completed

from rlhf.data import curate
from rlhf.jobs import Job
from rlhf.params import Params, load
from rlhf.records import read_jsonl, write_jsonl


class Jobs:
    """Stands for tasks.launch.run_job: `ran` lists the stages it was asked for; `breaks` fails a stage once."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.inputs: dict[str, dict] = {}
        self.breaks: str | None = None
        self.chosen = 2

    def __call__(self, job, compute, *, on_start=None):
        stage, out = job["stage"], Path(job["out"])
        self.ran.append(stage)
        self.inputs[stage] = job["inputs"]
        if stage == self.breaks:
            self.breaks = None
            raise RuntimeError(f"{stage} broke")
        (out / "metrics.jsonl").write_text('{"step": 1, "time": 1.0, "reward": 0.5, "kl": 0.1}\n')
        figures = getattr(self, stage)(
            Job(stage, out, job["inputs"], Params.model_validate(job["params"])), job
        )
        (out / "result.json").write_text(json.dumps(figures))
        return figures

    def curate(self, job, given):
        return curate.run(job)

    def base(self, job, given):
        model(job.out / "model", given)
        return {"loss": 3.0}

    def sft(self, job, given):
        for epoch in range(1, job.params.sft.epochs + 1):
            model(job.out / f"epoch-{epoch}", [epoch, given["params"]["sft"]])
        return {"demonstrations": 1, "valid_loss": [2.0]}

    def rl_start(self, job, given):
        model(job.out / "model", given["params"]["sft"])
        return {"demonstrations": 1}

    def sample(self, job, given):
        used = {row["prompt_id"] for path in job.inputs["used"] for row in read_jsonl(path)}
        writers = [writer["version"] for writer in job.inputs["writers"]]
        rows = []
        for number in range(8):
            prompt = f"p{job.inputs['round'] if not self.exhausted else 1}-{number}"
            if prompt in used:
                continue
            texts = [
                {"text": f"answer {n}", "model_version": v, "ended": True}
                for n, v in enumerate([*writers, writers[0]])
            ]
            rows.append(
                {
                    "id": f"r{job.inputs['round']}-{prompt}",
                    "prompt_id": prompt,
                    "messages": [{"role": "user", "content": f"Say {number}"}],
                    "round": job.inputs["round"],
                    "split": "train",
                    "completions": texts,
                }
            )
        write_jsonl(job.out / "samples.jsonl", rows)
        return {"prompts": len(rows), "completions": 2 * len(rows)}

    exhausted = False

    def rank(self, job, given):
        rows = [
            {
                **row,
                "id": row["id"] + "-00",
                "labeler_id": "l0",
                "ranks": list(range(1, len(row["completions"]) + 1)),
            }
            for row in read_jsonl(job.inputs["samples"])
        ]
        write_jsonl(job.out / "comparisons.jsonl", rows)
        noise = job.inputs["noise_scale"]
        return {"agreement": 0.75, "noise_scale": 0.123456789012345678 if noise is None else noise}

    def reward_model(self, job, given):
        model(job.out / "model", [Path(path).read_text() for path in job.inputs["comparisons"]])
        return {"accuracy": 0.6, "accuracy_low": 0.5, "accuracy_high": 0.7}

    def choose_sft(self, job, given):
        epochs = sorted(path.name for path in job.path("sft").iterdir())
        assert epochs == [f"epoch-{n}" for n in range(1, job.params.sft.epochs + 1)]
        model(job.out / "model", self.chosen)
        return {"chosen": self.chosen, "scores": [0.0, 1.0]}

    def ppo(self, job, given):
        model(job.out / "model", given["params"]["ppo"])
        model(job.out / "model" / "ema", given["params"]["ppo"])
        episode = {"iteration": 1, "prompt": "Why?", "completion": "<b>So.</b>", "reward": 1.0, "kl": 0.1}
        write_jsonl(job.out / "rollouts.jsonl", [episode, episode | {"iteration": 2}])
        return {"kl": 2.0, "reward": 1.0}

    def evaluate(self, job, given):
        assert all((Path(path) / "config.json").is_file() for path in job.inputs["policies"].values())
        split = job.inputs["split"]
        own = {key: [0.5, 0.6, 0.7] for key in RELEASED} | {"win_rate_vs_sft_by_labelers": [0.6, 0.7, 0.8]}
        figures = {"split": split, "prompts": 4, "users": 2, "policies": {"policy": own}}
        (job.out / "evaluation.json").write_text(json.dumps(figures))
        write_jsonl(job.out / "samples.jsonl", [])
        figures = {"win_rate": 0.6, "win_rate_low": 0.55, "win_rate_high": 0.65, "kl": 2.0, "tax": 0.1}
        return figures | ({"champion_win_rate_low": 0.5} if "champion" in job.inputs["policies"] else {})


RELEASED = ("win_rate_vs_sft", "length_controlled_by_labelers", "kl")
Jobs.release = Jobs.evaluate


def model(folder: Path, given: object) -> None:
    """The least that counts as a model directory; its bytes depend on what it was made of."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    weights = hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).digest()
    (folder / "model.safetensors").write_bytes(weights)


@pytest.fixture(scope="module")
def patch():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def jobs(make_clone, patch):
    """A clone to stand in, and the jobs that its rounds start. The tests of this module go on from each other."""
    clone = make_clone("rounds")
    patch.chdir(clone.folder)
    patch.setenv("RLHF_HOME", str(clone.folder / ".rlhf"))
    from tasks import stage

    jobs = Jobs()
    patch.setattr(stage, "run_job", jobs)
    patch.setattr(Task, "__call__", lambda self, *args: self.fn(*args))
    return jobs


@pytest.fixture
def run(jobs):
    """run(setting...) -> (the flow's result, the stages that ran for it)."""
    from flows.rlhf_iteration import rlhf_iteration

    def once(*settings: str, round: int | None = None):
        jobs.ran.clear()
        params = load("params.yaml", settings=settings).model_dump(mode="json")
        return rlhf_iteration.fn(params=params, round=round), list(jobs.ran)

    return once


STAGES = [
    "curate",
    "base",
    "sft",
    "rl_start",
    "sample",
    "rank",
    "reward_model",
    "choose_sft",
    "ppo",
    "evaluate",
]


def test_a_broken_round_goes_on_where_it_stopped(run, jobs):
    from tasks import registry

    jobs.breaks = "reward_model"
    with pytest.raises(RuntimeError, match="reward_model broke"):
        run()
    assert registry.rounds()[0].status == "FAILED"
    result, ran = run()
    assert (result["round"], result["state"]) == (1, "finished")
    assert ran == STAGES[6:], "what had finished is not run again"
    assert [ref.round for ref in registry.rounds()] == [1]
    assert registry.rounds()[0].status == "FINISHED"


def test_what_a_round_leaves(run, jobs):
    from tasks import registry, versioning

    assert registry.aliases("policy") == {"candidate": 1}
    assert registry.aliases("sft") == {"chosen": 1}
    tags = registry.version_tags(registry.resolve("policy", 1))
    assert tags["rlhf.parent.reward_model"] == "reward-model/1"
    assert tags["rlhf.gate"] == "passed"
    assert {"rlhf.data", "rlhf.params", "rlhf.git_commit", "rlhf.flow_run"} <= tags.keys()
    assert registry.version_tags(registry.resolve("reward-model", 1))["rlhf.comparisons"] == "1"
    run_id = mlflow.MlflowClient().get_model_version("policy", "1").run_id
    rollouts = json.loads(
        Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path="rollouts.json")).read_text()
    )
    assert rollouts["columns"][:3] == ["iteration", "prompt", "completion"] and len(rollouts["data"]) == 2
    assert registry.data_version(1) == Path("data.dvc").read_text()
    assert versioning.is_clean(Params().versioning)
    assert Path(".rlhf/reports/round-0001.html").is_file()
    assert not list(Path(".rlhf/work").glob("*-*/result.json")), "finished work is in the registry alone"


def test_a_finished_round_again_is_cached(run):
    result, ran = run(round=1)
    assert ran == []
    assert all(row["cached"] for row in result["table"])
    assert [row["stage"].replace(" ", "_") for row in result["table"]] == STAGES


def test_a_changed_parameter_runs_what_depends_on_it(run):
    from tasks import registry, rounds

    assert run("evaluation.prompts=3", round=1)[1] == ["evaluate"]
    assert run("ppo.kl_coef=0.3", round=1)[1] == ["ppo", "evaluate"]
    page = Path(".rlhf/reports/round-0001.html")
    before = page.read_text()
    assert run("gate.max_kl=1", round=1)[1] == []
    assert page.read_text() != before, "the gate decides otherwise"
    assert run(round=1)[1] == [] and page.read_text() != before
    before = page.stat().st_mtime_ns
    assert run(round=1)[1] == [] and page.stat().st_mtime_ns == before
    assert all(rounds.table(ref) for ref in registry.rounds())


def test_a_release_reads_the_test_users_once_a_policy_and_apart_from_the_gate(run, jobs, capsys):
    from flows import stages
    from tasks import registry

    version = registry.resolve("policy", registry.aliases("policy")["candidate"])
    gated = {name: tag for name, tag in registry.version_tags(version).items() if "gate" in name}
    assert jobs.inputs["evaluate"]["split"] == "valid"
    assert jobs.inputs["evaluate"]["noise_scale"] == 0.123456789012345678, "as the round's labelers ranked"
    page = Path(".rlhf/reports/round-0001.html")
    assert "test users" not in page.read_text()
    jobs.ran.clear()
    for _ in range(2):
        done = stages.release.fn(stages.At(round=1))
        assert (done["policy"], done["earlier_releases"]) == (str(version), 0)
    assert jobs.ran == ["release"], "a policy's are made once"
    given = jobs.inputs["release"]
    assert given["split"] == "test" and given["noise_scale"] == jobs.inputs["evaluate"]["noise_scale"]
    assert weights(given["policies"]["policy"]) == weights(registry.local_path(version))
    tags = registry.version_tags(version)
    assert tags["rlhf.release"] == "test users: 4 prompts of 2 users, read for 0 policies before"
    assert tags["rlhf.release.win_rate_by_labelers"] == "0.700 (0.600–0.800)"
    assert {name: tag for name, tag in tags.items() if "gate" in name} == gated
    assert "test users" in page.read_text()
    assert run(round=1)[1] == [] and "test users" in page.read_text()
    run("ppo.kl_coef=0.35", round=1)
    assert "test users" not in page.read_text(), "they were another policy's"
    assert stages.release.fn(stages.At(round=1, params={"ppo": {"kl_coef": 0.35}}))["earlier_releases"] == 1
    run(round=1)
    with pytest.raises(ValueError, match=r"round 2 is not finished \(finished rounds: 1\)"):
        stages.release.fn(stages.At(round=2))
    assert [ref.round for ref in registry.rounds()] == [1], "and none was begun"
    curated = Path("data/curated/prompts_test.parquet")
    curated.rename("moved.parquet")
    with pytest.raises(ValueError, match="is not what round 1 was made of"):
        stages.release.fn(stages.At(round=1))
    Path("moved.parquet").rename(curated)


def test_the_next_round_samples_the_newest_policies(run, jobs):
    from tasks import promotion, registry

    promotion.promote(1)
    began = registry.aliases("policy")
    result, ran = run()
    assert result["round"] == 2
    assert ran == STAGES[4:], "data, base and SFT come from the cache"
    newest = f"policy/{began['candidate']}"
    writers = {w["version"]: w["share"] for w in jobs.inputs["sample"]["writers"]}
    assert writers.keys() == {newest, "policy/1", "sft/1"}
    assert sum(writers.values()) == pytest.approx(1.0)
    assert writers["sft/1"] == pytest.approx(1 - Params().comparisons.policy_share)
    version = registry.resolve("policy", max(registry.versions("policy")))
    assert "win rate over the champion" in registry.version_tags(version)["rlhf.gate_reasons"]
    assert len(jobs.inputs["reward_model"]["comparisons"]) == 2
    assert "champion" in jobs.inputs["evaluate"]["policies"]
    assert jobs.inputs["rank"]["noise_scale"] == 0.123456789012345678, "calibrated once, in the first round"
    assert {jobs.inputs[name]["round"] for name in ("sample", "reward_model", "choose_sft", "ppo")} == {2}
    prompts = [{row["prompt_id"] for row in read_jsonl(f"data/rounds/000{n}/samples.jsonl")} for n in (1, 2)]
    assert not prompts[0] & prompts[1]
    assert registry.aliases("policy")["candidate"] == max(registry.versions("policy"))


def weights(folder) -> bytes:
    return (Path(folder) / "model.safetensors").read_bytes()


def test_ppo_may_start_from_the_champion_and_a_gate_that_passes_may_promote(run, jobs):
    """KL is measured to the RL start all the same."""
    from tasks import registry

    champion = registry.resolve("policy", "champion")
    _, ran = run("ppo.start=champion", "gate.promote=auto", round=2)
    assert ran == ["ppo", "evaluate"]
    given = jobs.inputs["ppo"]
    assert weights(given["rl_start"]) == weights(registry.local_path(champion)) != weights(given["reference"])
    assert registry.aliases("policy")["champion"] == max(registry.versions("policy")) != champion.version
    assert registry.aliases("policy")["previous-champion"] == champion.version


def test_an_earlier_round_again_begins_from_what_it_began_from(run):
    assert run(round=1)[1] == []
    assert run(round=2)[1] == []
    from tasks import registry

    before = registry.aliases("policy")
    assert run("ppo.kl_coef=0.4", "gate.promote=auto", round=1)[1] == ["ppo", "evaluate"]
    assert registry.aliases("policy") == before, "a new version of an earlier round is no candidate"


def test_another_epoch_is_chosen_and_no_cache_is_lost(run, jobs):
    from tasks import registry

    jobs.chosen = 1
    result, ran = run("comparisons.temperature=0.9", round=2)
    assert "choose_sft" in ran
    chosen = registry.aliases("sft")["chosen"]
    assert chosen == 2 and registry.version_tags(registry.resolve("sft", 2))["rlhf.epoch"] == "1"
    assert run(round=1)[1] == []
    result, _ = run()
    assert result["round"] == 3
    assert "sft/2" in {w["version"] for w in jobs.inputs["sample"]["writers"]}


def test_what_earlier_rounds_made_is_brought_back_file_by_file(run, jobs, capsys):
    lost = [Path(f"data/rounds/0001/{name}.jsonl") for name in ("samples", "comparisons")]
    before = [path.read_bytes() for path in lost]
    own = Path("data/rounds/0003/mine.txt")
    own.write_text("")
    for path in lost:
        path.unlink()
    assert run(round=3)[1] == [], "all is cached, since the first round's rankings are there again"
    assert [path.read_bytes() for path in lost] == before and own.exists()
    assert (
        "brought back data/rounds/0001/comparisons.jsonl, data/rounds/0001/samples.jsonl"
        in capsys.readouterr().err
    )
    own.unlink()


def test_people_rank_through_a_file(run, jobs):
    result, ran = run("comparisons.labeler=file")
    assert (result["round"], result["state"]) == (4, "waiting for rankings")
    assert ran == ["sample"]
    assert run("comparisons.labeler=file")[1] == [], "nothing was ranked yet: it waits"
    jobs.breaks = "sft"
    with pytest.raises(RuntimeError, match="sft broke"):
        run("sft.lr=5e-4")
    assert run("comparisons.temperature=0.5")[1] == [], "people have the samples, so they stand"
    rows = list(read_jsonl("data/rounds/0004/to_rank.jsonl"))
    rows = [row for row in rows[:4]]
    for row in rows:
        row["labeler_id"] = "ann"
        row["ranks"] = [len(row["completions"]) - int(c["text"].split()[1]) for c in row["completions"]]
    write_jsonl("ranked.jsonl", rows)
    from rlhf.data import intake

    intake.add("comparisons", ["ranked.jsonl"], "data/raw")
    result, ran = run()  # the round remembers that it waits for people
    assert (result["round"], result["state"]) == (4, "finished")
    assert ran == ["reward_model", "choose_sft", "ppo", "evaluate"]
    ours = list(read_jsonl("data/rounds/0004/comparisons.jsonl"))
    assert len(ours) == 4
    count = len(ours[0]["completions"])
    assert ours[0]["ranks"] == list(range(count, 0, -1)), "ranks follow the completions as they were sampled"


def test_comparisons_of_ones_own_teach_nothing_about_held_out_prompts(run, capsys):
    import polars as pl

    from flows import data_cli
    from rlhf.data import intake
    from tasks import reward_model

    asked = pl.read_parquet("data/curated/prompts_test.parquet")["messages"].to_list()[0]
    ranked = {"labeler_id": "bob", "ranks": [1, 2], "completions": [{"text": "So."}, {"text": "No."}]}
    sampled = next(iter(read_jsonl("data/rounds/0001/samples.jsonl")))
    kept = pl.read_parquet("data/curated/prompts_ppo.parquet").to_dicts()[0]
    rows = [
        {"id": "own", "messages": [{"role": "user", "content": "Something else?"}]} | ranked,
        {"id": "leak", "messages": asked} | ranked,
        {"id": "late", "prompt_id": sampled["prompt_id"]} | ranked,
        {"id": "soon", "prompt_id": kept["id"]} | ranked,
        {"id": "dropped", "prompt_id": "removed by curation"} | ranked,
    ]
    write_jsonl("own.jsonl", rows)
    known = Path("data/raw/prompts/known.jsonl")
    write_jsonl(known, [{"id": "removed by curation", "user_id": "u", "text": "Why?"}])
    intake.add("comparisons", ["own.jsonl"], "data/raw")
    known.unlink()
    here = SimpleNamespace(
        raw=Path("data/raw"), folder=Path("data/rounds/0004"), curated=Path("data/curated")
    )
    found = {row["id"]: row for row in reward_model._brought(here)}
    assert {"own", "late"} <= found.keys() and "leak" not in found
    assert found["late"]["messages"] == sampled["messages"]
    assert found["soon"]["messages"] == kept["messages"] and "dropped" not in found
    said = capsys.readouterr().err
    assert "1 comparisons of data/raw ask what held-out users ask" in said
    (added,) = Path("data/raw/comparisons").glob("own-*")
    assert (
        f"1 comparisons of {added.name} have no messages" in said
        and f"`rlhf data remove {added.name}`" in said
    )
    data_cli.data_remove(added.name)
    assert not added.exists() and "keeps it" in capsys.readouterr().out
    with pytest.raises(ValueError, match="is no file that was added; allowed: comparisons/ranked-"):
        data_cli.data_remove(added.name)


def test_no_fresh_prompts_ends_cleanly_and_prompts_make_it_go_on(run, jobs):
    jobs.exhausted = True
    result, ran = run()
    assert (result["round"], result["state"], ran) == (5, "no fresh prompts", ["sample"])
    assert run()[0]["round"] == 5
    jobs.exhausted = False


def test_rounds_out_of_order_are_refused(run):
    for number, sentence in ((7, "the next is 6"), (6, "round 5 is unfinished")):
        with pytest.raises(ValueError, match=sentence):
            run(round=number)


def test_two_rounds_never_run_at_once(run):
    holds = "from tasks.lock import one_round_at_a_time as one\nwith one('a test'): print('held', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout and other.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=rf"running already: a test, process {other.pid} on"):
        run()
    other.kill()
    other.wait()
    from tasks import lock

    assert lock.holder() is None, "a lock whose owner was killed does not block"


def test_who_is_forgotten_is_not_in_the_next_round(run, jobs, capsys):
    import polars as pl

    from flows.maintenance import forget_user
    from tasks import registry

    users = pl.read_parquet("data/curated/prompts_ppo.parquet")["user_id"].to_list()
    user = users[0]
    forget_user.fn(users=[user], params=load("params.yaml").model_dump(mode="json"))
    said = capsys.readouterr().out
    assert "nothing is left" in said and "policy/1" in said and user not in said
    assert registry.version_tags(registry.resolve("policy", 1))["rlhf.forgotten_how"] == "trained on them"
    _, ran = run()
    assert "curate" in ran and "ppo" in ran
    assert not {"base", "sft", "rl_start"} & set(ran), "they read nothing of the user's"
    left = set(pl.read_parquet("data/curated/prompts_ppo.parquet")["user_id"].to_list())
    assert left and user not in left
    assert f'"{user}"' not in Path("data/raw/prompts/little.jsonl").read_text()


def test_stages_run_as_deployments_of_their_own(run, jobs, patch):
    """As under `make up`, where a worker calls each stage's flow: what that needs it finds in MLflow and by DVC."""
    from flows import stages
    from tasks import registry, stage

    called = []

    def run_deployment(name, *, parameters, **_):
        flow, _, deployment = name.partition("/")
        assert flow == deployment
        called.append(flow)
        getattr(stages, flow.replace("-", "_")).fn(stages.At(**parameters["at"]))
        return SimpleNamespace(state=Completed())

    patch.setattr(stage, "run_deployment", run_deployment)
    patch.setattr("flows.rlhf_iteration.deployment", SimpleNamespace(id="a deployment's"))
    patch.setattr("flows.rlhf_iteration.make_up_for_missed", lambda: 0)  # asks Prefect's server
    result, ran = run("seed=7")
    assert result["state"] == "finished"
    assert called == [stage.DEPLOYMENTS[name] for name in STAGES if name in stage.DEPLOYMENTS]
    assert [name for name in ran if name != "curate"] == STAGES[1:]
    made = registry.stages(result["run_id"])
    for role, name in (("rl_start", "rl_start"), ("reward_model", "reward_model")):
        assert weights(jobs.inputs["ppo"][role]) == weights(registry.local_dir(made[name].run_id))
    stages.evaluate.fn(stages.At(round=result["round"], params={"seed": 7}))
    with pytest.raises(ValueError, match=r"is finished, and had other params: `rlhf run --round"):
        stages.evaluate.fn(stages.At(round=result["round"], params={"seed": 8}))
    newest = registry.rounds()[-1]
    assert (newest.status, newest.run_id) == ("FINISHED", result["run_id"]), (
        "it is left as finished as it was"
    )
    with pytest.raises(ValueError, match="MLflow holds no round with the run nobody"):
        stages.train_policy.fn(stages.At(run_id="nobody"))
