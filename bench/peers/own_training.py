"""This project's training step: one question as JSON in, one line of JSON out."""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from steps import timed

from gemwright.arch.gemma3 import gemma3
from gemwright.arch.recurrentgemma import recurrentgemma
from gemwright.arch.spec import Model
from gemwright.data.batch import Batch, Row
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.span import span
from gemwright.train import optim
from gemwright.train.next_token import next_token


def spec(question: dict[str, Any]) -> Model:
    """The asked shape."""
    common = {key: question[key] for key in ("width", "depth", "heads", "head_dim", "hidden", "vocab", "window")}
    if question["family"] == "recurrentgemma":
        return recurrentgemma(
            name="bench",
            **common,
            recurrent_width=question["width"],
            conv=4,
            kv_heads=1,
            context=None,
            window_edge="inside",
            rope_base=10_000.0,
            rope_share=0.5,
            blocks=("recurrent", "recurrent", "attention"),
            gate_blocks=question["heads"],
            embed_scale=True,
            final_cap=30.0,
            norm_epsilon=1e-6,
        )
    return gemma3(
        name="bench",
        **common,
        kv_heads=1,
        context=2 * question["tokens"],
        pattern=6,
        query_scalar=float(question["head_dim"]),
        local_base=10_000.0,
        global_base=1_000_000.0,
        global_factor=1.0,
        attention_cap=None,
        final_cap=None,
        norm_epsilon=1e-6,
        vision=None,
    )


def main() -> None:
    """Answer the question on the command line."""
    question = json.loads(sys.argv[1])
    tokens, documents = question["tokens"], question["documents"]
    model = Decoder(spec(question))
    initialise(model, torch.Generator().manual_seed(0))
    model.train()
    rates = optim.Optim(kind="adamw", rate=1e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01, clip=1.0)
    optimizer = optim.build(model, rates)
    ids = torch.randint(5, question["vocab"], (tokens,), generator=torch.Generator().manual_seed(1))
    weight = torch.ones(tokens)
    weight[-1] = 0.0
    batch = Batch(
        ids=ids,
        targets=ids.roll(-1),
        weight=weight,
        span=span([tokens // documents] * documents),
        rows=(Row(serial=0, tokens=tokens),),
    )

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = next_token(model, batch)
        loss.total.backward()
        optim.divide_and_clip(model.parameters(), loss.count, rates.clip)
        optimizer.step()
        return float(loss.total.detach()) / loss.count

    print(json.dumps(timed(step, question)))


if __name__ == "__main__":
    main()
