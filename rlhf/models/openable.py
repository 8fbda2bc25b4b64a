"""What transformers makes of a model directory from outside, found without reading its weights.

The model is built without memory (torch's meta device), so that a missing tensor, another shape and a tokenizer that does not
open are known in seconds, before anything is curated or trained, whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as library

from rlhf import templates
from rlhf.models import adapter as adapters
from rlhf.models import intact
from rlhf.models.suitable import longest_row

#: files that a tokenizer is read from
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")


class Found(NamedTuple):
    tokenizer: Any
    said: list[str]  # what is left alone, a sentence each


def require_openable(path: str, key: str, longest: tuple[str, int], *, adapter: str | None = None) -> Found:
    """Raises ValueError, in one sentence, unless transformers opens a whole causal language model in the directory, and a
    tokenizer that a conversation can be written with.

    key: the parameter that names the directory; longest: the parameter that says how many tokens its rows may have, and how many;
    adapter: a directory with a LoRA adapter of the model, whose tokenizer, if it holds one, is taken.
    """
    said = intact.require_importable(path, key)
    where = f"{key} {path}"
    model, info = _outlined(path, where)
    said += require_loaded(model, info, where)
    require_long_enough(model.config, longest, where)
    rows = model.get_input_embeddings().weight.shape[0]
    if adapter is not None:
        said += adapters.require_adapter(adapter)
        adapters.require_fit(model, adapter)
        if has_tokenizer(adapter):
            path, where = adapter, f"{adapters.KEY} {adapter}"
            said.append("the tokenizer is its adapter's")
    tokenizer = tokenizer_of(path, where)
    require_tokens(tokenizer, rows, where)
    return Found(tokenizer, said)


def _outlined(path: str, where: str) -> tuple[Any, dict[str, Any]]:
    """The causal LM without its numbers, and what its files lack or have too much of (transformers' loading info)."""
    with _one_sentence(f"{where}: transformers does not open its config.json and weights"):
        return AutoModelForCausalLM.from_pretrained(
            path,
            device_map="meta",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )


def tokenizer_of(path: str, where: str) -> Any:
    """The directory's tokenizer; ValueError where it has none, or none that opens."""
    if not has_tokenizer(path):
        raise ValueError(f"{where} has no tokenizer: there is no tokenizer.json in it")
    with _one_sentence(f"{where}: its tokenizer does not open"):
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)


def has_tokenizer(path: str) -> bool:
    return any((Path(path) / name).is_file() for name in TOKENIZERS)


def require_loaded(model: Any, info: dict[str, Any], where: str) -> list[str]:
    """What of the weights is left alone, a sentence each. Raises ValueError where a parameter has no weight, so that it would be
    drawn by chance, or a weight no parameter, so that the model is another than the one that was saved.

    A head of its own (v_head, score) beside a whole language model is left alone.
    """
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{where} lacks {missing[0]}{_more(missing)}: it would be drawn by chance")
    if mismatched := sorted(info["mismatched_keys"], key=str):
        name, found, expected = mismatched[0]
        raise ValueError(
            f"{where}: {name} has shape {list(found)}{_more(mismatched)}, and its config.json says {list(expected)}"
        )
    known = {name for name, _ in (*model.named_children(), *model.base_model.named_children())}
    unexpected = sorted(info["unexpected_keys"])
    inside = [name for name in unexpected if name.partition(".")[0] in known]
    if inside:
        raise ValueError(
            f"{where} holds {inside[0]}{_more(inside)}, for which its config.json leaves no place: without it the model is another"
        )
    return [f"weights of another head are left alone: {intact.some(unexpected)}"] if unexpected else []


def _more(names: list[Any]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def require_long_enough(config: Any, longest: tuple[str, int], where: str) -> None:
    positions = longest_row(config)
    if positions is not None and positions < longest[1]:
        raise ValueError(
            f"{longest[0]} is {longest[1]}, and the model at {where} has {positions} positions; allowed: at most {positions}"
        )


def require_tokens(tokenizer: Any, rows: int, where: str) -> None:
    """Raise ValueError unless the tokenizer is the model's and has what conversations need.

    rows: of the model's embedding. Added tokens without a row get one at import; a vocabulary without rows is another model's.
    """
    templates.require_usable(tokenizer, where)
    if tokenizer.eos_token_id is None:
        raise ValueError(
            f"{where} has no EOS token, and answers must end: add eos_token to its tokenizer_config.json"
        )
    added = tokenizer.added_tokens_decoder
    without = sorted(
        number for number in tokenizer.get_vocab().values() if number >= rows and number not in added
    )
    if without:
        raise ValueError(
            f"{where}: {len(without)} tokens of its tokenizer have no row among the model's {rows}; allowed: the tokenizer that "
            "the model was trained with"
        )
    if tokenizer.eos_token_id >= rows:
        raise ValueError(
            f"{where}: its tokenizer's EOS token {tokenizer.eos_token} is token {tokenizer.eos_token_id}, and the model has {rows} "
            "rows: it was never trained; allowed: an eos_token that the model knows"
        )


@contextmanager
def _one_sentence(what: str) -> Iterator[None]:
    """transformers, tokenizers and huggingface_hub raise errors of every class on data that they cannot use."""
    verbosity = library.get_verbosity()
    library.set_verbosity(library.CRITICAL)  # a table of what is missing, which is said in a sentence
    try:
        yield
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{what} ({type(error).__name__}: {said[:200]})") from error
    finally:
        library.set_verbosity(verbosity)
