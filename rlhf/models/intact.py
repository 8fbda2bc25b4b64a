"""A model directory from outside, looked at before it is opened: whole, of plain data, and a causal language model.

Only JSON, text and safetensors are read. Code and pickles beside them are left alone and named: nothing in a directory is run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from rlhf.models.plain import PICKLED

LFS = b"version https://git-lfs"
HUB = re.compile(r"^[\w.-]+/[\w.-]+$")


def require_importable(path: str, key: str) -> list[str]:
    """What is left alone in the directory, a sentence each; raises ValueError, in one sentence, unless it can be imported.

    key: the parameter that names it.
    """
    folder = Path(path)
    if not folder.is_dir():
        hint = "; a model of a hub is downloaded first, and its folder named here" if HUB.match(path) else ""
        raise ValueError(f"{key}: the directory {path} does not exist{hint}")
    where = f"{key} {path}"
    if not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"{where} holds an adapter and no model: merge it into its base first, and name the result"
        )
    config = _json(folder, "config.json", where)
    _require_causal(config, where)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if (folder / name).is_file():
            _json(folder, name, where)
    _require_whole(folder, where)
    return _left_alone(folder, config)


def _json(folder: Path, name: str, where: str) -> dict[str, Any]:
    file = folder / name
    if not file.is_file():
        raise ValueError(f"{where} is no Hugging Face model directory: there is no {name} in it")
    raw = file.read_bytes()
    if raw.startswith(LFS):
        raise ValueError(f"{where}: {name} is a git-lfs pointer and not the file: `git lfs pull` brings it")
    try:
        value = json.loads(raw)
    except ValueError:
        said = "is empty" if not raw.strip() else "is no JSON: it may be cut"
        raise ValueError(f"{where}: {name} {said}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: {name} holds no JSON object")
    return value


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
    if config.get("quantization_config"):
        method = config["quantization_config"].get("quant_method", "a method without a name")
        raise ValueError(
            f"{where}: its weights are quantised ({method}); allowed: float32, bfloat16 or float16"
        )


def _require_whole(folder: Path, where: str) -> None:
    """Every shard is there and as long as its header says, and no weight is NaN or infinite."""
    index = folder / "model.safetensors.index.json"
    files = sorted(folder.glob("*.safetensors"))
    if index.is_file():
        names = sorted(set(_json(folder, index.name, where).get("weight_map", {}).values()))
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise ValueError(f"{where} lacks {missing[0]}, which {index.name} names")
        files = [folder / name for name in names]
    if not files:
        pickled = [file.name for file in sorted(folder.iterdir()) if file.suffix in PICKLED]
        said = f"; {pickled[0]} is pickled, and only safetensors are opened" if pickled else ""
        raise ValueError(f"{where} has no .safetensors weights{said}")
    for file in files:
        with file.open("rb") as start:
            if start.read(len(LFS)) == LFS:
                raise ValueError(
                    f"{where}: {file.name} is a git-lfs pointer and not the weights: `git lfs pull` brings them"
                )
        try:
            with safe_open(file, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118
                    value = weights.get_tensor(name)
                    if value.is_floating_point() and not torch.isfinite(value.sum(dtype=torch.float64)):
                        raise ValueError(f"{where}: {file.name}, tensor {name} holds NaN or infinite numbers")
        except SafetensorError as error:
            raise ValueError(
                f"{where}: {file.name} is no whole safetensors file, it may be cut ({error})"
            ) from None


def _left_alone(folder: Path, config: dict[str, Any]) -> list[str]:
    pickled = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.suffix in PICKLED)
    code = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.py"))
    said = []
    if pickled:
        said.append(f"pickled files are left alone: {_some(pickled)}")
    if code or "auto_map" in config:
        said.append(f"its own code is not run{': ' + _some(code) if code else ' (auto_map)'}")
    return said


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def require_loaded(info: dict[str, Any], where: str) -> None:
    """Raise ValueError where transformers found no weight for a parameter, and drew it by chance, or could not use one.

    info: what from_pretrained gives with output_loading_info.
    """
    for name, said in (("missing_keys", "lacks"), ("mismatched_keys", "has another shape of")):
        if found := sorted(str(key) for key in info.get(name) or []):
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise ValueError(f"{where} {said} {found[0]}{more}: it would be drawn by chance")


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
