"""Checkpoints from which a killed run goes on as if it had never been killed.

A checkpoint is a folder `checkpoint-<step>` of safetensors and JSON: state dictionaries of any nesting, their
tensors apart from the rest. It is written aside, every file synced, with its checksums, and renamed last, so that
it is there whole or not at all. One that was damaged later is found by its checksums, named, and left aside.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlhf import distributed
from rlhf.jobs import Job
from rlhf.params import ComputeParams

CHECKSUMS = "checksums.json"
_TENSOR = "$tensor"  # stands in the JSON where a tensor was

log = logging.getLogger(__name__)


class Checkpoints:
    """The newest `keep` checkpoints of a run in `folder`, one when `seconds` have passed since the last.

    With several processes all take part, each with its own state.

    written_by: what else a checkpoint depends on; one that something else wrote is of no use, nor is one of another
    number of processes.
    """

    def __init__(
        self, folder: Path, *, keep: int = 2, seconds: float = 0.0, written_by: str = "our own engine"
    ) -> None:
        self.folder, self.keep, self.seconds = folder, keep, seconds
        processes = distributed.world_size()
        self.written_by = f"{written_by} on {processes} process" + "es" * (processes > 1)
        self._last = time.monotonic()

    @classmethod
    def of(cls, job: Job) -> Checkpoints:
        """A job's own, as compute.checkpoint_seconds and compute.checkpoints_kept say."""
        compute = job.params.compute
        return cls(
            job.out / "checkpoints",
            keep=compute.checkpoints_kept,
            seconds=compute.checkpoint_seconds,
            written_by=engine_name(compute),
        )

    def is_due(self) -> bool:
        """True where it is time for another; every process gets the answer of the slowest clock."""
        return distributed.largest(time.monotonic() - self._last) >= self.seconds

    def save(self, step: int, state: Mapping[str, Any], write: Callable[[Path], None] | None = None) -> None:
        """Write `state` (nested dicts and lists of tensors, numbers, strings) as the checkpoint of `step`.

        write(folder) adds files of its own.
        """
        final, aside = self._of(step), self.folder / f"writing-{step:06d}"
        if distributed.rank() == 0:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        distributed.barrier()
        tensors: dict[str, Tensor] = {}
        rest = _take_apart(state, "", tensors)
        name = f"rank-{distributed.rank()}"
        save_file(tensors, aside / f"{name}.safetensors")
        _link_where_same(aside / f"{name}.safetensors", aside / "rank-0.safetensors")
        (aside / f"{name}.json").write_text(json.dumps(rest), encoding="utf-8")
        if write is not None:
            write(aside)
        distributed.barrier()
        if distributed.rank() == 0:
            files = [path for path in sorted(aside.rglob("*")) if path.is_file()]
            sums = _checksums(aside, files)
            about = {"step": step, "written_by": self.written_by, "sha256": sums}
            (aside / CHECKSUMS).write_text(json.dumps(about), encoding="utf-8")
            for path in [*files, aside / CHECKSUMS, aside]:
                _sync(path)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(aside, final)
            _sync(self.folder)
            own = [
                folder
                for folder in self._all()
                if _about(folder).get("written_by") in (None, self.written_by)
            ]
            for old in own[self.keep :]:  # and no other's, which its writer may come back to
                shutil.rmtree(old)
        self._last = time.monotonic()
        distributed.barrier()

    def latest(self) -> tuple[int, dict[str, Any], Path] | None:
        """(step, state, folder) of the newest checkpoint that is whole, or None. Any other is named in a warning."""
        for folder in self._all():
            found = damage(folder, self.written_by) if distributed.rank() == 0 else None
            wrong = distributed.gather(found)[0]
            if wrong is None:
                step = int(folder.name.rsplit("-", 1)[1])
                name = f"rank-{distributed.rank()}"
                rest = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
                return step, _put_together(rest, load_file(folder / f"{name}.safetensors")), folder
            log.warning("%s cannot be used (%s): going on from the one before it", folder, wrong)
        return None

    def _of(self, step: int) -> Path:
        return self.folder / f"checkpoint-{step:06d}"

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*"), reverse=True)


def damage(folder: Path, written_by: str) -> str | None:
    """What is wrong with a checkpoint, or None where it is as `written_by` wrote it."""
    about = _about(folder)
    if not about:
        return f"{CHECKSUMS} cannot be read"
    if about["written_by"] != written_by:
        return f"it was written by {about['written_by']}, and this is {written_by}"
    for name, expected in about["sha256"].items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if _checksum(file) != expected:
            return f"{name} is not what was written"
    return None


def _checksums(folder: Path, files: list[Path]) -> dict[str, str]:
    """{path in `folder`: digest}; a file under several names is read once."""
    read: dict[int, str] = {}
    sums = {}
    for file in files:
        number = file.stat().st_ino
        read[number] = read.get(number) or _checksum(file)
        sums[str(file.relative_to(folder))] = read[number]
    return sums


def _link_where_same(own: Path, first: Path) -> None:
    """One file where every process holds the same, as without ZeRO: a model's optimizer is large. A copy where links are not."""
    digests = distributed.gather(_checksum(own))
    if distributed.rank() and digests[distributed.rank()] == digests[0]:
        link = own.with_suffix(".link")
        with suppress(OSError):
            os.link(first, link)
            os.replace(link, own)


def _about(folder: Path) -> dict[str, Any]:
    """What stands in a checkpoint's checksums.json: step, written_by, sha256 {file: digest}; {} where it cannot be read."""
    try:
        about = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        return {name: about[name] for name in ("step", "written_by", "sha256")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def engine_name(compute: ComputeParams) -> str:
    """Whose states a checkpoint holds: ours are those of a module and an optimizer, ZeRO's are parts of them."""
    if compute.launcher != "deepspeed":
        return "our own engine"
    settings = compute.deepspeed_settings()
    return f"DeepSpeed ZeRO {settings.get('zero_optimization', {}).get('stage', 0)}"


def random_state() -> dict[str, Any]:
    """Where every global generator of this process stands."""
    version, key, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "python": [version, list(key), gauss],
        "numpy": {**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].tolist()}},  # type: ignore[dict-item]
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Back to where `random_state` found them."""
    version, key, gauss = state["python"]
    random.setstate((version, tuple(key), gauss))
    numpy = state["numpy"]
    key = np.array(numpy["state"]["key"], dtype=np.uint32)
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})
    torch.set_rng_state(state["torch"])
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])


def cut_log(file: Path, key: str, last: int) -> None:
    """Drop the lines of a JSON Lines file whose `key` is past `last`, and a last line cut short by a kill."""
    if not file.is_file():
        return
    kept = []
    for line in file.read_bytes().split(
        b"\n"
    ):  # in bytes: a cut may go through a character, and text has other line ends
        try:
            number = json.loads(line)[key]
        except ValueError:
            break
        if number <= last:
            kept.append(line + b"\n")
    aside = file.with_name(file.name + ".tmp")
    aside.write_bytes(b"".join(kept))
    os.replace(aside, file)


def _take_apart(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {_TENSOR: path}
    if isinstance(value, Mapping):  # as pairs: the keys of an optimizer's state are numbers
        return {"$pairs": [[key, _take_apart(one, f"{path}/{key}", tensors)] for key, one in value.items()]}
    if isinstance(value, list | tuple):
        return [_take_apart(one, f"{path}/{at}", tensors) for at, one in enumerate(value)]
    return value


def _put_together(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _put_together(one, tensors) for key, one in value["$pairs"]}
    if isinstance(value, list):
        return [_put_together(one, tensors) for one in value]
    return value


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
