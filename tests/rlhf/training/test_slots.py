"""Continuous batching: rows that end make room for the next prompts, and no answer notices."""

import gc
import random
import weakref
from types import SimpleNamespace

import pytest
import torch

from rlhf.models import tokenizer
from rlhf.models.packed import prepare
from rlhf.sampling import cache, probe
from rlhf.sampling.cache import Slots, bytes_a_token
from rlhf.sampling.decoding import Answers, draw
from rlhf.sampling.engine import random_numbers, sample_ids

ROOM = 12


@pytest.fixture(scope="module", params=["gpt2", "llama", "neox"])
def model(request, families):
    torch.manual_seed(0)
    model = families[request.param]().eval()
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(6)  # far from uniform
    return prepare(model)


@pytest.fixture(scope="module")
def words(model, prompts):
    """EOS is a token that the model likes: its answers end early, late and at the limit."""
    spoken = tokenizer.train(["the quick brown fox jumps over the lazy dog"] * 4, 300, 64)
    endless = SimpleNamespace(pad_token_id=3, eos_token_id=-1, decode=spoken.decode)
    drawn = [token for answer in answers(model, endless, prompts, slots=12) for token in answer.ids]
    return SimpleNamespace(pad_token_id=3, eos_token_id=max(drawn, key=drawn.count), decode=spoken.decode)


@pytest.fixture(scope="module")
def prompts():
    draw = random.Random(0)
    return [[draw.randrange(5, 300) for _ in range(draw.randint(1, 9))] for _ in range(12)]


def answers(model, words, prompts, slots, **options):
    columns = max(map(len, prompts)) + ROOM
    settings = {"max_new_tokens": ROOM, "temperature": 0.9, "seed": 4, "max_tokens": slots * columns}
    return sample_ids(model, words, prompts, **settings | options)


def test_an_answer_is_the_same_for_any_number_of_slots(model, words, prompts):
    """One slot is every prompt by itself; all at once refill nothing; the others do."""
    alone = answers(model, words, prompts, slots=1)
    lengths = {len(completion.ids) for completion in alone}
    assert len(lengths) > 2 and ROOM in lengths and {c.ended for c in alone} == {True, False}
    for slots in (2, 5, 12):
        for one, other in zip(answers(model, words, prompts, slots), alone, strict=True):
            assert (one.prompt_ids, one.ids, one.ended) == (other.prompt_ids, other.ids, other.ended)
            assert torch.allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_prompts_may_be_read_in_parts(model, words, prompts, monkeypatch):
    whole = answers(model, words, prompts, slots=5)
    monkeypatch.setattr(cache, "READ_TOKENS", {"cpu": 10})
    for one, other in zip(answers(model, words, prompts, slots=5), whole, strict=True):
        assert one.ids == other.ids and torch.allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_an_answer_carries_no_other_answer_s_numbers(model, words, prompts):
    """It is sent to other processes, and a view would take all that it is a view of along."""
    for answer in answers(model, words, prompts, slots=12):
        assert answer.logprobs.untyped_storage().nbytes() == 4 * len(answer.ids)


def test_a_model_that_does_not_pack_gives_the_same_answers(model, words, prompts):
    expected = answers(model, words, prompts, slots=5)
    model.set_attn_implementation("sdpa")
    found = answers(model, words, prompts, slots=5)
    prepare(model)
    for one, other in zip(found, expected, strict=True):
        assert one.ids == other.ids
        assert torch.allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_a_stop_string_makes_room_too(model, words, prompts):
    free = answers(model, words, prompts, slots=12)
    letter = max("abcdefgh", key=lambda one: sum(one in completion.text for completion in free))
    expected = answers(model, words, prompts, slots=12, stop=(letter,))
    found = answers(model, words, prompts, slots=3, stop=(letter,))
    assert any(completion.ended and letter not in completion.text for completion in found)
    assert [completion.ids for completion in found] == [completion.ids for completion in expected]
    assert [completion.ids for completion in found] != [completion.ids for completion in free]


def test_a_stop_string_of_characters_of_several_tokens_is_seen_at_its_end(monkeypatch):
    words = tokenizer.train(["plain"] * 4, 300, 64)
    ids = words("plain。", add_special_tokens=False)["input_ids"]
    assert len(ids) > len("plain。") - 4 and len(words("。", add_special_tokens=False)["input_ids"]) == 3
    drawn = Answers(words, [words.eos_token_id], torch.zeros(1, 16), 1.0, ("。",), torch.device("cpu"))
    drawn.ids[0, : len(ids)] = torch.tensor(ids)
    row = torch.tensor([0])
    assert [bool(drawn._stopped(row, torch.tensor([len(ids) - less]))) for less in (0, 1, 2)] == [
        True,
        False,
        False,
    ]


def test_memory_of_a_token_is_what_the_slots_take(model):
    held = Slots(model, 3, slots=3, columns=7)
    held.read([[5, 6], [7], [8, 9, 10]], torch.arange(3))
    taken = sum(part.nbytes for layer in held.layers for part in (layer.keys, layer.values))
    assert bytes_a_token(model) * 3 * 7 == taken


def test_slots_are_refilled_while_others_go_on_and_bound_memory(model, words, prompts, monkeypatch):
    made, read = [], []

    class Watched(Slots):
        def __init__(self, *given):
            super().__init__(*given)
            made.append(self)

        def read(self, prompts, slots):
            read.append(len(slots))
            return super().read(prompts, slots)

    probe.how(model, words.pad_token_id)  # it tries slots of its own, once
    monkeypatch.setattr("rlhf.sampling.probe.Slots", Watched)
    answers(model, words, prompts, slots=5)
    assert read[0] == 5 and sum(read) == len(prompts)
    assert any(count < 5 for count in read[1:-1])  # the others went on
    for layer in made[0].layers:
        for held in (layer.keys, layer.values):
            assert (held.shape[0], held.shape[2]) == (5, max(map(len, prompts)) + ROOM)


@pytest.mark.parametrize("model", ["gpt2", "llama", "neox", "deepseek"], indirect=True)
def test_a_slot_holds_what_a_growing_cache_holds(model):
    """Two rows decoded, the second moved into the first's slot, another prompt read into its own: the same logits."""
    with torch.no_grad():
        held = cache.Slots(model, 3, slots=2, columns=8)
        logits = held.read([[5, 6, 7], [9]], torch.tensor([0, 1]))
        expect(model, logits, [[5, 6, 7], [9]])
        logits = held.step(torch.tensor([14, 15]), torch.tensor([3, 1]))
        expect(model, logits, [[5, 6, 7, 14], [9, 15]])
        held.keep(torch.tensor([1]))
        logits = held.step(torch.tensor([16]), torch.tensor([2]))
        expect(model, logits, [[9, 15, 16]])
        logits = held.read([[10, 11]], torch.tensor([1]))
        expect(model, logits, [[10, 11]])
        logits = held.step(torch.tensor([17, 18]), torch.tensor([3, 2]))
        expect(model, logits, [[9, 15, 16, 17], [10, 11, 18]])


def test_the_memory_of_a_cache_is_free_once_it_is_not_used(model):
    with torch.no_grad():
        held = cache.Slots(model, 3, slots=1, columns=8)
        held.read([[5, 6, 7]], torch.tensor([0]))
        held.step(torch.tensor([14]), torch.tensor([3]))
    gc.disable()
    try:
        keys = weakref.ref(held.layers[0].keys)
        del held
        assert keys() is None
    finally:
        gc.enable()


def expect(model, logits, rows):
    for found, row in zip(logits, rows, strict=True):
        assert torch.allclose(found, model(torch.tensor([row])).logits[0, -1], atol=1e-4)


def test_the_random_numbers_of_an_answer_do_not_depend_on_how_many_there_are():
    assert torch.equal(random_numbers(7, 3, 5), random_numbers(7, 400, 5)[:3])
    assert not torch.equal(random_numbers(7, 3, 5), random_numbers(8, 3, 5))


def test_draw_inverts_the_cumulative_distribution():
    logprobs = torch.tensor([[0.5, 0.0, 0.5]]).log().expand(4, -1)
    assert draw(logprobs, torch.tensor([0.0, 0.49, 0.5, 1.0])).tolist() == [0, 0, 2, 2]
