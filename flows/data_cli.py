"""`rlhf data`: raw data, the data room, data versions, and forgetting a user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.options import Files, Settings, chosen_params
from flows.reading_options import Anonymous, FormatName, Mapped, OneUserEach, UserField, reading_options

app = typer.Typer(help="Raw data, curation and data versions.", no_args_is_help=True)
KINDS = ("prompts", "demonstrations", "comparisons", "pretraining")


@app.command("fetch")
def data_fetch() -> None:
    """Build the embedded default's raw data in data/raw."""
    chosen = chosen_params(None)
    from rlhf.data import sources
    from tasks import versioning

    versioning.go_on(chosen.versioning)
    versioning.stay_forgotten(Path("data"))
    for kind, rows in sources.fetch(Path("data/raw")).items():
        print(f"data/raw/{kind}/embedded.jsonl: {rows} records")


@app.command("add")
def data_add(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    files: Annotated[
        list[str], typer.Argument(help="files or folders, local or s3://bucket/key; see `rlhf data formats`")
    ],
    format: FormatName = None,
    user_field: UserField = None,
    map: Mapped = None,
    one_user_each: OneUserEach = False,
    anonymous: Anonymous = False,
    params: Files = None,
) -> None:
    """Add files of your own to data/raw; bad lines are refused with file, line and reason."""
    if kind not in KINDS:
        raise ValueError(f"there is no kind {kind!r} of data (allowed: {', '.join(KINDS)})")
    options = reading_options(format, user_field, map, one_user_each, anonymous)
    chosen = chosen_params(params)
    from rlhf.data import intake
    from tasks import versioning

    versioning.go_on(chosen.versioning)
    told: list[str] = []
    with local_files(files) as local:
        added = intake.add(kind, local, Path("data/raw"), options, told)
    for line in [*told, *_added(added)]:
        print(line)


@app.command("remove")
def data_remove(
    file: Annotated[str, typer.Argument(help="its name in data/raw, as `rlhf data add` printed it")],
    params: Files = None,
) -> None:
    """Take out a file that was added; the version of data/ before it keeps it."""
    chosen = chosen_params(params)
    from rlhf.data import intake
    from tasks import lock, versioning

    with lock.nobody_at_work("rlhf data remove"):
        versioning.go_on(chosen.versioning)
        if not any(path.name == Path(file).name for path in intake.added("data/raw")):
            intake.remove(file, "data/raw")  # which says what is there
        kept = versioning.snapshot(chosen.versioning)
        gone = intake.remove(file, "data/raw")
        versioning.snapshot(chosen.versioning)
    print(f"{gone} is taken out (version {kept.digest} keeps it); the next round trains without it")


@app.command("formats")
def data_formats() -> None:
    """The formats that `add` and `curate` recognise, each with a record for an example."""
    import json

    from rlhf.data.reading.recognition import FORMATS

    for format in FORMATS:
        print(f"{format.name} ({', '.join(format.kinds)}): {format.about}")
        print(f"  {json.dumps(format.example, ensure_ascii=False)}")


@contextmanager
def local_files(names: list[str]) -> Iterator[list[Path]]:
    """Files and folders of this machine for names, some of which may be in S3 (brought for as long as it takes)."""
    import tempfile

    from tasks import storage

    with tempfile.TemporaryDirectory() as folder:
        local: list[Path] = []
        for number, name in enumerate(names):
            if not storage.is_s3(name):
                local.append(Path(name))
                continue
            target = Path(folder) / str(number)
            brought = storage.download(name, target)
            is_object = len(brought) == 1 and name.endswith(f"/{brought[0].name}")
            local.append(brought[0] if is_object else target)
        yield local


@app.command("curate")
def data_curate(
    files: Annotated[
        list[str],
        typer.Argument(help="prompts: files or folders, local or s3://bucket/key; see `rlhf data formats`"),
    ],
    out: Annotated[Path, typer.Option(help="a new directory, or one of an earlier run of this command")],
    eval: Annotated[
        list[Path] | None, typer.Option(help="texts that must not be in training (may be repeated)")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="a Hugging Face directory whose tokenizer measures lengths")
    ] = None,
    format: FormatName = None,
    user_field: UserField = None,
    map: Mapped = None,
    one_user_each: OneUserEach = False,
    anonymous: Anonymous = False,
    params: Files = None,
    set: Settings = None,
) -> None:
    """Curate files of prompts by themselves: train, valid, test, and why everything else was removed."""
    from rlhf.data.engine import warm_up
    from rlhf.params import load

    here = Path("params.yaml")
    chosen = load(here if here.is_file() else None, params or [], set or [])
    with local_files(files) as local:
        warm_up(chosen.data, local)
        from flows.data_room import show_curation
        from rlhf.data.room import curate_files

        options = reading_options(format, user_field, map, one_user_each, anonymous)
        done = curate_files(local, out, chosen.data, evals=eval or [], tokenizer=tokenizer, options=options)
    show_curation(done, out)


@app.command("audit")
def data_audit(
    seed: Annotated[int, typer.Option(min=0, help="draws the planted cases")] = 0,
    count: Annotated[int, typer.Option(min=100, help="cases a check")] = 4000,
) -> None:
    """Plant faults of every kind and show which of them the data room finds; exit 1 where a bar is missed."""
    from flows import audit_table
    from flows.terminal import console
    from rlhf.data import audit

    if not audit_table.show(audit.run(seed, count), console(width=130)):
        raise typer.Exit(1)


@app.command("checkout")
def data_checkout(round: Annotated[int, typer.Argument(min=1)], params: Files = None) -> None:
    """Bring back the data that a round ended with."""
    chosen = chosen_params(params)
    from tasks import lock, versioning

    with lock.nobody_at_work("rlhf data checkout"):
        version = versioning.checkout_round(round, chosen.versioning)
    print(f"data/ is round {round}'s again ({version.digest})")


@app.command("snapshot")
def data_snapshot(params: Files = None) -> None:
    """Version data/ as it is now and push it."""
    chosen = chosen_params(params)
    from tasks import versioning

    print(f"data/ is kept as {versioning.snapshot(chosen.versioning).digest}")


@app.command("forget")
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
    chosen = chosen_params(params)
    from flows.forgetting import forget

    forget(user_ids or [], file, chosen, erase=purge, ask=purge and not yes)


@app.command("status")
def data_status(params: Files = None) -> None:
    """What lies in data/, and whether a version keeps it."""
    chosen = chosen_params(params)
    from flows.console import show_data

    show_data(chosen)


def _added(found: Any) -> list[str]:
    if isinstance(found, dict):
        return [f"{name}: {count}" for name, count in found.items()]
    return [str(item) for item in found]
