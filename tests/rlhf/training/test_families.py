"""Fourteen families of models through import, SFT, reward model, PPO and export; transformers alone opens what comes out."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlhf.data.load import pretraining_texts
from rlhf.models import directories, tokenizer
from rlhf.models.never import never_said
from rlhf.models.packed import is_packing

SHAPE = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
OPT = {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 32,
    "max_position_embeddings": 128, "dropout": 0.0}  # fmt: skip
WINDOW = {"sliding_window": 16, "head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 8}
#: family -> (its configuration, whether its rows are packed)
FAMILIES = {
    "GPT2": (GPT2, True),
    "GPTNeoX": ({**SHAPE, "num_key_value_heads": None}, True),
    "OPT": (OPT, True),
    "Phi3": (SHAPE, True),
    "Llama": ({**SHAPE, "rope_parameters": {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}}, True),
    "Mistral": (SHAPE | WINDOW, False),
    "Qwen2": (SHAPE, True),
    "Qwen3": ({**SHAPE, "head_dim": 8}, True),
    "Gemma2": (SHAPE | WINDOW, False),
    "Gemma3Text": (SHAPE | WINDOW, False),
    "Olmo2": (SHAPE, True),
    "SmolLM3": (SHAPE, True),
    "Granite": ({**SHAPE, "logits_scaling": 4.0, "embedding_multiplier": 2.0}, True),
    "Qwen3Moe": (SHAPE | EXPERTS | {"router_aux_loss_coef": 0.01}, True),
}  # fmt: skip
MODELS = {"GPT2": "GPT2LMHeadModel", "Gemma3Text": "Gemma3ForCausalLM"}
TINY = {
    "sft": {"epochs": 1, "lr": 1e-3, "lr_matrices": None, "demonstrations": 40},
    "ppo": {"temperature": 0.7, "episodes": 32, "batch": 16, "minibatch": 8, "max_new_tokens": 8},
}


def outside(world, family, folder):
    """A small model of the family as others save it: its pad token is its EOS, and rows to spare."""
    torch.manual_seed(0)
    words = tokenizer.train(pretraining_texts(world.curated, "train"), 320, 64)
    words.pad_token = words.eos_token
    shape = {name: value for name, value in FAMILIES[family][0].items() if value is not None}
    config = getattr(transformers, f"{family}Config")(
        **shape, vocab_size=len(words) + 8, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        pad_token_id=None,
    )  # fmt: skip
    model = getattr(transformers, MODELS.get(family, f"{family}ForCausalLM"))(config)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def log_probabilities(model, ids):
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float().log_softmax(-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_goes_through_a_round(world, tmp_path, family):
    path = str(outside(world, family, tmp_path / "outside"))

    def run(stage, reward_base="sft", **inputs):
        params = {"base": {"path": path, "context": 64}, "reward_model": {"base": reward_base}, **TINY}
        return world.run(stage, tmp_path / stage, inputs | {"curated": world.curated}, **params)

    imported = run("base")
    assert imported["packs"] == FAMILIES[family][1]
    base, sft = tmp_path / "base" / "model", tmp_path / "sft" / "epoch-1"
    run("sft", base=base)
    if (
        family == "Granite"
    ):  # transformers has no sequence classifier of it: a Llama that reads the same tokens
        llama = outside(world, "Llama", tmp_path / "llama")
        run("reward_model", str(llama), base=llama, policy=base, comparisons=[world.comparisons])
    else:
        run("reward_model", base=sft, comparisons=[world.comparisons])
    reward_model = tmp_path / "reward_model" / "model"
    figures = run("ppo", rl_start=sft, reward_model=reward_model)
    assert figures["iterations"] == 2
    for line in world.metrics(tmp_path / "ppo"):
        assert line["first_ratio_error"] < 1e-3 and line["sampler_gap"] < 1e-4

    policy = tmp_path / "ppo" / "model"
    ours, words = directories.load_policy(policy)
    theirs, plain = AutoModelForCausalLM.from_pretrained(policy), AutoTokenizer.from_pretrained(policy)
    assert is_packing(ours) == FAMILIES[family][1] and type(theirs) is type(ours)
    text = plain.apply_chat_template(
        [{"role": "user", "content": "who built it?"}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=False,
    )
    ids = torch.tensor([text])
    never = never_said(words, theirs.get_output_embeddings().weight.shape[0])
    assert theirs.generation_config.suppress_tokens == never and len(never) >= 1
    with torch.no_grad():
        logits = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
    logits[..., never] = -torch.inf
    mine, right = log_probabilities(ours, ids), logits.log_softmax(-1)
    said = [token for token in range(right.shape[-1]) if token not in set(never)]
    torch.testing.assert_close(mine[..., said], right[..., said], atol=1e-5, rtol=0)
    assert theirs.generation_config.temperature == pytest.approx(0.7)
    assert AutoModelForSequenceClassification.from_pretrained(reward_model).config.num_labels == 1
    if family == "Qwen3Moe":
        assert theirs.config.router_aux_loss_coef == 0.01 and not theirs.config.output_router_logits
