import pytest
import torch
from torch.nn import functional

from rlhf.models import packed
from rlhf.models.row_attention import attend_one, attend_rows


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("how", ["rows", "blocks"])
def test_packed_attention_is_that_of_each_row_by_itself(how, scale):
    """Rows one by one, as on a CPU, and in padded blocks, as on a GPU; gradients included."""
    lengths, heads, width = [1, 9, 0, 9, 40], 3, 8
    is_real = torch.arange(40) < torch.tensor(lengths)[:, None]
    layout = packed.layout_of(is_real)
    assert layout.lengths == lengths and len(layout.blocks) > 2
    given = torch.randn(3, 1, heads, sum(lengths), width, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(1, sum(lengths), heads, width, generator=torch.Generator().manual_seed(1))

    def outcome(attend):
        query, key, value = (part.clone().requires_grad_() for part in given)
        found = attend(query, key, value)
        (found * weights).sum().backward()
        return found.detach(), query.grad, key.grad, value.grad

    def alone(query, key, value):
        rows = zip(*(part.split(lengths, dim=2) for part in (query, key, value)), strict=True)
        each = [_by_definition(*row, scale) for row in rows]
        return torch.cat(each, dim=2).transpose(1, 2)

    if how == "rows":
        found = outcome(lambda *parts: attend_rows(*parts, lengths, scale))
    else:
        found = outcome(lambda *parts: packed.attend_blocks(*parts, layout.blocks, 0.0, scale))
    for mine, right in zip(found, outcome(alone), strict=True):
        torch.testing.assert_close(mine, right, atol=1e-5, rtol=1e-5)


def _by_definition(query, key, value, scale):
    """softmax(q k' scale) v over what stands before; [1, H, T, D]."""
    length, width = query.shape[2:]
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    scores = query @ key.transpose(-1, -2) * (scale or width**-0.5)
    return functional.softmax(scores.masked_fill(later, float("-inf")), dim=-1) @ value


@pytest.mark.parametrize(("dtype", "of_values"), [(torch.float64, 8), (torch.float32, 4)])
def test_what_the_kernel_of_rows_does_not_take_goes_in_blocks(dtype, of_values):
    """Its limits are not its own errors: float64 fails in backward, values of another width in forward."""
    layout = packed.layout_of(torch.arange(5) < torch.tensor([2, 5])[:, None])
    query, key = (torch.randn(1, 2, 7, 8, dtype=dtype, requires_grad=True) for _ in range(2))
    value = torch.randn(1, 2, 7, of_values, dtype=dtype, requires_grad=True)
    found, _ = packed.attend(torch.nn.Identity().eval(), query, key, value, None, layout=layout)
    found.sum().backward()
    first = _by_definition(*(part[:, :, :2] for part in (query, key, value)), None)
    torch.testing.assert_close(found[:, :2], first.transpose(1, 2))
    assert query.grad is not None and value.grad is not None


@pytest.mark.parametrize("shared", [1, 2, 6])
@pytest.mark.parametrize("of_values", [8, 4])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_one_query_a_row_is_torchs_own_attention(shared, of_values, scale):
    """Six heads over `shared` sets of keys, some of each row's hidden; keys stand in a larger memory, as a cache's do."""
    torch.manual_seed(0)
    rows, heads, columns, width = 3, 6, 5, 8
    query = torch.randn(rows, heads, 1, width)
    key = torch.randn(rows, shared, columns + 2, width)[:, :, :columns]
    value = torch.randn(rows, shared, columns + 2, of_values)[:, :, :columns]
    mask = torch.zeros(rows, columns).masked_fill(
        torch.arange(columns) >= torch.tensor([1, 3, 5])[:, None], -torch.inf
    )
    for shown in (mask[:, None, None], None):
        expected = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=shown, scale=scale, enable_gqa=True
        )
        found = attend_one(query, key, value, shown, scale)
        torch.testing.assert_close(found, expected.transpose(1, 2))


def test_a_step_that_products_do_not_take_is_torchs(families):
    """A mask of bools, as generate gives it for padded prompts, and in a model of float64."""
    torch.manual_seed(0)
    model = packed.prepare(families["llama"]().eval())
    ids = torch.tensor([[3, 3, 5, 6], [7, 8, 9, 10]])
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 3, "eos_token_id": None}
    padded = model.generate(ids, attention_mask=(ids != 3).long(), **settings)
    alone = model.generate(ids[:1, 2:], **settings)
    assert padded[0, 4:].tolist() == alone[0, 2:].tolist()
    assert model.double().generate(ids[:1, 2:], **settings).tolist() == alone.tolist()
