"""A LoRA adapter from outside (arXiv:2106.09685), merged into its base at import: W + (alpha/r)·B·A, and no adapter any more.

peft reads it. Only safetensors are opened, nothing is downloaded, and the merged model is compared with the base that carries
the adapter before anything is saved.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from rlhf.models import intact
from rlhf.models.probe import TOLERANCE, largest_gap, rows_of

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
KEY = "base.adapter"


def require_adapter(path: str) -> list[str]:
    """What is left alone in an adapter's directory, a sentence each; ValueError, in one sentence, unless it can be merged."""
    folder, where = Path(path), f"{KEY} {path}"
    if not folder.is_dir():
        raise ValueError(f"{KEY}: the directory {path} does not exist")
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{where} is no adapter: there is no {CONFIG} in it")
    config = intact.read_json(folder, CONFIG, where)
    if config.get("peft_type") != "LORA" or config.get("task_type") not in (None, "CAUSAL_LM"):
        found = f"peft_type {config.get('peft_type')}, task_type {config.get('task_type')}"
        raise ValueError(f"{where}: {CONFIG} has {found}; allowed: peft_type LORA, task_type CAUSAL_LM")
    if config.get("megatron_config"):  # names a module to import
        raise ValueError(f"{where}: {CONFIG} has a megatron_config; allowed: none")
    if not (folder / WEIGHTS).is_file():
        pickled = [file.name for file in sorted(folder.glob("adapter_model.*"))]
        said = f"; {pickled[0]} is pickled, and only safetensors are opened" if pickled else ""
        raise ValueError(f"{where} has no {WEIGHTS}{said}")
    for name in intact.READ:
        if (folder / name).is_file():
            intact.read_json(folder, name, where)
    intact.require_no_pointer(folder / WEIGHTS, where)
    intact.require_numbers(folder / WEIGHTS, where)
    intact.require_finite(folder / WEIGHTS, where)  # small beside its base
    return intact.left_alone(folder, config)


def require_fit(model: Any, path: str) -> None:
    """Raise ValueError unless the adapter at `path` is one of the causal LM, which may be on the meta device; it is wrapped."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    where = f"{KEY} {path}"
    with _one_sentence(f"{where} does not fit the base"):
        config = LoraConfig.from_pretrained(path)
        config.init_lora_weights = False
        wrapped = get_peft_model(model, config)
        adapted = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    expected = {name: tuple(value.shape) for name, value in adapted.items()}
    own = {
        f"base_model.model.{name}": tuple(v.shape)
        for name, v in wrapped.get_base_model().state_dict().items()
    }
    own |= {
        name.replace(".base_layer.", "."): shape for name, shape in own.items()
    }  # tables that peft saves whole
    with safe_open(Path(path) / WEIGHTS, framework="pt") as weights:
        held = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    if missing := sorted(set(expected) - set(held)):
        raise ValueError(f"{where}: {WEIGHTS} lacks {missing[0]}, which its {CONFIG} asks for")
    for name, shape in sorted(held.items()):
        right = expected.get(name, own.get(name))
        if right != shape:
            room = f"has room for {list(right)}" if right else "has no such weight"
            raise ValueError(
                f"{where}: {name} has shape {list(shape)}, and the base {room}; allowed: the base that it was trained on"
            )


def merge(model: Any, path: str) -> tuple[Any, str]:
    """(the causal LM with the adapter at `path` added to its weights, a sentence about it). model: float32, changed in place.

    Raises ValueError where what comes of it is not the base with its adapter.
    """
    from peft import PeftModel

    where = f"{KEY} {path}"
    probes = rows_of(model)
    plain = _logits(model, probes)
    with _one_sentence(f"{where} cannot be merged"):
        adapted = PeftModel.from_pretrained(model, path, torch_device="cpu").eval()
        right = _logits(adapted, probes)
        has_parted = _part_tables(adapted.get_base_model())
        merged = adapted.merge_and_unload(safe_merge=True)
    if has_parted:
        has_parted = not _tie_again(merged)
    gap = largest_gap(_logits(merged, probes), right)
    if not gap <= TOLERANCE:
        raise ValueError(
            f"{where}: merged, logits are off by {gap:.1e} of the largest from the base with its adapter"
        )
    rank = adapted.peft_config["default"].r
    changes = max(float((one - other).abs().max()) for one, other in zip(right, plain, strict=True))
    said = f"the adapter {Path(path).name} of rank {rank} is merged into it, which moves logits by up to {changes:.2g}"
    return merged, said + ("; input table and output matrix, once tied, differ now" if has_parted else "")


@torch.no_grad()
def _logits(model: Any, rows: list[torch.Tensor]) -> list[torch.Tensor]:
    """[T, V] each, by the model's own forward pass of every row alone."""
    return [model(input_ids=row[None], use_cache=False).logits[0] for row in rows]


def _part_tables(model: Any) -> bool:
    """Whether an adapter sits on one of two tied tables: then each gets its own copy, to which what is its own is added.

    peft would add to the one matrix for both of its names, and so twice (ensure_weight_tying), or to a table that the adapter
    leaves alone.
    """
    read, said = model.get_input_embeddings(), model.get_output_embeddings()
    if _inner(read).weight is not _inner(said).weight or (_inner(read) is read and _inner(said) is said):
        return False
    _inner(said).weight = nn.Parameter(_inner(said).weight.detach().clone(), requires_grad=False)
    _say_tied(model, tied=False)
    return True


def _inner(module: Any) -> Any:
    """The layer below peft's."""
    for below in ("base_layer", "original_module"):
        if below in dict(module.named_children()):
            return _inner(getattr(module, below))
    return module


def _tie_again(model: Any) -> bool:
    """Whether both tables came out equal, and are one again."""
    read, said = model.get_input_embeddings(), model.get_output_embeddings()
    if not torch.equal(read.weight, said.weight):
        return False
    said.weight = read.weight
    _say_tied(model, tied=True)
    return True


def _say_tied(model: Any, *, tied: bool) -> None:
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = tied


@contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """peft raises errors of many classes on an adapter that is not one of the model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about keys and tables, which are checked here
        try:
            yield
        except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, NotImplementedError) as error:
            said = " ".join(str(error).split())
            raise ValueError(f"{what} ({said[:200]})") from error
