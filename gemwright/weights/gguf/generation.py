"""How a model wants to be sampled, as GGUF files state it: `general.sampling.*` and the ids that end a text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gemwright.weights.fields import Fields
from gemwright.weights.gguf.header import Header
from gemwright.weights.gguf.tokenizer import Vocabulary

_PREFIX = "general.sampling."
_KEYS = {"temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p"} | {
    "repetition_penalty": "penalty_repeat"
}


def read_generation(header: Header, vocabulary: Vocabulary | None) -> dict[str, Any]:
    """The defaults that a file states, in the words of `weights.generation`: `eos_token_id` is a tuple of ids."""
    own = {key.removeprefix(_PREFIX): value for key, value in header.metadata.items() if key.startswith(_PREFIX)}
    fields = Fields(own, str(header.path), _PREFIX)
    found: dict[str, Any] = {}
    for ours, theirs in _KEYS.items():
        if fields.has(theirs):
            high = 1.0 if theirs in ("top_p", "min_p") else 1e4
            found[ours] = (
                fields.integer(theirs, low=0) if theirs == "top_k" else fields.number(theirs, 0, low=-1e-9, high=high)
            )
    if vocabulary is not None:
        ids = vocabulary.ids
        ends = tuple(dict.fromkeys(ids[word] for word in ("eos", "eot") if word in ids))
        found |= {"eos_token_id": ends} if ends else {}
        found |= {f"{word}_token_id": ids[word] for word in ("bos", "pad") if word in ids}
    return found


def entries(generation: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of the defaults of a `generation_config.json`; greedy sampling is a temperature of 0."""
    stated = dict(generation)
    if stated.get("do_sample") is False:
        stated["temperature"] = 0.0
    return {_PREFIX + theirs: stated[ours] for ours, theirs in _KEYS.items() if stated.get(ours) is not None}
