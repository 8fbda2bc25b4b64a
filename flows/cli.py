"""`rlhf`: rounds, models and data from the command line.

Heavy imports (Prefect, MLflow, torch) wait until a command needs them, so that --help is quick.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows import data_cli, model_cli
from flows.hints import hint
from flows.options import Files, Settings, chosen_params

if TYPE_CHECKING:
    from tasks.registry import ModelRef

app = typer.Typer(
    help="RLHF rounds: data, SFT, reward model, PPO-ptx, evaluation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
params_app = typer.Typer(help="Parameters.", no_args_is_help=True)
app.add_typer(data_cli.app, name="data")
app.add_typer(params_app, name="params")
app.add_typer(model_cli.app, name="model")

UsageError = typer.BadParameter.__mro__[
    2
]  # typer carries a click of its own and does not name its base error
MODELS = ("policy", "reward-model", "sft", "base")


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
        print(hint("interrupted; `rlhf run` continues the round"), file=sys.stderr)
        sys.exit(130)
    except ValueError as error:
        if debug:
            raise
        print(f"rlhf: {hint(str(error))}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        if debug or not _speaks(error):
            raise
        print(f"rlhf: {hint(str(error))}\n(--debug shows where this rose)", file=sys.stderr)
        sys.exit(1)


def _speaks(error: Exception) -> bool:
    """Whether its sentence is enough: what broke is outside (a disk, a server, a store), and not in here."""
    outside = type(error).__module__.startswith(("mlflow.", "dvc."))
    return outside or isinstance(error, (RuntimeError, OSError))


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
    chosen = chosen_params(params, set)
    from tasks import lock

    holder = lock.holder()
    if holder:
        raise ValueError(f"a round is running already: {holder}")
    from tasks.base import require_models

    require_models(chosen)  # a model that cannot be imported is said before anything starts
    from flows import local_prefect

    local_prefect.prepare()
    from flows.console import show_round
    from flows.rlhf_iteration import rlhf_iteration

    show_round(rlhf_iteration(params=chosen.model_dump(mode="json"), round=round), chosen)


@app.command()
def status(params: Files = None) -> None:
    """Rounds, models, and whether a round is running."""
    chosen = chosen_params(params)
    from flows.console import show_status

    show_status(chosen)


@app.command()
def report(round: Annotated[int | None, typer.Argument(min=1)] = None, params: Files = None) -> None:
    """Where a round's report page is (the newest finished round's by default)."""
    chosen_params(params)
    from tasks.report import page

    print(page(round))


@app.command()
def release(
    round: Annotated[int | None, typer.Argument(min=1)] = None, params: Files = None, set: Settings = None
) -> None:
    """Measure a round's policy on the test users, for figures to publish (the newest finished round's by default).

    Rounds are tuned and gated on validation users. The gate does not see these figures; how often the test users
    have been read is counted.
    """
    chosen = chosen_params(params, set)
    from flows import local_prefect

    local_prefect.prepare()
    from flows.console import show_release
    from flows.stages import At
    from flows.stages import release as measure

    show_release(measure(At(round=round, params=chosen.model_dump(mode="json"))))


# ---------------------------------------------------------------- models


@app.command()
def chat(
    version: Annotated[str, typer.Argument(help="policy/3, sft, champion, 3 ...")] = "newest",
    params: Files = None,
    temperature: Annotated[float | None, typer.Option(min=0.01, help="[default: ppo.temperature]")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 128,
    seed: int = 0,
) -> None:
    """Talk to a version: the newest policy by default. Lines on standard input work too."""
    chosen = chosen_params(params)
    from flows.chat import converse

    temperature = temperature or chosen.ppo.temperature
    converse(_version(version), temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="policy, reward-model, sft or base; or sft/2")],
    version: Annotated[str, typer.Argument(help="a number or an alias")] = "newest",
    path: Annotated[bool, typer.Option("--path", help="print the folder and nothing else")] = False,
    to: Annotated[Path | None, typer.Option(help="copy the folder there")] = None,
    params: Files = None,
) -> None:
    """Where a version's Hugging Face directory is; transformers alone opens it."""
    model, _, number = model.partition("/")  # as status and chat write a version
    version = number or version
    if model not in MODELS:
        raise ValueError(f"there is no model {model!r} (allowed: {', '.join(MODELS)})")
    if to and to.exists():
        raise ValueError(f"{to} exists already: name a folder that does not")
    chosen_params(params)
    from tasks import registry

    ref = registry.resolve(model, version)
    folder = registry.local_path(ref)
    if to:
        import shutil
        from tempfile import TemporaryDirectory

        to.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as aside:
            shutil.copytree(folder, Path(aside) / "whole").rename(to)
        folder = to
    print(folder if path else f"{ref}: {folder}")


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="a policy's number, or an alias")] = "candidate",
    params: Files = None,
) -> None:
    """Make a policy version the champion."""
    chosen_params(params)
    from tasks import promotion

    print(f"champion is {promotion.promote(version.removeprefix('policy/'))}")


@app.command()
def rollback(params: Files = None) -> None:
    """Make the previous champion champion again."""
    chosen_params(params)
    from tasks import promotion

    print(f"champion is {promotion.rollback()}")


# ---------------------------------------------------------------- parameters


@params_app.command("show")
def params_show(params: Files = None, set: Settings = None) -> None:
    """The parameters in force, as YAML."""
    import yaml

    values = chosen_params(params, set).model_dump(mode="json")
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")


# ---------------------------------------------------------------- what commands share


def _version(text: str) -> ModelRef:
    """ModelRef of "sft/2", "sft", "3", "champion" or "newest"; a bare number or alias is the policy's."""
    from tasks import registry

    name, _, version = text.partition("/")
    if name in MODELS:
        return registry.resolve(name, version or "newest")
    return registry.resolve("policy", text)


if __name__ == "__main__":
    main()
