"""Means over the tokens that count. Masks are named for what True means."""

from __future__ import annotations

from torch import Tensor


def masked_mean(values: Tensor, is_counted: Tensor) -> Tensor:
    """Mean of `values` where `is_counted`; 0 where nothing is. Same shapes; returns a scalar.

    What stands outside cannot change a bit of the result, NaN and infinity included.
    """
    kept = values.masked_fill(~is_counted, 0.0)
    return kept.sum() / is_counted.sum().clamp(min=1)


def whiten(
    values: Tensor, is_counted: Tensor, mean: float, variance: float, *, shift_mean: bool = True
) -> Tensor:
    """(values - mean) / sd at counted tokens, 0 elsewhere; with shift_mean=False the mean is added back.

    values: [B, T] float; is_counted: [B, T] bool; mean and (biased) variance: over the counted tokens of every process.
    The sd is at least 1e-8 ** 0.5.
    """
    scaled = (values - mean) / (variance + 1e-8) ** 0.5
    if not shift_mean:
        scaled = scaled + mean
    return scaled.masked_fill(~is_counted, 0.0)
