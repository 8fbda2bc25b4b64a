"""`rlhf chat`: a conversation with a model version, at a terminal or over standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from rlhf.chat import Message, encode_prompt
from tasks import registry
from tasks.registry import ModelRef


def converse(ref: ModelRef, *, temperature: float, max_new_tokens: int, seed: int) -> None:
    """Answers each line of standard input. /new begins another conversation; an empty line or Ctrl-D ends it.

    What no longer fits the model's context is forgotten, oldest turn first.
    """
    from transformers.utils import logging

    from rlhf.models.directories import load_policy
    from rlhf.sampling.stream import stream

    if ref.name == "reward-model":
        raise ValueError("a reward model scores answers, it gives none: chat with policy, sft or base")
    logging.disable_progress_bar()
    model, tokenizer = load_policy(registry.local_path(ref))
    context = getattr(model.config, "max_position_embeddings", 1024)
    history: list[Message] = []
    print(f"{ref}; /new begins another conversation, an empty line ends this", file=sys.stderr)
    for turn, line in enumerate(_lines()):
        if line == "/new":
            history = []
            continue
        history.append({"role": "user", "content": line})
        while len(history) > 1 and len(encode_prompt(tokenizer, history)) + max_new_tokens > context:
            history = history[2:]
        answer = ""
        for piece in stream(
            model,
            tokenizer,
            history,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed + turn,
        ):
            answer += piece
            print(piece, end="", flush=True)
        print(flush=True)
        history.append({"role": "assistant", "content": answer})


def _lines() -> Iterator[str]:
    """What the person says: a prompt before it at a terminal, blank lines skipped in a file."""
    if not sys.stdin.isatty():
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            return
        if not line:
            return
        yield line
