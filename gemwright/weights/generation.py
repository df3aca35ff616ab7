"""generation_config.json: how a checkpoint's makers want it to be sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gemwright.weights.fields import Fields, read_json

_IDS = 1 << 24


def read_generation(folder: Path) -> dict[str, Any]:
    """The sampling defaults of a folder, checked; only keys that the files state.

    `eos_token_id` is a tuple of ids (int or list in the files); `bos_token_id` and `pad_token_id` are ids;
    `do_sample` is a bool; `temperature`, `top_p`, `min_p`, `repetition_penalty` are floats; `top_k` and
    `max_new_tokens` are ints. Special ids that generation_config.json does not state come from config.json.
    """
    found: dict[str, Any] = {}
    config = folder / "config.json"
    if config.exists():
        tree = read_json(config)
        text = tree.get("text_config")
        for section in (text if isinstance(text, dict) else {}, tree):
            found |= _special(Fields(section, str(config)))
    path = folder / "generation_config.json"
    if path.exists():
        fields = Fields(read_json(path), str(path))
        found |= _special(fields) | _sampling(fields)
    return found


def _special(fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("bos_token_id", "pad_token_id"):
        if fields.has(key):
            found[key] = fields.integer(key, low=-1, high=_IDS)
    if fields.has("eos_token_id"):
        stated = fields.raw("eos_token_id")
        ids = stated if isinstance(stated, list) else [stated]
        for one in ids:
            if type(one) is not int or not 0 <= one <= _IDS:
                raise fields.refuse("eos_token_id", "it must be a token id or a list of them")
        found["eos_token_id"] = tuple(ids)
    return found


def _sampling(fields: Fields) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if fields.has("do_sample"):
        found["do_sample"] = fields.flag("do_sample", False)
    for key, low, high in (
        ("temperature", -1e-9, 1e4),
        ("top_p", -1e-9, 1.0),
        ("min_p", -1e-9, 1.0),
        ("repetition_penalty", 0.0, 1e4),
    ):
        if fields.has(key):
            found[key] = fields.number(key, low=low, high=high)
    for key in ("top_k", "max_new_tokens"):
        if fields.has(key):
            found[key] = fields.integer(key, low=0)
    return found
