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
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertLMHeadModel,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from rlhf.models import directories, importing, intact, openable, tokenizer

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


def end_by(folder, token):
    words = AutoTokenizer.from_pretrained(folder)
    words.add_special_tokens({"eos_token": token})
    words.save_pretrained(folder)


Q = "model.layers.0.self_attn.q_proj.weight"
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
    "no index": (
        lambda d: (d / "model.safetensors").rename(d / "model-00001-of-00002.safetensors"),
        r"lacks model\.safetensors\.index\.json, which says what is in model-00001-of-00002",
    ),
    "an index of elsewhere": (
        lambda d: (d / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../b.safetensors"}}'),
        "has no weight_map of tensors to files beside it",
    ),
    "weights of llama.cpp": (
        lambda d: (d / "model.safetensors").rename(d / "model.gguf"), r"weights; model\.gguf is of llama\.cpp",
    ),
    "quantised in silence": (
        lambda d: weights(d, lambda t: t.update({Q: t[Q].to(torch.float8_e4m3fn)})),
        rf"its weights are quantised \(model\.safetensors, tensor {Q} is F8_E4M3\)",
    ),
    "compressed": (
        lambda d: edit(d / "config.json", compression_config={"format": "int-quantized"}), "quantised .compression_config",
    ),
    "another shape": (
        lambda d: weights(d, lambda t: t.update({Q: torch.zeros(16, 8)})),
        rf"{Q} has shape \[16, 8\], and its config\.json says \[16, 16\]",
    ),
    "a layer more": (
        lambda d: weights(d, lambda t: t.update({Q.replace("layers.0", "layers.1"): t[Q].clone()})),
        r"holds model\.layers\.1\.self_attn.*for which its config\.json leaves no place",
    ),
    "a bias more": (
        lambda d: weights(d, lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(16)})),
        r"holds model\.layers\.0\.self_attn\.q_proj\.bias, for which",
    ),
    "impossible numbers": (
        lambda d: edit(d / "config.json", num_attention_heads=3), "does not open its config.json .*not a multiple of",
    ),
    "no tokenizer": (lambda d: (d / "tokenizer.json").unlink(), r"has no tokenizer: there is no tokenizer\.json in it"),
    "no real tokenizer": (
        lambda d: edit(d / "tokenizer.json", model={"type": "BPE"}), "its tokenizer does not open .*Missing vocab",
    ),
    "a tokenizer of code": (
        lambda d: edit(d / "tokenizer_config.json", tokenizer_class="Mine", auto_map={"AutoTokenizer": ["mine.Mine", None]}),
        "its tokenizer does not open .*custom code",
    ),
    "cut tokenizer settings": (lambda d: cut(d / "tokenizer_config.json"), r"tokenizer_config\.json is no JSON"),
    "lfs template": (
        lambda d: (d / "chat_template.jinja").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        r"chat_template\.jinja is a git-lfs pointer",
    ),
    "a tokenizer of another model": (
        lambda d: tokenizer.train(["zebras, quivers & jugs"] + [str(n) for n in range(3000)], 400, 64).save_pretrained(d),
        r"tokens of its tokenizer have no row among the model's 296; allowed: the tokenizer that the model was trained with",
    ),
    "EOS without a row": (lambda d: end_by(d, "<|new|>"), r"EOS token <\|new\|> is token 296, and the model has 296 rows"),
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
    WORDS.save_pretrained(tmp_path / "both ways")
    BertLMHeadModel(BertConfig(vocab_size=len(WORDS), **small)).save_pretrained(tmp_path / "both ways")
    with pytest.raises(ValueError, match="BertLMHeadModel reads the tokens after the one that it predicts"):
        bring(tmp_path / "both ways", tmp_path / "model")
    shape = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    BartForConditionalGeneration(BartConfig(vocab_size=99, d_model=16, **shape, **heads)).save_pretrained(
        tmp_path / "bart"
    )
    with pytest.raises(ValueError, match="is of the family bart; allowed: a causal language model"):
        intact.require_importable(str(tmp_path / "bart"), "base.path")
    with pytest.raises(
        ValueError, match=r"does not exist; .*: `hf download Qwen/Qwen3-0\.6B --local-dir Qwen3-0\.6B`"
    ):
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


def test_a_head_beside_a_whole_model_is_left_alone_and_named(outside, tmp_path, caplog):
    """As trl saves a policy with a value head."""
    right = AutoModelForCausalLM.from_pretrained(outside)(IDS).logits
    weights(outside, lambda t: t.update({"v_head.summary.weight": torch.zeros(1, 16)}))
    with caplog.at_level(logging.WARNING):
        bring(outside, tmp_path / "model")
    assert "weights of another head are left alone: v_head.summary.weight" in caplog.text
    mine = AutoModelForCausalLM.from_pretrained(tmp_path / "model")(IDS).logits
    torch.testing.assert_close(mine[..., : len(WORDS)], right, atol=1e-6, rtol=0)


def test_added_tokens_without_a_row_get_the_mean_of_the_others(outside, tmp_path):
    """As in Gemma 3 of 1B, whose tokenizer knows an image token that the model has no row for."""
    words = AutoTokenizer.from_pretrained(outside)
    words.add_tokens(["<image>"], special_tokens=True)
    words.save_pretrained(outside)
    bring(outside, tmp_path / "model")
    table = load_file(tmp_path / "model" / "model.safetensors")["model.embed_tokens.weight"]
    mean = table[: len(WORDS)].mean(0)
    assert len(table) == len(WORDS) + 1
    torch.testing.assert_close(table[-1], mean)


def test_numbers_are_read_a_tensor_at_a_time(outside, monkeypatch):
    """What a first look at a directory does not read, however large it is."""
    monkeypatch.setattr(intact, "require_finite", None)
    assert openable.require_openable(str(outside), "base.path", ("base.context", 64)).said == []
