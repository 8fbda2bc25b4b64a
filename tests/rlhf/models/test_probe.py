"""What a model can do is asked of the model: packed rows, decoding in slots, padded, or by reading rows again."""

from __future__ import annotations

import pytest
import torch
import transformers
from transformers.models.llama.modeling_llama import LlamaAttention

from rlhf.models import suitable, tokenizer
from rlhf.models.packed import is_packing, packing_gap, prepare
from rlhf.models.policy import response_logprobs
from rlhf.models.probe import TOLERANCE
from rlhf.sampling import probe
from rlhf.sampling.engine import sample_ids

WORDS = tokenizer.train(["the river runs past the castle", "a sailor sold the silver bell"], 300, 64)
SHAPE = {
    "vocab_size": len(WORDS), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": WORDS.pad_token_id,
}  # fmt: skip
#: (family, what its configuration needs beside SHAPE, whether it packs, how it decodes)
FAMILIES = [
    ("Llama", {}, True, "slots"),
    ("Gemma", {}, True, "slots"),
    ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}, True, "slots"),
    ("Mistral", {"sliding_window": 4}, False, "padded"),
    ("Mamba", {}, False, "replayed"),
    ("Qwen3Next", {"layer_types": ["linear_attention", "full_attention"], "num_experts": 4, "num_experts_per_tok": 2,
        "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 8,
        "linear_value_head_dim": 8, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
        False, "replayed"),
]  # fmt: skip


def made(family, more):
    config = getattr(transformers, f"{family}Config")
    torch.manual_seed(0)
    given = {key: value for key, value in SHAPE.items() if family != "Mamba" or "attention" not in key}
    model = getattr(transformers, f"{family}ForCausalLM")(config(**given | more)).eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)  # far from uniform
    return prepare(model)


@pytest.mark.parametrize(("family", "more", "packs", "way"), FAMILIES, ids=[row[0] for row in FAMILIES])
def test_what_is_sampled_and_learned_is_the_models_own(family, more, packs, way):
    model = made(family, more)
    assert is_packing(model) == packs
    assert probe.how(model, WORDS.pad_token_id) == way
    prompts = [[5, 6, 7, 8, 9, 10, 11], [8], [9, 12, 13]] * 4
    drawn = sample_ids(model, WORDS, prompts, max_new_tokens=6, temperature=0.7, seed=0, max_tokens=40)
    ids = [completion.ids for completion in drawn]
    learned = response_logprobs(model, prompts, ids, pad_id=WORDS.pad_token_id, temperature=0.7)
    for prompt, completion, mine in zip(prompts, drawn, learned, strict=True):
        row = torch.tensor([prompt + completion.ids])
        logits = model(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1] / 0.7
        right = logits.log_softmax(-1).gather(1, row[0, len(prompt) :, None])[:, 0]
        torch.testing.assert_close(mine, right, atol=1e-4, rtol=0)
        torch.testing.assert_close(completion.logprobs, right, atol=1e-4, rtol=0)


def test_layers_that_drop_the_layout_are_found(monkeypatch):
    """As Nemotron's: what the forward pass was given for attention does not arrive there."""
    forward = LlamaAttention.forward

    def dropped(self, *given, layout=None, **more):
        return forward(self, *given, **more)

    monkeypatch.setattr(LlamaAttention, "forward", dropped)
    model = made("Llama", {})
    assert not is_packing(model) and packing_gap(model) > 100 * TOLERANCE
    model.set_attn_implementation("sdpa")
    assert probe.how(model, WORDS.pad_token_id) == "padded"


def test_nothing_is_left_of_a_probe():
    model = made("Llama", {}).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    probe.how(model, WORDS.pad_token_id)
    packing_gap(model)
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_row_does_not_depend_on_its_neighbours_in_a_model_with_long_positions():
    """Phi-3's long variants choose frequencies by the longest row of a pass: a context in which they may differ is refused."""
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 32,
        "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}  # fmt: skip
    config = transformers.Phi3Config(
        **SHAPE, rope_parameters=rope, original_max_position_embeddings=32, max_position_embeddings=128
    )
    assert suitable.longest_row(config) == 32
    torch.manual_seed(0)
    model = prepare(transformers.Phi3ForCausalLM(config).eval())
    short, long = [5, 6, 7, 8], list(range(5, 33))
    pad_id = WORDS.pad_token_id
    mine = response_logprobs(model, [[5]], [short], pad_id=pad_id, temperature=1.0)[0]
    beside = response_logprobs(model, [[5], [6]], [short, long], pad_id=pad_id, temperature=1.0)[0]
    torch.testing.assert_close(mine, beside, atol=1e-6, rtol=0)
    ordinary = transformers.LlamaConfig(**SHAPE, max_position_embeddings=128)
    assert suitable.longest_row(ordinary) == 128


def test_a_family_without_a_sequence_classifier_is_refused_before_anybody_ranks(tmp_path):
    transformers.GraniteConfig(**SHAPE).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"reward_model\.base is 'sft', and transformers .* granite"):
        suitable.require_reward_model(tmp_path, "sft")
    transformers.LlamaConfig(**SHAPE).save_pretrained(tmp_path)
    suitable.require_reward_model(tmp_path, "base")
