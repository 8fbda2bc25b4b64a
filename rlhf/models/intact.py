"""The files of a model directory from outside, looked at before it is opened: whole, of plain data, of a causal language model.

Only JSON, text and safetensors are read. Code and pickles beside them are left alone and named: nothing in a directory is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rlhf.models.plain import PICKLED

LFS = b"version https://git-lfs"
HUB = re.compile(r"^[\w.-]+/[\w.-]+$")
INDEX = "model.safetensors.index.json"
#: JSON that is read where it is there
READ = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json")
TEXT = {".json", ".jinja", ".txt", ".model", ".tiktoken", ".safetensors"}
FLOATS = {"F64", "F32", "F16", "BF16"}


def require_importable(path: str, key: str) -> list[str]:
    """What is left alone in the directory, a sentence each; raises ValueError, in one sentence, unless it can be imported.

    key: the parameter that names it. Of weights the headers alone are read; `require_finite` reads the numbers.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"{key}: the directory {path} does not exist{_how_to_download(path)}")
    where = f"{key} {path}"
    if not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
        option = ", or name its base as base.path and it as base.adapter" if key == "base.path" else ""
        raise ValueError(
            f"{where} holds an adapter and no model: merge it into its base first, and name the result{option}"
        )
    config = read_json(folder, "config.json", where)
    _require_causal(config, where)
    for name in READ:
        if (folder / name).is_file():
            read_json(folder, name, where)
    for file in sorted(folder.iterdir()):
        if file.suffix in TEXT and file.is_file():
            require_no_pointer(file, where)
    for file in weight_files(folder, where):
        require_numbers(file, where)
    return left_alone(folder, config)


def _how_to_download(path: str) -> str:
    if not HUB.match(path):
        return ""
    name = path.partition("/")[2]
    return (
        f"; a model of a hub is downloaded first, and its folder named here: "
        f"`hf download {path} --local-dir {name}`, then {name}"
    )


def read_json(folder: Path, name: str, where: str) -> dict[str, Any]:
    """The object in a file of the directory; ValueError where there is none, it is cut, or it is a git-lfs pointer."""
    file = folder / name
    if not file.is_file():
        raise ValueError(f"{where} is no Hugging Face model directory: there is no {name} in it")
    require_no_pointer(file, where)
    raw = file.read_bytes()
    try:
        value = json.loads(raw)
    except ValueError:
        said = "is empty" if not raw.strip() else "is no JSON: it may be cut"
        raise ValueError(f"{where}: {name} {said}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {name} holds no JSON object")
    return value


def require_no_pointer(file: Path, where: str) -> None:
    with file.open("rb") as start:
        if start.read(len(LFS)) == LFS:
            raise ValueError(
                f"{where}: {file.name} is a git-lfs pointer and not the file: `git lfs pull` brings it"
            )


def _require_causal(config: dict[str, Any], where: str) -> None:
    kind, shapes = config.get("model_type"), config.get("architectures") or []
    if kind is None:
        raise ValueError(f"{where}: config.json names no model_type")
    if kind not in CONFIG_MAPPING_NAMES:
        code = ", and its own code (auto_map) is not run" if "auto_map" in config else ""
        raise ValueError(f"{where}: config.json's model_type {kind!r} is not one that transformers has{code}")
    if any("ForSequenceClassification" in shape for shape in shapes):
        raise ValueError(
            f"{where} is a sequence classifier ({shapes[0]}), whose head would be lost; allowed: a causal language model"
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or config.get("is_encoder_decoder"):
        raise ValueError(f"{where} is of the family {kind}; allowed: a causal language model")
    if shapes and not any("CausalLM" in s or "LMHead" in s or "ConditionalGeneration" in s for s in shapes):
        raise ValueError(
            f"{where} holds a {shapes[0]}; allowed: a causal language model with its output matrix"
        )
    for key in ("quantization_config", "compression_config"):
        if config.get(key):
            method = config[key].get("quant_method") if isinstance(config[key], dict) else None
            raise _quantised(where, method or f"{key} in config.json")


def _quantised(where: str, how: str) -> ValueError:
    return ValueError(f"{where}: its weights are quantised ({how}); allowed: float32, bfloat16 or float16")


def weight_files(folder: Path, where: str) -> list[Path]:
    """The safetensors files that transformers opens, all there; ValueError where one is missing."""
    whole, index = folder / "model.safetensors", folder / INDEX
    if index.is_file():
        shards = read_json(folder, INDEX, where).get("weight_map")
        if not isinstance(shards, dict) or not all(
            isinstance(name, str) and Path(name).name == name for name in shards.values()
        ):
            raise ValueError(f"{where}: {INDEX} has no weight_map of tensors to files beside it")
        names = sorted(set(shards.values()))
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ValueError(f"{where} lacks {missing[0]}, which {INDEX} names")
        return [*([whole] if whole.is_file() else []), *(folder / name for name in names)]
    if whole.is_file():
        return [whole]
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    if any("-of-" in name for name in others):
        raise ValueError(f"{where} lacks {INDEX}, which says what is in {others[0]}")
    if others:
        raise ValueError(f"{where} has no model.safetensors; {others[0]} is not read")
    foreign = sorted(f.name for f in folder.iterdir() if f.suffix in PICKLED)
    gguf = sorted(f.name for f in folder.glob("*.gguf"))
    said = (
        f"; {foreign[0]} is pickled, and only safetensors are opened"
        if foreign
        else (f"; {gguf[0]} is of llama.cpp, and only safetensors are opened" if gguf else "")
    )
    raise ValueError(f"{where} has no .safetensors weights{said}")


def require_numbers(file: Path, where: str) -> None:
    """Raise ValueError unless the file is as long as its header says, and its weights are floats of 16 bits or more."""
    with _opened(file, where) as weights:
        for name in weights.keys():  # noqa: SIM118
            dtype = weights.get_slice(name).get_dtype()
            if dtype not in FLOATS and (name.endswith(".weight") or dtype.startswith(("F8", "F4", "F6"))):
                raise _quantised(where, f"{file.name}, tensor {name} is {dtype}")


def require_finite(file: Path, where: str) -> None:
    """Raise ValueError where a weight in a safetensors file is NaN or infinite. One tensor is in memory at a time."""
    with _opened(file, where) as weights:
        for name in weights.keys():  # noqa: SIM118
            value = weights.get_tensor(name)
            if (
                value.is_floating_point()
                and value.numel()
                and not all(torch.isfinite(edge) for edge in torch.aminmax(value))
            ):
                raise ValueError(f"{where}: {file.name}, tensor {name} holds NaN or infinite numbers")


@contextmanager
def _opened(file: Path, where: str) -> Iterator[Any]:
    """safe_open, whose errors are one sentence."""
    try:
        with safe_open(file, framework="pt") as weights:
            yield weights
    except SafetensorError as error:
        raise ValueError(
            f"{where}: {file.name} is no whole safetensors file, it may be cut ({error})"
        ) from None


def left_alone(folder: Path, config: dict[str, Any]) -> list[str]:
    """Files of the directory that are never opened, a sentence a kind. config: what its config.json holds."""
    pickled = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.suffix in PICKLED)
    code = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.py"))
    said = []
    if pickled:
        said.append(f"pickled files are left alone: {some(pickled)}")
    if code or "auto_map" in config:
        own = f": {some(code)}" if code else " (auto_map)"
        said.append(f"its own code is not run{own}; transformers' own is")
    return said


def some(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def untie(model: Any) -> bool:
    """Whether the two tables of a model whose configuration ties them differ: then they are parted for good.

    transformers keeps both on load and ties them again at the next resize, which changes every logit.
    """
    config = model.config.get_text_config()
    if not getattr(config, "tie_word_embeddings", False):
        return False
    read, said = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    if read is said or torch.equal(read, said):
        return False
    model.config.tie_word_embeddings = config.tie_word_embeddings = False
    return True
