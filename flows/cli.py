"""`rlhf`: rounds, models and data from the command line.

Heavy imports (Prefect, MLflow, torch) wait until a command needs them, so that --help is quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rlhf.params import Params
    from tasks.registry import ModelRef

app = typer.Typer(
    help="RLHF rounds: data, SFT, reward model, PPO-ptx, evaluation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Raw data and data versions.", no_args_is_help=True)
params_app = typer.Typer(help="Parameters.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(params_app, name="params")

Files = Annotated[
    list[Path] | None, typer.Option("--params", help="a profile laid over params.yaml (may be repeated)")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="one setting: section.key=value (may be repeated)")
]

UsageError = typer.BadParameter.__mro__[
    2
]  # typer carries a click of its own and does not name its base error
MODELS = {"policy": "policy", "reward-model": "reward-model", "sft": "sft", "base": "base"}
KINDS = ("prompts", "demonstrations", "comparisons", "pretraining")


def main() -> None:
    """The entry point: a user's mistake is one sentence and exit status 2; --debug shows where it rose."""
    debug = "--debug" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--debug"]
    if debug:
        os.environ["RLHF_DEBUG"] = "1"
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except UsageError as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted; `rlhf run` continues the round", file=sys.stderr)
        sys.exit(130)
    except ValueError as error:
        if debug:
            raise
        print(f"rlhf: {error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        if debug:
            raise
        print(f"rlhf: {error}\n(--debug shows where this rose)", file=sys.stderr)
        sys.exit(1)


# ---------------------------------------------------------------- rounds


@app.command()
def run(
    params: Files = None,
    set: Settings = None,
    round: Annotated[
        int | None, typer.Option(min=1, help="this round, instead of the unfinished or the next one")
    ] = None,
) -> None:
    """Continue the unfinished round, or start the next one; what has not changed comes from the cache."""
    chosen = _params(params, set)
    from tasks import lock

    holder = lock.holder()
    if holder:
        raise ValueError(f"a round is running already: {holder}")
    from flows import local_prefect

    local_prefect.prepare()
    from flows.console import show_round
    from flows.rlhf_iteration import rlhf_iteration

    show_round(rlhf_iteration(params=chosen.model_dump(mode="json"), round=round), chosen)


@app.command()
def status(params: Files = None) -> None:
    """Rounds, models, and whether a round is running."""
    chosen = _params(params)
    from flows.console import show_status

    show_status(chosen)


@app.command()
def report(round: Annotated[int | None, typer.Argument(min=1)] = None, params: Files = None) -> None:
    """Where a round's report page is (the newest finished round's by default)."""
    _params(params)
    from tasks.report import page

    print(page(round))


# ---------------------------------------------------------------- models


@app.command()
def chat(
    version: Annotated[str, typer.Argument(help="policy/3, sft, champion, 3 ...")] = "newest",
    params: Files = None,
    temperature: Annotated[float, typer.Option(min=0.01)] = 0.7,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 128,
    seed: int = 0,
) -> None:
    """Talk to a version: the newest policy by default. Lines on standard input work too."""
    _params(params)
    from flows.chat import converse

    converse(_version(version), temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="policy, reward-model, sft or base")],
    version: Annotated[str, typer.Argument(help="a number or an alias")] = "newest",
    path: Annotated[bool, typer.Option("--path", help="print the folder and nothing else")] = False,
    to: Annotated[Path | None, typer.Option(help="copy the folder there")] = None,
    params: Files = None,
) -> None:
    """Where a version's Hugging Face directory is; transformers alone opens it."""
    if model not in MODELS:
        raise ValueError(f"there is no model {model!r} (allowed: {', '.join(MODELS)})")
    if to and to.exists():
        raise ValueError(f"{to} exists already: name a folder that does not")
    _params(params)
    from tasks import registry

    ref = registry.resolve(MODELS[model], version)
    folder = registry.local_path(ref)
    if to:
        import shutil

        shutil.copytree(folder, to)
        folder = to
    print(folder if path else f"{ref}: {folder}")


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="a policy's number, or an alias")] = "candidate",
    params: Files = None,
) -> None:
    """Make a policy version the champion."""
    _params(params)
    from tasks import promotion

    print(f"champion is {promotion.promote(version.removeprefix('policy/'))}")


@app.command()
def rollback(params: Files = None) -> None:
    """Make the previous champion champion again."""
    _params(params)
    from tasks import promotion

    print(f"champion is {promotion.rollback()}")


# ---------------------------------------------------------------- data


@data_app.command("fetch")
def data_fetch() -> None:
    """Build the embedded default's raw data in data/raw."""
    from rlhf.data import sources
    from tasks import versioning

    versioning.stay_forgotten(Path("data"))
    for kind, rows in sources.fetch(Path("data/raw")).items():
        print(f"data/raw/{kind}/embedded.jsonl: {rows} records")


@data_app.command("add")
def data_add(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    files: Annotated[list[str], typer.Argument(help="JSON Lines or Parquet, local or s3://bucket/key")],
    params: Files = None,
) -> None:
    """Add files of your own to data/raw; bad lines are refused with file, line and reason."""
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r} of data (allowed: {', '.join(KINDS)})")
    _params(params)
    import tempfile

    from rlhf.data import intake
    from tasks import storage

    with tempfile.TemporaryDirectory() as folder:
        local: list[Path] = []
        for number, name in enumerate(files):
            if storage.is_s3(name):
                local += storage.download(name, Path(folder) / str(number))
            else:
                local.append(Path(name))
        for line in _added(intake.add(kind, local, Path("data/raw"))):
            print(line)


@data_app.command("curate")
def data_curate(
    files: Annotated[list[Path], typer.Argument(help="prompts: JSON Lines (plain or gzip) or Parquet")],
    out: Annotated[Path, typer.Option(help="a new directory, or one of an earlier run of this command")],
    eval: Annotated[
        list[Path] | None, typer.Option(help="texts that must not be in training (may be repeated)")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="a Hugging Face directory whose tokenizer measures lengths")
    ] = None,
    params: Files = None,
    set: Settings = None,
) -> None:
    """Curate files of prompts by themselves: train, valid, test, and why everything else was removed."""
    from rlhf.data.room import curate_files
    from rlhf.params import load

    here = Path("params.yaml")
    chosen = load(here if here.is_file() else None, params or [], set or [])
    from flows.data_room import show_curation

    done = curate_files(files, out, chosen.data, evals=eval or [], tokenizer=tokenizer)
    show_curation(done, out)


@data_app.command("audit")
def data_audit(
    seed: Annotated[int, typer.Option(min=0, help="draws the planted cases")] = 0,
    count: Annotated[int, typer.Option(min=100, help="cases a check")] = 4000,
) -> None:
    """Plant faults of every kind and show which of them the data room finds; exit 1 where a bar is missed."""
    from rich.console import Console

    from flows import audit_table
    from rlhf.data import audit

    if not audit_table.show(audit.run(seed, count), Console() if sys.stdout.isatty() else Console(width=130)):
        raise typer.Exit(1)


@data_app.command("checkout")
def data_checkout(round: Annotated[int, typer.Argument(min=1)], params: Files = None) -> None:
    """Bring back the data that a round ended with."""
    chosen = _params(params)
    from tasks import versioning

    version = versioning.checkout_round(round, chosen.versioning)
    print(f"data/ is round {round}'s again ({version.digest})")


@data_app.command("snapshot")
def data_snapshot(params: Files = None) -> None:
    """Version data/ as it is now and push it."""
    chosen = _params(params)
    from tasks import versioning

    print(f"data/ is kept as {versioning.snapshot(chosen.versioning).digest}")


@data_app.command("forget")
def data_forget(
    user_ids: Annotated[
        list[str] | None, typer.Argument(help="ids of users, as they stand in user_id")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="ids from a file, one a line")] = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="also older versions, logs, tables, reports")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask before --purge")] = False,
    params: Files = None,
) -> None:
    """Take users out of the data, in a new version; list the models that learned from them."""
    chosen = _params(params)
    from flows.forgetting import forget

    forget(user_ids or [], file, chosen, erase=purge, ask=purge and not yes)


@data_app.command("status")
def data_status(params: Files = None) -> None:
    """What lies in data/, and whether a version keeps it."""
    chosen = _params(params)
    from flows.console import show_data

    show_data(chosen)


@params_app.command("show")
def params_show(params: Files = None, set: Settings = None) -> None:
    """The parameters in force, as YAML."""
    import yaml

    values = _params(params, set).model_dump(mode="json")
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")


# ---------------------------------------------------------------- what commands share


def _params(files: list[Path] | None = None, settings: list[str] | None = None) -> Params:
    from rlhf.params import load
    from tasks.profile import keep_apart

    here = Path("params.yaml")
    chosen = load(here if here.is_file() else None, files or [], settings or [])
    keep_apart(chosen)
    return chosen


def _version(text: str) -> ModelRef:
    """ModelRef of "sft/2", "sft", "3", "champion" or "newest"; a bare number or alias is the policy's."""
    from tasks import registry

    name, _, version = text.partition("/")
    if name in MODELS:
        return registry.resolve(MODELS[name], version or "newest")
    return registry.resolve("policy", text)


def _added(found: Any) -> list[str]:
    if isinstance(found, dict):
        return [f"{name}: {count}" for name, count in found.items()]
    return [str(item) for item in found]


if __name__ == "__main__":
    main()
