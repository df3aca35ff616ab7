"""Embeddings of texts: the mean of a language model's hidden states after the final norm, made one long.

Gemma was trained to foretell text, not to place texts of like meaning near each other: these vectors serve for rough
clustering and for probing the model, and a model made for retrieval does that better. The mean is over every token,
`<bos>` included.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from gemwright.cache.allocate import allocate
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import Decoder
from gemwright.ops.span import span

_CHUNK = 512  # tokens between two of which the engine may run a step


def pooled(
    model: Decoder, inputs: Sequence[Sequence[int]], adapters: Adapters, adapter: str | None
) -> Generator[None, None, list[list[float]]]:
    """One vector of `width` numbers for each input (ids, at least one), of Euclidean length 1, with the adapter of that
    name. Yields between chunks of work, so that whoever runs it can do other things meanwhile."""
    vectors, held = [], adapters.find(adapter)
    for ids in inputs:
        total = torch.zeros(model.spec.width, dtype=torch.float64, device=model.device)
        memory = handle = None
        if len(ids) > _CHUNK:
            place = {"dtype": model.dtype, "device": model.device}
            memory = allocate(model.spec, sequences=1, tokens=len(ids), **place)
            handle = memory.open()
        for begin in range(0, len(ids), _CHUNK):
            part = torch.tensor(ids[begin : begin + _CHUNK], dtype=torch.int64, device=model.device)
            step = memory.prepare([handle], [len(part)]) if memory is not None and handle is not None else None
            where = step.span if step else span([len(part)], device=model.device)
            with torch.inference_mode():
                hidden = model(part, where, memory=step, adapters=adapters.chosen([held], [len(part)]))
                total += hidden.sum(0, dtype=torch.float64)
            if step is not None:
                step.commit()
            yield
        vectors.append(_unit(total))
    return vectors


def _unit(vector: Tensor) -> list[float]:
    return (vector / vector.norm().clamp_min(1e-30)).float().tolist()


def as_json(vectors: Sequence[Sequence[float]], model: str, tokens: int, encoding: str | None) -> dict[str, Any]:
    """OpenAI's answer; `encoding` "base64" packs each vector as little-endian float32."""
    packed = encoding == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if packed else list(vector)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _base64(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
