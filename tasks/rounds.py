"""Which round is next, what it begins from, and how it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rlhf.params import Params
from rlhf.training import epoch_choice
from tasks import earlier, keys, promotion, registry, stage, tracking, versioning
from tasks.registry import RoundRef, StageRef
from tasks.stage import Round

BEGAN = "rlhf.began"  # on a round: {"policies", "champion", "sft"} as they stood at its start
STATE = "rlhf.state"  # finished, waiting for rankings, no fresh prompts
LABELER = "rlhf.labeler"  # on a round: comparisons.labeler
PROFILE = "rlhf.profile"  # on the experiment: whose rounds it holds
TABLE = "rlhf.table"


def open_round(params: Params, number: int | None) -> Round:
    """The round to work on: `number`, else the unfinished one, else the next.

    A round that is run again begins from what it began from before. ValueError for a number that is
    neither known nor next.
    """
    _one_profile(params)
    promotion.reconcile()
    known = {ref.round: ref for ref in registry.rounds()}
    asked, number = number, _number(known, number)
    is_ranked = asked is None and number in known and known[number].tags.get(LABELER) == "file"
    if is_ranked:
        params = _ranked_by_people(params)
    if number in known and BEGAN in known[number].tags:
        began = json.loads(known[number].tags[BEGAN])
    else:
        began = _as_it_stands()
    if params.versioning.git == "commit":
        versioning.require_git()
    tags = {BEGAN: json.dumps(began), STATE: "running", LABELER: params.comparisons.labeler}
    versioning.go_on(params.versioning)
    this = _round(number, "", params, began)
    earlier.bring(this)
    this = replace(this, run_id=registry.start_round(number, params.model_dump(mode="json"), tags))
    if is_ranked and (samples := registry.stages(known[number].run_id).get("sample")):
        registry.adopt(this.run_id, samples)
    return replace(this, is_ranked=is_ranked)


def join_round(params: Params, run_id: str) -> Round:
    """The round behind an MLflow run, for a worker that does one of its stages."""
    ref = next((ref for ref in registry.rounds() if ref.run_id == run_id), None)
    if ref is None:
        raise ValueError(f"MLflow holds no round with the run {run_id}")
    return _round(ref.round, run_id, params, json.loads(ref.tags[BEGAN]))


class Progress:
    """A round at work: does its stages one by one and keeps the closing table."""

    def __init__(self, this: Round) -> None:
        self.this = this
        self.params = this.params
        self.rows: list[dict[str, Any]] = []

    def does(self, task: Any, *parents: Any) -> Any:
        """What the task returns for this round; its row goes into the table."""
        began = time.monotonic()
        done = task(self.this, *parents)
        if isinstance(done, StageRef):
            self.rows.append(
                {
                    "stage": stage.title(done.stage),
                    "seconds": round(time.monotonic() - began, 1),
                    "cached": stage.CACHED in done.tags,
                    "model": str(done.model or done.figures.get("sft") or ""),
                    "figure": headline(done),
                }
            )
        return done

    def ends(self, state: str, decision: dict[str, Any] | None = None) -> dict[str, Any]:
        """Closes the round: its data version and its table go on its MLflow run.

        state: finished; or waiting for rankings, no fresh prompts: then the round goes on another time.
        decision: the gate's.
        """
        this = self.this
        version = versioning.snapshot(this.params.versioning)
        registry.set_data_version(this.run_id, version.text)
        if state == "finished" and this.params.versioning.git == "commit":
            versioning.commit(f"Data of round {this.number}")
        status = {"finished": "FINISHED", "no fresh prompts": "KILLED"}.get(state, "RUNNING")
        tags = {STATE: state}
        held = next((ref.tags for ref in registry.rounds() if ref.run_id == this.run_id), {})
        if TABLE not in held or not all(row["cached"] for row in self.rows):  # a look keeps the times
            tags[TABLE] = json.dumps(self.rows)
        registry.finish_round(this.run_id, status, tags)
        return {
            "round": this.number,
            "state": state,
            "run_id": this.run_id,
            "table": self.rows,
            "gate": decision,
        }


@contextmanager
def at_work(params: Params, number: int | None, *, dispatch: bool) -> Iterator[Progress]:
    """The round that is next to do, closed as FAILED (KILLED on an interrupt) where the block raises."""
    this = replace(open_round(params, number), dispatch=dispatch)
    stage.say(f"round {this.number}" + (f", profile {params.profile}" if params.profile else ""))
    try:
        yield Progress(this)
    except BaseException as error:
        status = "FAILED" if isinstance(error, Exception) else "KILLED"
        try:
            registry.finish_round(this.run_id, status, {STATE: "stopped"})
        except Exception as lost:  # MLflow is away too: what stopped the round matters more
            stage.say(f"MLflow did not hear that round {this.number} stopped ({type(lost).__name__})")
        raise


@contextmanager
def looked_into(params: Params, number: int | None) -> Iterator[Round]:
    """A round for one stage by itself, which leaves it as finished, or as stopped, as it was.

    ValueError where it is finished and had other params: with these it would be another.
    """
    known = {ref.round: ref for ref in registry.rounds()}
    was = known.get(_number(known, number))
    own = keys.digest(params.model_dump(mode="json"))
    if was and was.status == "FINISHED" and was.tags.get("rlhf.params") != own:
        raise ValueError(
            f"round {was.round} is finished, and had other params: `rlhf run --round {was.round}` runs it with these"
        )
    this = open_round(params, number)
    try:
        yield this
    finally:
        if was and was.run_id == this.run_id:
            registry.finish_round(this.run_id, was.status, {STATE: state(was)})


def headline(ref: StageRef) -> str:
    """The one figure of a stage that its row in the table shows."""
    figures = ref.figures
    match ref.stage:
        case "curate":
            sets = {name: sum(figures[name]["sets"].values()) for name in ("prompts", "demonstrations")}
            return f"{sets['prompts']} prompts, {sets['demonstrations']} demonstrations kept"
        case "base":
            return f"loss {figures['loss']:.2f} nats a token" if "loss" in figures else "imported"
        case "sft" | "rl_start":
            losses = figures.get("valid_loss") or []
            return (
                f"held-out loss {losses[-1]:.2f}" if losses else f"{figures['demonstrations']} demonstrations"
            )
        case "sample":
            return f"{figures['completions']} completions of {figures['prompts']} prompts"
        case "rank":
            return f"labelers agree {figures['agreement']:.2f}" if "agreement" in figures else "by people"
        case "reward_model":
            return f"accuracy {figures['accuracy']:.3f}" if "accuracy" in figures else ""
        case "choose_sft":
            return epoch_choice.sentence(figures)
        case "ppo":
            return f"KL {figures['kl']:.2f} nats a response"
        case "evaluate":
            low, mid, high = (figures[name] for name in ("win_rate_low", "win_rate", "win_rate_high"))
            return f"wins {mid:.2f} ({low:.2f}-{high:.2f}) over SFT by utility"
    return ""


def state(ref: RoundRef) -> str:
    return ref.tags.get(STATE, ref.status.lower())


def table(ref: RoundRef) -> list[dict[str, Any]]:
    """The rows of a round's closing table: stage, seconds, cached, model, key figure."""
    return json.loads(ref.tags.get(TABLE, "[]"))


def finished(number: int | None) -> int:
    """The number of a finished round, of the newest by default. ValueError where it is not, or none is."""
    numbers = [ref.round for ref in registry.rounds() if ref.status == "FINISHED"]
    if number in numbers or (number is None and numbers):
        return number or numbers[-1]
    had = ", ".join(map(str, numbers)) or "none yet"
    which = "no round is finished" if number is None else f"round {number} is not finished"
    raise ValueError(f"{which} (finished rounds: {had}): a release measures a finished round's policy")


def _round(number: int, run_id: str, params: Params, began: dict[str, Any]) -> Round:
    return Round(number, run_id, params, tuple(began["policies"]), began["champion"], began["sft"])


def _one_profile(params: Params) -> None:
    """ValueError where the registry holds another profile's rounds: their models would be taken for ours."""
    mlflow, experiment = tracking.client(), tracking.experiment()
    ours = params.profile or "default"
    held = mlflow.get_experiment(experiment).tags.get(PROFILE)
    if held is None:
        mlflow.set_experiment_tag(experiment, PROFILE, ours)
    elif held != ours:
        raise ValueError(
            f"MLflow at {tracking.shown()} holds the rounds of profile {held}, and this is profile {ours}: "
            "give it a registry of its own (MLFLOW_TRACKING_URI, or RLHF_HOME for a local one)"
        )


def _ranked_by_people(params: Params) -> Params:
    """A round that people rank goes on with what they ranked, whatever params.yaml says by now.

    `--round N` says otherwise.
    """
    if params.comparisons.labeler != "file":
        stage.say("people rank this round, so it goes on with comparisons.labeler=file")
    comparisons = params.comparisons.model_copy(update={"labeler": "file"})
    return params.model_copy(update={"comparisons": comparisons})


def _number(known: dict[int, RoundRef], asked: int | None) -> int:
    newest = max(known, default=0)
    open_now = newest in known and known[newest].status != "FINISHED"
    if asked is None:
        return newest if open_now else newest + 1
    if asked in known:
        return asked
    if asked < 1 or asked > newest + 1:
        raise ValueError(
            f"round {asked} cannot run: the newest is {newest or 'none yet'}, the next is {newest + 1}"
        )
    if open_now:
        raise ValueError(
            f"round {asked} cannot start: round {newest} is unfinished (`rlhf run` continues it)"
        )
    return asked


def _as_it_stands() -> dict[str, Any]:
    """The newest policies (candidate and champion, once each), the champion, and the chosen SFT."""
    policy = registry.aliases("policy")
    newest = [policy[alias] for alias in ("candidate", "champion") if alias in policy]
    chosen = registry.aliases("sft").get("chosen")
    return {
        "policies": [f"policy/{version}" for version in dict.fromkeys(newest)],
        "champion": f"policy/{policy['champion']}" if "champion" in policy else None,
        "sft": f"sft/{chosen}" if chosen else None,
    }
