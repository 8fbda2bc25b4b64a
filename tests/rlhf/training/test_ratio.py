"""What PPO stands on: the first ratio is 1, padding changes nothing, the score is read at the last real token."""

import pytest
import torch

from rlhf.models import directories, reward, tokenizer
from rlhf.models.packed import hidden_states, is_packing, layout_of, prepare
from rlhf.models.policy import response_logprobs, token_logprobs
from rlhf.models.rows import Batch, pad
from rlhf.sampling.engine import sample_ids
from rlhf.training.finite import name_of_broken_gradient, require_finite
from rlhf.training.lora import adapt, trainable
from rlhf.training.ppo_trainer import check_first_ratio

FAMILIES = ("gpt2", "llama", "neox")


@pytest.fixture(scope="module")
def words():
    return tokenizer.train(["the quick brown fox jumps over the lazy dog"] * 4, 300, 64)


@pytest.fixture(params=[(name, packs) for name in FAMILIES for packs in (True, False)], ids=str)
def model(request, families):
    """Each family as it is trained here, packed, and as a model that cannot be packed is."""
    name, packs = request.param
    torch.manual_seed(0)
    model = families[name]().eval()
    return prepare(model) if packs else model


PROMPTS = [[5, 6, 7], [9], [10, 11, 12, 13, 14, 15, 16], [8, 9]]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_first_ratio_is_one(model, words, temperature):
    """Sampled through a cache, recomputed with right padding: the same log-probabilities."""
    found = sample_ids(
        model, words, PROMPTS, max_new_tokens=12, temperature=temperature, seed=1, max_tokens=60
    )
    again = response_logprobs(model, PROMPTS, [c.ids for c in found], pad_id=3, temperature=temperature)
    for completion, logprobs in zip(found, again, strict=True):
        assert torch.allclose((logprobs - completion.logprobs).exp(), torch.ones_like(logprobs), atol=1e-5)


def test_first_ratio_is_one_with_adapters(model, words):
    """Sampling adds them to the weights, training computes them apart."""
    adapt(model, 4)
    with torch.no_grad():
        for parameter in trainable(model):
            parameter.normal_(std=0.1)
    found = sample_ids(model, words, PROMPTS, max_new_tokens=12, temperature=1.0, seed=1)
    again = response_logprobs(model, PROMPTS, [c.ids for c in found], pad_id=3, temperature=1.0)
    for completion, logprobs in zip(found, again, strict=True):
        assert torch.allclose((logprobs - completion.logprobs).exp(), torch.ones_like(logprobs), atol=1e-5)


def test_left_padding_gives_the_log_probabilities_of_right_padding(model):
    right = pad(PROMPTS, [[20, 21]] * 4, pad_id=3)
    left = Batch(
        *(
            torch.stack(
                [torch.roll(row, int((~real).sum())) for row, real in zip(t, right.is_real, strict=True)]
            )
            for t in right
        )
    )
    a, b = (token_logprobs(model, batch, temperature=1.0).logprobs for batch in (right, left))
    assert torch.allclose(a[right.is_response], b[left.is_response], atol=1e-5)


def test_junk_in_padding_changes_no_bit(model):
    batch = pad(PROMPTS, [[20, 21], [22], [23, 24, 25], [26]], pad_id=3)
    junk = batch._replace(ids=torch.where(batch.is_real, batch.ids, torch.randint(4, 300, batch.ids.shape)))
    assert torch.equal(
        token_logprobs(model, batch, temperature=1.0).logprobs,
        token_logprobs(model, junk, temperature=1.0).logprobs,
    )


def test_retiring_and_batching_change_no_probability(model, words):
    """Each answer's log-probabilities are those of its row alone."""
    found = sample_ids(model, words, PROMPTS * 3, max_new_tokens=10, temperature=1.0, seed=3, max_tokens=70)
    for completion in found:
        alone = response_logprobs(
            model, [completion.prompt_ids], [completion.ids], pad_id=3, temperature=1.0
        )[0]
        assert torch.allclose(alone, completion.logprobs, atol=1e-4)


def test_packed_rows_give_the_hidden_states_of_padded_ones(model):
    """Left- and right-padded, and the gradients too."""
    for side in ("left", "right"):
        tokenized = [prompt + [3] * (8 - len(prompt)) for prompt in PROMPTS]
        is_real = torch.tensor([[True] * len(p) + [False] * (8 - len(p)) for p in PROMPTS])
        if side == "left":
            tokenized = [[3] * (8 - len(prompt)) + prompt for prompt in PROMPTS]
            is_real = is_real.flip(1)
        ids, layout = torch.tensor(tokenized), layout_of(is_real)
        found = {}
        for name in ("packed", "sdpa"):
            model.set_attn_implementation(name)
            assert is_packing(model) == (name == "packed")
            hidden = hidden_states(model, ids, is_real, layout, torch.arange(len(layout.places)))
            model.zero_grad()
            hidden.square().sum().backward()
            gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
            found[name] = hidden.detach(), gradients
        assert torch.allclose(found["packed"][0], found["sdpa"][0], atol=1e-5)
        assert torch.allclose(found["packed"][1], found["sdpa"][1], atol=1e-3)


def test_sampling_follows_the_distribution(words, families):
    """Frequencies of the first token against the model's own probabilities."""
    torch.manual_seed(0)
    model = families["neox"]().eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)  # far from uniform
        expected = model(input_ids=torch.tensor([[5, 6]])).logits[0, -1].softmax(-1)
    found = sample_ids(model, words, [[5, 6]] * 4000, max_new_tokens=1, temperature=1.0, seed=0)
    counts = torch.bincount(torch.tensor([c.ids[0] for c in found]), minlength=300) / 4000
    top = expected.topk(5).indices
    assert torch.allclose(counts[top], expected[top], atol=4 * (0.25 / 4000) ** 0.5)


def test_answers_end_at_eos_or_at_the_limit(model, words):
    for completion in sample_ids(model, words, PROMPTS * 8, max_new_tokens=40, temperature=1.0, seed=0):
        assert completion.ended == (completion.ids[-1] == words.eos_token_id)
        assert words.eos_token_id not in completion.ids[:-1]
        assert completion.ended or len(completion.ids) == 40


def test_a_stop_string_ends_an_answer_and_is_not_part_of_its_text(model, words):
    free = sample_ids(model, words, PROMPTS * 8, max_new_tokens=30, temperature=1.0, seed=0)
    letter = max("abcdefgh", key=lambda one: sum(one in c.text for c in free))
    found = sample_ids(
        model, words, PROMPTS * 8, max_new_tokens=30, temperature=1.0, seed=0, stop=("never", letter)
    )
    stopped = 0
    for completion in found:
        said = words.decode(completion.ids, skip_special_tokens=True)
        assert letter not in completion.text
        if letter in said:
            stopped += 1
            assert completion.ended and letter not in words.decode(
                completion.ids[:-1], skip_special_tokens=True
            )
    assert stopped


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_reward_is_read_at_the_last_real_token(model, words, tmp_path, side):
    model.config.pad_token_id, model.config.eos_token_id = words.pad_token_id, words.eos_token_id
    rm = reward.from_policy(directories.save(model, words, tmp_path / "policy"))
    alone = [reward.score_rows(rm, [prompt], [[20, 21, 2]])[0] for prompt in PROMPTS]
    together = reward.score_rows(rm, PROMPTS, [[20, 21, 2]] * 4)
    assert together == pytest.approx(alone, abs=1e-5)
    batch = pad(PROMPTS, [[20, 21, 2]] * 4, pad_id=words.pad_token_id)
    if side == "left":
        batch = Batch(
            *(
                torch.stack(
                    [torch.roll(row, int((~real).sum())) for row, real in zip(t, batch.is_real, strict=True)]
                )
                for t in batch
            )
        )
    with torch.no_grad():
        found = reward.row_scores(rm.model, batch.ids, batch.is_real)
    assert found.tolist() == pytest.approx(alone, abs=1e-5)


def test_transformers_alone_reads_the_same_reward_up_to_the_bias(words, tmp_path, families):
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    model = families["neox"]()
    model.config.pad_token_id, model.config.eos_token_id = words.pad_token_id, words.eos_token_id
    rm = reward.from_policy(directories.save(model, words, tmp_path / "policy"))
    rm.model.config.reward_bias = 0.5
    saved = directories.save(rm.model, rm.tokenizer, tmp_path / "rm")
    bare = AutoModelForSequenceClassification.from_pretrained(saved).eval()
    assert bare.config.num_labels == 1 and bare.config.reward_bias == 0.5
    batch = pad(PROMPTS, [[20, 2], [21, 2], [22, 2], [2]], pad_id=words.pad_token_id)
    with torch.no_grad():
        theirs = bare(input_ids=batch.ids, attention_mask=batch.is_real.long()).logits[:, 0]
    ours = reward.score_rows(reward.load_reward_model(saved), PROMPTS, [[20, 2], [21, 2], [22, 2], [2]])
    assert ours == pytest.approx((theirs + 0.5).tolist(), abs=1e-5)


def test_a_first_ratio_far_from_one_stops_training_with_its_likely_causes():
    check_first_ratio(1e-6)
    with pytest.raises(RuntimeError, match=r"ratios up to 0\.3 away from 1 .* dropout .* temperature"):
        check_first_ratio(0.3)
    with pytest.raises(RuntimeError):
        check_first_ratio(float("nan"))


def test_a_number_that_is_none_is_named():
    require_finite("here", fine=torch.ones(3))
    with pytest.raises(RuntimeError, match=r"here: 2 of the 4 values of rewards are NaN or infinite; lower"):
        require_finite(
            "here", fine=torch.ones(3), rewards=torch.tensor([1.0, float("nan"), float("inf"), 2.0])
        )
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.ones(1, 2), torch.full((1,), float("nan"))
    assert name_of_broken_gradient(layer.named_parameters()) == "bias"
