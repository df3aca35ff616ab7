"""Tiny checkpoints of every family, written by transformers with random weights everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

SIZES = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "sliding_window": 8,
    "max_position_embeddings": 256,
}
ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
VISION = {
    "hidden_size": 24,
    "image_size": 28,
    "intermediate_size": 40,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "patch_size": 7,
    "vision_use_head": False,
}


def make(family: str) -> transformers.PreTrainedModel:
    """A model of transformers with two whole periods of layers."""
    plain = {key: value for key, value in SIZES.items() if key != "sliding_window"}
    if family == "gemma1":
        return transformers.GemmaForCausalLM(transformers.GemmaConfig(**plain, num_hidden_layers=2))
    if family == "gemma2":
        config = transformers.Gemma2Config(**SIZES, num_hidden_layers=4, query_pre_attn_scalar=24)
        return transformers.Gemma2ForCausalLM(config)
    text = transformers.Gemma3TextConfig(**SIZES, num_hidden_layers=7, rope_parameters=json.loads(json.dumps(ROPE)))
    if family == "gemma3":
        return transformers.Gemma3ForCausalLM(text)
    if family == "gemma3-vision":
        config = transformers.Gemma3Config(text_config=text.to_dict(), vision_config=VISION, mm_tokens_per_image=4)
        return transformers.Gemma3ForConditionalGeneration(config)
    sizes = {key: SIZES[key] for key in ("vocab_size", "hidden_size", "num_attention_heads")}
    config = transformers.RecurrentGemmaConfig(
        **sizes,
        intermediate_size=64,
        num_hidden_layers=4,
        lru_width=40,
        attention_window_size=8,
        num_key_value_heads=1,
    )
    return transformers.RecurrentGemmaForCausalLM(config)


Write = Callable[..., Path]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Write:
    """A function: family, dtype and `max_shard_size` → a folder that transformers wrote, with random weights."""

    def write(family: str, dtype: torch.dtype = torch.float32, **options: Any) -> Path:
        model = make(family).to(dtype)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(0.0, 0.3)
        folder = tmp_path / f"{family}-{str(dtype)[6:]}"
        model.save_pretrained(folder, **options)
        (folder / "tokenizer.model").write_bytes(b"a tokenizer, to the byte")
        return folder

    return write


@pytest.fixture
def edit() -> Callable[[Path, Callable[[dict[str, Any]], Any]], None]:
    """A function that changes a JSON file in place."""

    def change(path: Path, how: Callable[[dict[str, Any]], Any]) -> None:
        tree = json.loads(path.read_text())
        how(tree)
        path.write_text(json.dumps(tree))

    return change
