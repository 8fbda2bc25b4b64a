"""A module and its optimizer on one process, on several (averaged gradients), or under DeepSpeed ZeRO."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf import distributed
from rlhf.models.directories import round_weights
from rlhf.params import ComputeParams
from rlhf.training.finite import ADVICE, name_of_broken_gradient
from rlhf.training.lora import frozen


class Engine:
    """`engine(...)` is the module's forward; `backward` accumulates, `step` clips, updates and clears.

    With several processes, each one's loss is the mean over its share of the batch, shares being equal; then
    the update is that of one process with the whole batch.

    dtype: of weights and arithmetic. In bfloat16 the optimizer updates float32 copies (masters), and the module
    holds their rounding: steps smaller than bfloat16's spacing are not lost. Gradients of several passes add up in
    float32 too, and so do those of several processes (under DeepSpeed unless its data_types.grad_accum_dtype and
    communication_data_type say otherwise).
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        compute: ComputeParams,
        *,
        max_grad_norm: float,
        dtype: str = "float32",
    ) -> None:
        distributed.start(compute)
        self.module, self.optimizer, self.max_grad_norm = module, optimizer, max_grad_norm
        self.forgets_activations = compute.activation_checkpointing
        if self.forgets_activations:
            for model in (m for m in module.children() if isinstance(m, PreTrainedModel)):
                model.activation_checkpointing_enable()
        self.deepspeed: Any = None
        self.masters: dict[nn.Parameter, Tensor] = {}
        if dtype == "bfloat16" and compute.launcher != "deepspeed":
            self._keep_masters()
        if compute.launcher == "deepspeed":
            import deepspeed

            settings = compute.deepspeed_settings()
            settings |= {
                "train_micro_batch_size_per_gpu": 1,
                "gradient_accumulation_steps": 1,
                "gradient_clipping": max_grad_norm,
                "bf16": {"enabled": dtype == "bfloat16"},
                # DeepSpeed's default for both is the weights' dtype: in bfloat16 small gradients vanish beside large ones
                "data_types": {"grad_accum_dtype": "fp32"} | settings.get("data_types", {}),
                "communication_data_type": settings.get("communication_data_type", "fp32"),
            }
            settings = {
                key: value
                for key, value in settings.items()
                if value != "auto" and key not in ("train_batch_size", "scheduler", "optimizer")
            }
            self.deepspeed, self.optimizer, _, _ = deepspeed.initialize(
                model=module, optimizer=optimizer, config=settings
            )
            self.module = self.deepspeed.module

    @contextmanager
    def training(self) -> Iterator[None]:
        """While weights are trained. Nothing here has dropout: training mode is what lets layers forget activations."""
        self.module.train(self.forgets_activations)
        try:
            yield
        finally:
            self.module.eval()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return (self.deepspeed or self.module)(*args, **kwargs)

    def backward(self, loss: Tensor, *, more_to_come: bool = False) -> None:
        """Add the loss's gradient. `more_to_come`: another backward belongs to the same step."""
        if self.deepspeed is None:
            loss.backward()
            for parameter, master in self.masters.items():
                if parameter.grad is not None:
                    gradient = parameter.grad.float()
                    master.grad = gradient if master.grad is None else master.grad.add_(gradient)
                    parameter.grad = None
        else:
            self.deepspeed.set_gradient_accumulation_boundary(not more_to_come)
            self.deepspeed.backward(loss)

    def step(self) -> float:
        """Update and clear; returns the gradient's norm before clipping."""
        if self.deepspeed is not None:
            self.deepspeed.step()
            norm = float(self.deepspeed.get_global_grad_norm() or 0.0)
            if not math.isfinite(
                norm
            ):  # every process has the same norm, and DeepSpeed has left the weights alone
                raise RuntimeError(f"the gradient is NaN or infinite; {ADVICE}")
            return norm
        updated = {name: self.masters.get(p, p) for name, p in self.module.named_parameters()}
        distributed.all_reduce_gradients(updated.values())
        total = nn.utils.clip_grad_norm_(updated.values(), self.max_grad_norm)
        if not torch.isfinite(total):
            broken = name_of_broken_gradient(updated.items())
            raise RuntimeError(f"the gradient is NaN or infinite, first in {broken}; {ADVICE}")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for parameter, master in self.masters.items():
            parameter.data.copy_(master)
        return float(total)

    def _keep_masters(self) -> None:
        self.masters = {p: p.detach().float().clone() for p in self.module.parameters() if p.requires_grad}
        for group in self.optimizer.param_groups:
            group["params"] = [self.masters[parameter] for parameter in group["params"]]
        round_weights(self.module, "bfloat16")

    def weights_of(self, module: nn.Module) -> dict[str, Tensor]:
        """The state of a part of the module, in float32: the masters, where there are any."""
        state = module.state_dict(keep_vars=True)
        return {name: self.masters.get(value, value).detach().float() for name, value in state.items()}

    def state(self) -> dict[str, Any]:
        """Weights and optimizer, for a checkpoint; DeepSpeed writes its own (`write`).

        Of a model with adapters the adapters alone: what is frozen is what the run began with.
        """
        if self.deepspeed is not None:
            return {}
        left_out = frozen(self.module)
        return {
            "module": {
                name: value for name, value in self.module.state_dict().items() if name not in left_out
            },
            "optimizer": self.optimizer.state_dict(),
            "masters": list(self.masters.values()),
        }

    def write(self, folder: Path) -> None:
        """What DeepSpeed keeps in each process, into a checkpoint's folder. Every process takes part."""
        if self.deepspeed is not None:
            self.deepspeed.save_checkpoint(str(folder), tag="deepspeed", save_latest=False)

    def restore(self, state: Mapping[str, Any], folder: Path) -> None:
        """Back to what `state` and `write` left in a checkpoint."""
        if self.deepspeed is not None:
            self.deepspeed.load_checkpoint(str(folder), tag="deepspeed")
        else:
            missing, unknown = self.module.load_state_dict(state["module"], strict=False)
            assert not unknown and set(missing) == frozen(self.module)
            self.optimizer.load_state_dict(dict(state["optimizer"]))
            for master, saved in zip(self.masters.values(), state["masters"], strict=True):
                master.copy_(saved)

    @contextmanager
    def whole(self) -> Iterator[nn.Module]:
        """The module with every weight in place: under ZeRO-3 gathered once, for sampling or saving.

        Every process takes part. Meanwhile ZeRO-3's hooks are off: they exchange weights at each forward pass,
        and processes whose answers end at different lengths would wait for one another for ever.
        """
        if self.deepspeed is not None and self.deepspeed.zero_optimization_stage() == 3:
            import deepspeed
            from trl.models.utils import add_hooks, remove_hooks

            with deepspeed.zero.GatheredParameters(list(self.module.parameters())):
                remove_hooks(self.deepspeed)
                yield self.module
                add_hooks(self.deepspeed)
        else:
            yield self.module


def mine(items: list[Any]) -> list[Any]:
    """This process's equal share of a batch; a remainder that does not divide is left to none."""
    share = len(items) // distributed.world_size()
    return items[distributed.rank() * share : (distributed.rank() + 1) * share]
