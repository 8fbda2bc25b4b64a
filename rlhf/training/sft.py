"""Step 1: supervised fine-tuning on demonstrations, loss on the response alone: -log P(y | x).

TRL's SFTTrainer does the work; what is decided here is the data, the schedule (cosine to 10 % of the peak, no
warm-up), residual dropout where the architecture has it, and one checkpoint an epoch: which of them is best is
found later, by reward-model score, because validation loss overfits after an epoch (arXiv:2203.02155, C.1).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn import functional
from transformers import PrinterCallback, TrainerCallback
from transformers.integrations import is_deepspeed_zero3_enabled
from trl import SFTConfig, SFTTrainer

from rlhf import distributed, seeds
from rlhf.chat import encode_completion, encode_prompt
from rlhf.data.load import demonstrations
from rlhf.jobs import Job
from rlhf.models import directories, packed
from rlhf.training.finite import require_finite
from rlhf.training.muon import MuonAdamW
from rlhf.training.progress import progress

Row = dict[str, list[int]]


def run(job: Job) -> dict[str, Any]:
    """Stage `sft`: out/epoch-1 .. out/epoch-E are Hugging Face directories."""
    params = job.params.sft
    tokenizer = directories.load_tokenizer(job.path("base"))
    rows = training_rows(job, tokenizer)
    held_out = seeds.shuffled(demonstrations(job.path("curated"), "valid"), job.params.seed, "held-out loss")
    valid = within(params.max_tokens, [encode(tokenizer, d) for d in held_out[: params.valid_demonstrations]])
    losses = train_supervised(
        job,
        rows,
        valid,
        epochs=params.epochs,
        lr=params.lr,
        name=lambda epoch: f"epoch-{epoch}",
        label="SFT",
    )
    return {"demonstrations": len(rows), "epochs": params.epochs, "valid_loss": losses}


def training_rows(job: Job, tokenizer: Any) -> list[Row]:
    """The training demonstrations, as many as sft.demonstrations allows, without those that are too long."""
    params = job.params.sft
    rows = within(
        params.max_tokens, [encode(tokenizer, d) for d in demonstrations(job.path("curated"), "train")]
    )
    if not rows:
        raise ValueError(f"no demonstration has at most sft.max_tokens = {params.max_tokens} tokens")
    if params.demonstrations is not None and len(rows) > params.demonstrations:
        rows = random.Random(job.params.seed).sample(rows, params.demonstrations)
    return rows


def within(max_tokens: int, rows: list[Row]) -> list[Row]:
    return [row for row in rows if len(row["input_ids"]) <= max_tokens]


def encode(tokenizer: Any, demonstration: dict[str, Any]) -> Row:
    """Token ids of prompt and completion, and a mask that is 1 on the completion, EOS included."""
    prompt = encode_prompt(tokenizer, demonstration["messages"])
    completion = encode_completion(tokenizer, demonstration["completion"])
    return {"input_ids": prompt + completion, "completion_mask": [0] * len(prompt) + [1] * len(completion)}


def train_supervised(
    job: Job,
    rows: Sequence[Row],
    valid: Sequence[Row],
    *,
    epochs: int,
    lr: float,
    name: Callable[[int], str],
    label: str,
) -> list[float]:
    """Train the job's base on `rows`, writing out/name(epoch) after each epoch. Returns the validation losses, nats a token."""
    params, compute = job.params.sft, job.params.compute
    model, tokenizer = directories.load_policy(job.path("base"), dropout=params.dropout)
    optimizer = None  # TRL's AdamW, and under DeepSpeed always: ZeRO cuts matrices into flat pieces
    if params.lr_matrices is not None and compute.launcher != "deepspeed":
        optimizer = MuonAdamW(model, lr=lr, lr_matrices=params.lr_matrices, weight_decay=params.weight_decay)
    per_process = distributed.share(params.batch, "sft.batch")
    config = SFTConfig(
        output_dir=str(job.out / "trainer"),
        num_train_epochs=epochs,
        per_device_train_batch_size=per_process,
        per_device_eval_batch_size=per_process,
        learning_rate=lr,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=0,
        adam_beta1=0.9,
        adam_beta2=0.95,
        weight_decay=params.weight_decay,
        max_grad_norm=1.0,
        max_length=None,
        completion_only_loss=True,
        router_aux_loss_coef=0.0,  # the loss is ours: a mixture of experts must not add its routers' to it
        train_sampling_strategy="group_by_length",
        gradient_checkpointing=compute.activation_checkpointing,
        ddp_find_unused_parameters=False,
        bf16=False,
        use_cpu=not compute.uses_gpu(),
        seed=job.params.seed,
        data_seed=job.params.seed,
        eval_strategy="epoch" if valid else "no",
        save_strategy="no",
        logging_steps=10,
        report_to=[],
        deepspeed=compute.deepspeed_settings() if compute.launcher == "deepspeed" else None,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    follower = _Follower(job, tokenizer, name, label)
    routers = getattr(model.config, "router_aux_loss_coef", None)
    trainer = ResponseLossTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(list(rows)),
        eval_dataset=Dataset.from_list(list(valid)) if valid else None,
        processing_class=tokenizer,
        callbacks=[follower],
        optimizers=(optimizer, None),
    )
    directories.say_how_to_sample(model, tokenizer, job.params.ppo.temperature)
    if routers is not None:  # the trainer set it to 0, and what is saved says what the model came with
        model.config.router_aux_loss_coef = routers
    follower.trainer = trainer
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return follower.valid_losses


class ResponseLossTrainer(SFTTrainer):
    """SFTTrainer with the plain loss: TRL's fused one also measures entropy and accuracy of every token at every
    step, which on a CPU takes longer than the small model itself."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean NLL over the response tokens of the whole step (all its processes and micro-batches)."""
        if packed.is_packing(self.accelerator.unwrap_model(model)):
            layout = packed.layout_of(inputs["attention_mask"].bool())
            labels = inputs["labels"].flatten()[layout.places]
            targets = ((labels != -100) & (layout.positions[0] > 0)).nonzero()[:, 0]
            outputs = model(
                **packed.inputs(inputs["input_ids"], layout),
                logits_to_keep=targets - 1,  # a token is predicted one before it
                use_cache=False,
            )
            logits, labels = outputs.logits[0], labels[targets]
        else:
            own = self.accelerator.unwrap_model(model)
            outputs = model(**packed.padded(own, inputs["input_ids"], inputs["attention_mask"].bool()))
            is_target = inputs["labels"][:, 1:] != -100
            logits, labels = outputs.logits[:, :-1][is_target], inputs["labels"][:, 1:][is_target]
        losses = functional.cross_entropy(logits.float(), labels, reduction="sum")
        require_finite("supervised fine-tuning", loss=losses.detach())
        tokens = len(labels) if num_items_in_batch is None else num_items_in_batch
        loss = losses / torch.as_tensor(tokens, device=losses.device).clamp(min=1)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over the processes
        return (loss, outputs) if return_outputs else loss


class _Follower(TrainerCallback):
    """Writes metrics.jsonl and a directory an epoch; TRL's own checkpoints are off."""

    def __init__(self, job: Job, tokenizer: Any, name: Callable[[int], str], label: str) -> None:
        self.job, self.tokenizer, self.name, self.label = job, tokenizer, name, label
        self.trainer: Any = None
        self.bar: Any = None
        self.valid_losses: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar = progress(range(state.max_steps), self.label, self.job.is_main)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(1)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any
    ) -> None:
        kept = {
            key: float(logs[key])
            for key in ("loss", "eval_loss", "learning_rate", "grad_norm")
            if logs and key in logs
        }
        if "eval_loss" in kept:
            self.valid_losses.append(kept["eval_loss"])
        if kept and all(math.isfinite(v) for v in kept.values()):
            self.job.log(state.global_step, **kept)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        write_trained(self.trainer, self.tokenizer, self.job.out / self.name(round(state.epoch)))


def write_trained(trainer: Any, tokenizer: Any, directory: Path) -> None:
    """The trainer's model as a whole directory; under ZeRO-3 every process takes part in gathering it."""
    accelerator = trainer.accelerator
    state = accelerator.get_state_dict(trainer.model_wrapped) if is_deepspeed_zero3_enabled() else None
    if accelerator.is_main_process:
        model = accelerator.unwrap_model(trainer.model_wrapped)
        require_finite("the end of an epoch", **(state or model.state_dict()))
        directories.save(model, tokenizer, directory, state=state)
    accelerator.wait_for_everyone()
