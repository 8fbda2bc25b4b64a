"""LoRA adapters from outside: merged at import they give what the base with its adapter gives, or are refused in one sentence."""

from __future__ import annotations

import json
from datetime import date

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from rlhf.models import adapter, directories, importing, tokenizer

IDS = torch.tensor([[5, 7, 9, 20, 44]])
TARGETS = {
    "attention": {"target_modules": ["q_proj", "v_proj"]},
    "attention, as peft's rank-stabilised variant": {"target_modules": ["q_proj"], "use_rslora": True},
    "directions (DoRA)": {"target_modules": ["q_proj", "up_proj"], "use_dora": True},
    "the output matrix": {"target_modules": ["q_proj", "lm_head"]},
    "the input table": {"target_modules": ["embed_tokens"]},
    "both tables, tied": {"target_modules": ["q_proj", "embed_tokens", "lm_head"], "ensure_weight_tying": True},
    "a whole table": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
}  # fmt: skip


def words():
    return tokenizer.train(["the river runs past the castle", "who built the northern gate"], 300, 64)


@pytest.fixture
def base(tmp_path):
    def make(*, tied):
        torch.manual_seed(0)
        spoken = words()
        spoken.pad_token = None
        config = LlamaConfig(
            vocab_size=len(spoken), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            eos_token_id=spoken.eos_token_id, tie_word_embeddings=tied,
        )  # fmt: skip
        folder = tmp_path / "base"
        LlamaForCausalLM(config).save_pretrained(folder)
        spoken.save_pretrained(folder)
        return folder

    return make


def trained(folder, target, **how):
    """An adapter as somebody else trained it: every number of it is another than where it began."""
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder), LoraConfig(r=4, task_type="CAUSAL_LM", **how)
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(target)
    return target


def bring(folder, adapted, target, **more):
    return importing.import_model(
        str(folder), target, key="base.path", longest=("base.context", 64), today=date(2026, 1, 1),
        adapter=str(adapted), **more,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*tie:UserWarning")
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("targets", TARGETS)
def test_a_merged_adapter_gives_what_base_and_adapter_give(base, tmp_path, targets, tied):
    folder = base(tied=tied)
    adapted = trained(folder, tmp_path / "adapter", **TARGETS[targets])
    plain = AutoModelForCausalLM.from_pretrained(folder)
    before = plain(IDS).logits
    right = PeftModel.from_pretrained(plain, adapted)(IDS).logits
    assert float((right - before).abs().max()) > 0.003
    figures = bring(folder, adapted, tmp_path / "model")
    mine = AutoModelForCausalLM.from_pretrained(tmp_path / "model")(IDS).logits
    torch.testing.assert_close(mine[..., : right.shape[-1]], right, atol=1e-5, rtol=1e-5)
    assert any("the adapter adapter of rank 4 is merged into it" in sentence for sentence in figures["said"])


def test_an_adapter_is_added_in_float32_before_weights_are_rounded(base, tmp_path):
    folder = base(tied=False)
    adapted = trained(folder, tmp_path / "adapter", target_modules=["q_proj"])
    bring(folder, adapted, tmp_path / "exact")
    bring(folder, adapted, tmp_path / "model", dtype="bfloat16")
    exact, rounded = (load_file(tmp_path / name / "model.safetensors") for name in ("exact", "model"))
    for name, value in exact.items():
        assert torch.equal(rounded[name], value.to(torch.bfloat16)), name


def test_an_adapter_brings_its_own_tokenizer(base, tmp_path):
    folder = base(tied=False)
    adapted = trained(folder, tmp_path / "adapter", target_modules=["q_proj"])
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"base\.path .* has no chat template"):
        bring(folder, adapted, tmp_path / "model")
    words().save_pretrained(adapted)
    assert "the tokenizer is its adapter's" in bring(folder, adapted, tmp_path / "model")["said"]
    assert directories.load_tokenizer(tmp_path / "model").chat_template


def edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def weights(folder, change):
    tensors = load_file(folder / adapter.WEIGHTS)
    change(tensors)
    save_file(tensors, folder / adapter.WEIGHTS)


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
REFUSED = {
    "no config": (lambda d: (d / adapter.CONFIG).unlink(), r"is no adapter: there is no adapter_config\.json"),
    "cut config": (lambda d: (d / adapter.CONFIG).write_text('{"r"'), r"adapter_config\.json is no JSON"),
    "another kind": (lambda d: edit(d / adapter.CONFIG, peft_type="IA3"), "has peft_type IA3"),
    "a classifier's": (lambda d: edit(d / adapter.CONFIG, task_type="SEQ_CLS"), "task_type SEQ_CLS"),
    "a module to import": (lambda d: edit(d / adapter.CONFIG, megatron_config={}, megatron_core="os") or
                           edit(d / adapter.CONFIG, megatron_config={"a": 1}), "has a megatron_config"),
    "pickled": (lambda d: (d / adapter.WEIGHTS).rename(d / "adapter_model.bin"), r"adapter_model\.bin is pickled"),
    "lfs": (lambda d: (d / adapter.WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n"), "git-lfs pointer"),
    "NaN": (lambda d: weights(d, lambda t: t[FIRST].fill_(float("nan"))), rf"tensor {FIRST} holds NaN"),
    "a lost tensor": (lambda d: weights(d, lambda t: t.pop(FIRST)), rf"lacks {FIRST}, which its adapter_config\.json asks"),
    "of a wider base": (
        lambda d: weights(d, lambda t: t.update({FIRST: torch.zeros(4, 32)})),
        rf"{FIRST} has shape \[4, 32\], and the base has room for \[4, 16\]",
    ),
    "of a deeper base": (
        lambda d: weights(d, lambda t: t.update({FIRST.replace("layers.0", "layers.7"): t[FIRST].clone()})),
        r"layers\.7.* and the base has no such weight; allowed: the base that it was trained on",
    ),
    "of another architecture": (lambda d: edit(d / adapter.CONFIG, target_modules=["c_attn"]), "does not fit the base"),
}  # fmt: skip


@pytest.mark.parametrize("spoiled", REFUSED)
def test_what_cannot_be_merged_is_one_sentence(base, tmp_path, spoiled):
    folder = base(tied=False)
    adapted = trained(folder, tmp_path / "adapter", target_modules=["q_proj"])
    spoil, sentence = REFUSED[spoiled]
    spoil(adapted)
    with pytest.raises(ValueError, match=sentence) as error:
        bring(folder, adapted, tmp_path / "model")
    said = str(error.value)
    assert said.startswith(f"base.adapter {adapted}") and "\n" not in said
    assert not (tmp_path / "model").exists()
