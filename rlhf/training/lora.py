"""Low-rank adapters (arXiv:2106.09685): W + (alpha/r)·B·A, where A and B are trained and W stays as it is.

A trained model is written merged, so that what reads it need not know that there were adapters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from rlhf.models.laid_out import is_linear

NAME = "default"  # of the adapter, as peft calls it


def adapt(model: Any, rank: int | None) -> Any:
    """Adapters of this rank (alpha = 2·rank) in every linear layer but the output head; None leaves the model as it is.

    The model stays of its own class. A scalar head (`score`) is trained whole: it is one row. Returns the model.
    """
    if rank is None:
        return model
    # Seconds to import, which no other job needs to spend.
    from peft import LoraConfig, inject_adapter_in_model

    head = model.score if hasattr(model, "score") else model.get_output_embeddings()
    targets = [name for name, module in model.named_modules() if is_linear(module) and module is not head]
    inject_adapter_in_model(
        LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            lora_dropout=0.0,
            target_modules=targets,
            fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in model.modules()),
        ),
        model,
        adapter_name=NAME,
    )
    if hasattr(model, "score"):
        model.score.requires_grad_(True)
    return model


def trainable(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def frozen(model: nn.Module) -> set[str]:
    """Names of the weights that are not trained, a shared one's every name: they are what the run began with."""
    named = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if not parameter.requires_grad}


def merged(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's weights with `state`'s adapters added in, under the names they have without adapters.

    state: of the model, by name, or an average of it.
    """
    found = dict(state)
    for name, module in model.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        up, down = (found.pop(f"{name}.lora_{part}.{NAME}.weight") for part in "BA")
        change = module.scaling[NAME] * (up.float() @ down.float())
        weight = found[f"{name}.base_layer.weight"]
        if getattr(module, "fan_in_fan_out", False):
            change = change.T
        found[f"{name}.base_layer.weight"] = weight.float() + change
    return {name.replace(".base_layer.", "."): value for name, value in found.items()}
