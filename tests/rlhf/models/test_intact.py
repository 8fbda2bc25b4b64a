"""Model directories from outside as people have them: what is left alone and named, and what is refused in one sentence."""

from __future__ import annotations

import json
import logging
from datetime import date

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from rlhf.models import directories, importing, intact, tokenizer

WORDS = tokenizer.train(["the river runs past the castle", "who built the northern gate"], 300, 64)
SHAPE = {
    "vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "eos_token_id": WORDS.eos_token_id,
}  # fmt: skip
IDS = torch.tensor([[5, 7, 9, 20]])


def saved(folder, *, tied=False, spare=0):
    torch.manual_seed(0)
    words = tokenizer.train(["the river runs past the castle", "who built the northern gate"], 300, 64)
    words.pad_token = None
    shape = SHAPE | {"vocab_size": len(WORDS) + spare}
    LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=tied)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture
def outside(tmp_path):
    return saved(tmp_path / "outside")


def bring(source, target):
    return importing.import_model(
        str(source), target, key="base.path", longest=("base.context", 64), today=date(2026, 1, 1)
    )


def edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def cut(file, share=0.7):
    raw = file.read_bytes()
    file.write_bytes(raw[: int(share * len(raw))])


def sharded(folder):
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


REFUSED = {
    "cut weights": (lambda d: cut(d / "model.safetensors"), r"model\.safetensors is no whole safetensors file"),
    "cut header": (lambda d: cut(d / "model.safetensors", 0.001), "no whole safetensors file"),
    "no shard": (sharded, r"lacks model-00001-of-00002\.safetensors, which model\.safetensors\.index\.json names"),
    "NaN": (
        lambda d: weights(d, lambda t: t["model.norm.weight"].fill_(float("nan"))),
        r"tensor model\.norm\.weight holds NaN",
    ),
    "infinite": (
        lambda d: weights(d, lambda t: t["lm_head.weight"][3].fill_(float("inf"))),
        r"tensor lm_head\.weight holds NaN or infinite",
    ),
    "a missing weight": (
        lambda d: weights(d, lambda t: t.pop("model.layers.0.mlp.up_proj.weight")),
        r"lacks model\.layers\.0\.mlp\.up_proj\.weight: it would be drawn by chance",
    ),
    "no head": (lambda d: weights(d, lambda t: t.pop("lm_head.weight")), r"lacks lm_head\.weight"),
    "lfs weights": (
        lambda d: (d / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        r"model\.safetensors is a git-lfs pointer",
    ),
    "lfs tokenizer": (
        lambda d: (d / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        r"tokenizer\.json is a git-lfs pointer",
    ),
    "empty config": (lambda d: (d / "config.json").write_text(""), r"config\.json is empty"),
    "cut config": (lambda d: cut(d / "config.json"), r"config\.json is no JSON: it may be cut"),
    "cut tokenizer": (lambda d: cut(d / "tokenizer.json"), r"tokenizer\.json is no JSON"),
    "a list": (lambda d: (d / "config.json").write_text("[]"), r"config\.json holds no JSON object"),
    "no family": (lambda d: edit(d / "config.json", model_type=None), "names no model_type"),
    "another family": (
        lambda d: edit(d / "config.json", model_type="mine", auto_map={"AutoModel": "mine.Model"}),
        r"'mine' is not one that transformers has, and its own code \(auto_map\) is not run",
    ),
    "quantised": (
        lambda d: edit(d / "config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        r"its weights are quantised \(gptq\)",
    ),
    "pickled alone": (
        lambda d: (d / "model.safetensors").rename(d / "pytorch_model.bin"),
        r"no \.safetensors weights; pytorch_model\.bin is pickled",
    ),
    "an adapter": (
        lambda d: (d / "config.json").rename(d / "adapter_config.json"),
        "holds an adapter and no model: merge it into its base first",
    ),
}  # fmt: skip


@pytest.mark.parametrize("spoiled", REFUSED)
def test_what_cannot_be_imported_is_one_sentence(outside, tmp_path, spoiled):
    spoil, sentence = REFUSED[spoiled]
    spoil(outside)
    with pytest.raises(ValueError, match=sentence) as error:
        bring(outside, tmp_path / "model")
    said = str(error.value)
    assert said.startswith(f"base.path {outside}") and "\n" not in said
    assert not (tmp_path / "model").exists()


def test_other_kinds_of_models_are_named(tmp_path):
    config = LlamaConfig(**SHAPE, num_labels=1, pad_token_id=3)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "classifier")
    with pytest.raises(
        ValueError, match=r"is a sequence classifier \(LlamaForSequenceClassification\), whose head"
    ):
        intact.require_importable(str(tmp_path / "classifier"), "reward_model.base")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=99, **small)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="holds a BertModel; allowed: a causal language model"):
        intact.require_importable(str(tmp_path / "bert"), "base.path")
    with pytest.raises(ValueError, match="does not exist; a model of a hub is downloaded first"):
        intact.require_importable("Qwen/Qwen3-0.6B", "base.path")


def test_pickles_and_code_beside_safetensors_are_left_alone_and_named(outside, tmp_path, caplog):
    """As in a checkpoint of Hugging Face's trainer, and in directories of families that transformers has by now."""
    for name in (
        "optimizer.pt",
        "training_args.bin",
        "scheduler.pt",
        "rng_state.pth",
        "original/weights.pth",
    ):
        (outside / name).parent.mkdir(exist_ok=True)
        (outside / name).write_bytes(b"not opened")
    (outside / "modeling_llama.py").write_text("raise SystemExit('it ran')")
    edit(outside / "config.json", auto_map={"AutoModelForCausalLM": "modeling_llama.Model"})
    with caplog.at_level(logging.WARNING):
        bring(outside, tmp_path / "model")
    assert (
        "pickled files are left alone: optimizer.pt, original/weights.pth, rng_state.pth and 2 more"
        in caplog.text
    )
    assert "its own code is not run: modeling_llama.py" in caplog.text
    assert not list((tmp_path / "model").glob("*.py")) and directories.load_policy(tmp_path / "model")


@pytest.mark.parametrize("kind", ["tied", "tied, and the tables differ", "untied"])
@pytest.mark.parametrize("spare", [0, 8])
def test_an_import_gives_the_logits_of_its_source(tmp_path, kind, spare):
    """Without a pad token, so that one is added and, where no row is spare, the tables grow."""
    folder = saved(tmp_path / "outside", tied=kind == "tied", spare=spare)
    if kind == "tied, and the tables differ":
        edit(folder / "config.json", tie_word_embeddings=True)
    right = AutoModelForCausalLM.from_pretrained(folder)(IDS).logits
    bring(folder, tmp_path / "model")
    mine = AutoModelForCausalLM.from_pretrained(tmp_path / "model")(IDS).logits
    torch.testing.assert_close(mine[..., : len(WORDS)], right[..., : len(WORDS)], atol=1e-5, rtol=0)
