"""A plain PyTorch training loop over transformers: one question as JSON in, one line of JSON out."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
import transformers
from steps import timed


def build(question: dict[str, Any]) -> torch.nn.Module:
    """A random model of the asked shape, attention by SDPA."""
    torch.manual_seed(0)
    common = {
        "vocab_size": question["vocab"],
        "hidden_size": question["width"],
        "num_hidden_layers": question["depth"],
        "num_attention_heads": question["heads"],
        "num_key_value_heads": 1,
        "head_dim": question["head_dim"],
        "attn_implementation": "sdpa",
    }
    if question["family"] == "recurrentgemma":
        config = transformers.RecurrentGemmaConfig(
            **common,
            intermediate_size=2 * question["hidden"],  # it halves this number
            lru_width=question["width"],
            attention_window_size=question["window"],
        )
        return transformers.RecurrentGemmaForCausalLM(config)
    config = transformers.Gemma3TextConfig(
        **common,
        intermediate_size=question["hidden"],
        sliding_window=question["window"],
        query_pre_attn_scalar=question["head_dim"],
        max_position_embeddings=2 * question["tokens"],
    )
    return transformers.Gemma3ForCausalLM(config)


def main() -> None:
    """Answer the question on the command line."""
    question = json.loads(sys.argv[1])
    model = build(question).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(5, question["vocab"], (1, question["tokens"]), generator=torch.Generator().manual_seed(1))

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    print(json.dumps(timed(step, question)))


if __name__ == "__main__":
    main()
