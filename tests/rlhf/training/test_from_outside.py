"""A Llama from outside, its pad token its EOS and a system turn in its chat template, through every stage."""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rlhf.data.load import pretraining_texts
from rlhf.models import directories, tokenizer

TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SHORT = {
    "ppo": {"episodes": 16},
    "evaluation": {"prompts": 4, "max_new_tokens": 4, "best_of_n": 2, "bootstrap": 100},
}


def outside(world, folder):
    torch.manual_seed(0)
    words = tokenizer.train(pretraining_texts(world.curated, "train"), 320, 32)
    words.pad_token, words.chat_template = words.eos_token, TEMPLATE
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, eos_token_id=words.eos_token_id, max_position_embeddings=128,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def test_a_llama_from_outside_goes_through_every_stage(world, tmp_path):
    path = str(outside(world, tmp_path / "outside"))

    def run(stage, **inputs):
        inputs |= {"curated": world.curated}
        base = {"path": path, "context": 64}
        return world.run(stage, tmp_path / stage, inputs, base=base, sft={"epochs": 1, "lr": 1e-3}, **SHORT)

    run("base")
    base = tmp_path / "base" / "model"
    run("sft", base=base)
    run("rl_start", base=base)
    sft, rl_start = tmp_path / "sft" / "epoch-1", tmp_path / "rl_start" / "model"
    rm = run("reward_model", base=sft, comparisons=[world.comparisons])
    assert rm["accuracy"] > 0.5
    reward_model = tmp_path / "reward_model" / "model"
    ppo = run("ppo", rl_start=rl_start, reward_model=reward_model)
    assert ppo["iterations"] == 1
    first = world.metrics(tmp_path / "ppo")[0]
    assert first["first_ratio_error"] < 1e-3
    assert first["kl"] == 0.0 or abs(first["kl"]) < 1e-3, "the first episodes are the reference's own"
    policy = tmp_path / "ppo" / "model"
    found = run(
        "evaluate",
        policies={"base": base, "sft": sft, "rl_start": rl_start, "policy": policy},
        reward_model=reward_model,
    )
    assert found["prompts"] == 3, "as many as the validation users have for the gate"
    model, words = directories.load_policy(policy)
    assert (
        words.chat_template == TEMPLATE
        and words.pad_token_id != words.eos_token_id == model.config.eos_token_id
    )
