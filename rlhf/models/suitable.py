"""What a model's configuration says it can do here, before its weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING


def longest_row(config: Any) -> int | None:
    """Tokens that a row may have, prompt and answer together; None where positions have no end.

    Long variants of rotary positions (longrope, Phi-3's) take other frequencies for a whole pass as soon as one of its rows is
    longer than the positions they were first trained with. Up to there a row's probabilities do not depend on its neighbours.
    """
    config = config.get_text_config()
    positions = getattr(config, "max_position_embeddings", None)
    rope = getattr(config, "rope_parameters", None) or {}
    first = getattr(config, "original_max_position_embeddings", None) or rope.get(
        "original_max_position_embeddings"
    )
    if first is not None and rope.get("rope_type") == "longrope":
        return min(first, positions or first)
    return positions


def require_reward_model(directory: Path, start: str) -> None:
    """Raise ValueError unless transformers makes a sequence classifier of the family in `directory`: it would be found out
    once people have ranked. start: what reward_model.base is."""
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise ValueError(
            f"reward_model.base is {start!r}, and transformers has no sequence classifier of the family {config.model_type}, "
            "which base.path is; allowed: a directory of another family that reads the same tokens"
        )
