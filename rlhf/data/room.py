"""The data room by itself: files of prompts in, curated splits out, with nothing but files (`rlhf data curate`)."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from rlhf.data import card, contract, evaluation_files, sets, splits, verdicts
from rlhf.data.curate import stop_if_unreadable
from rlhf.data.curation import Curation
from rlhf.data.engine import Engine
from rlhf.data.leakage import HeldOut
from rlhf.data.reading.reader import AS_THEY_ARE, Options, Reader
from rlhf.params import DataParams
from rlhf.records import write_jsonl

Record = dict[str, Any]
SPLITS = ("train", "valid", "test")
FILES = (
    *(f"{split}.jsonl" for split in SPLITS),
    "removed.jsonl",
    "rejected.jsonl",
    "card.md",
    "funnel.svg",
    "funnel.json",
)
CACHE = ".features"


@dataclass(frozen=True)
class Curated:
    """What a run did: its funnel, and of how many rows the features were known from an earlier run."""

    funnel: Record
    rows: int
    remembered: int
    formats: tuple[str, ...] = ()  # which were recognised, and what was done to their records


def curate_files(
    files: Sequence[Path | str],
    out_dir: Path | str,
    params: DataParams,
    *,
    evals: Sequence[Path | str] = (),
    tokenizer: Path | str | None = None,
    options: Options = AS_THEY_ARE,
) -> Curated:
    """Curate prompts of any known format (rlhf.data.reading) into out_dir: train, valid, test, removed, rejected, the funnel.

    evals: files of texts or messages that training may not contain. tokenizer: a directory whose tokenizer
    measures lengths; without one, words x 1.5. What was computed of each record is remembered in out_dir/.features:
    the same files again, and more, give the same bytes as all at once, and cost what is new.
    A run that fails leaves out_dir as it was, but for rejected.jsonl where too much was rejected. Raises
    ValueError that names the file and what is wrong with it.
    """
    paths = _checked(files, folders=True)
    out_dir = _free(Path(out_dir))
    asked = verdicts.asked_of(params.languages, tokenizer)
    benchmarks = list(evaluation_files.texts(_checked(evals)))
    rejects: list[contract.Reject] = []
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        aside = _aside(stack, out_dir)
        engine = stack.enter_context(Engine(params, aside))
        work = Curation("prompts", aside, params, engine, asked, cache=out_dir / CACHE, alone=True)
        stack.callback(work.close)
        reader = Reader("prompts", paths, options, rejects)
        work.read(paths, rejects, reader=reader)
        write_jsonl(aside / "rejected.jsonl", (reject.as_dict() for reject in rejects))
        try:
            stop_if_unreadable(work, rejects)
        except ValueError as error:
            out_dir.mkdir(exist_ok=True)
            os.replace(aside / "rejected.jsonl", out_dir / "rejected.jsonl")
            raise ValueError(f"{error} (all of them: {out_dir / 'rejected.jsonl'})") from None
        if not len(work.table):
            raise ValueError(f"{', '.join(path.name for path in paths)}: no prompts; nothing was written")
        funnel = _curate(work, benchmarks, aside)
        out_dir.mkdir(exist_ok=True)
        for name in FILES:
            os.replace(aside / name, out_dir / name)
        work.remember()
        said = reader.lines()
        if empty := [split for split in SPLITS if not funnel["sets"][split]]:
            users = np.unique(work.table.user_numbers(np.arange(len(work.table))))
            said.append(splits.whole_users(empty, len(users)))
        return Curated(funnel, len(work.table), work.prints.found, tuple(said))


def _aside(stack: ExitStack, out_dir: Path) -> Path:
    """A folder beside out_dir for what is not finished; those that killed runs left behind are removed."""
    for left in out_dir.parent.glob(f".{out_dir.name}.*.part"):
        if not psutil.pid_exists(int(left.name.split(".")[-3])):
            shutil.rmtree(left, ignore_errors=True)
    aside = tempfile.mkdtemp(dir=out_dir.parent, prefix=f".{out_dir.name}.{os.getpid()}.", suffix=".part")
    stack.callback(shutil.rmtree, aside, ignore_errors=True)
    return Path(aside)


def _curate(work: Curation, benchmarks: list[str], aside: Path) -> Record:
    """The steps, and their files in `aside`."""
    work.drop_copies()
    work.judge()
    work.split()
    work.drop_personal()
    work.drop_leaks(HeldOut(tests := list(work.texts("test")), ["test"] * len(tests)), side="valid")
    texts, names = [*benchmarks], ["eval"] * len(benchmarks)
    for side in SPLITS[1:]:
        texts += work.texts(side)
        names += [side] * (len(texts) - len(names))
    work.drop_leaks(HeldOut(texts, names))
    shapes = {split: sets.write_jsonl(aside / f"{split}.jsonl", work, split) for split in SPLITS}
    work.funnel.close()
    os.replace(work.funnel.removed, aside / "removed.jsonl")
    funnel = work.funnel.as_dict(shapes)
    card.write(aside, {"prompts": funnel})
    write_jsonl(aside / "funnel.json", [funnel])
    return funnel


def _checked(files: Sequence[Path | str], *, folders: bool = False) -> list[Path]:
    """The files in order of their names, whatever the order in which they were given; folders: whether those may be too."""
    seen: dict[Path, Path] = {}
    for path in map(Path, files):
        if path.is_dir() and folders:
            pass
        elif path.is_dir():
            raise ValueError(f"{path} is a directory; name the files in it")
        elif not path.is_file():
            raise ValueError(f"{path} does not exist or is no file")
        if (other := seen.setdefault(path.resolve(), path)) is not path:
            raise ValueError(f"{path} is given twice" + (f" (it is {other})" if other != path else ""))
    return sorted(seen.values(), key=lambda path: (path.name, str(path)))


def _free(out_dir: Path) -> Path:
    """out_dir, if it is not there yet, or holds what an earlier run wrote and nothing else."""
    if out_dir.exists() and not out_dir.is_dir():
        raise ValueError(f"{out_dir} is a file; --out names a directory")
    if out_dir.is_dir():
        others = sorted({path.name for path in out_dir.iterdir()} - {*FILES, CACHE})
        if others:
            raise ValueError(f"{out_dir} holds other files ({others[0]}); --out names a directory of its own")
    return out_dir
