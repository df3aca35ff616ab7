"""Names lead to models; what is no name or no model is told so."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest

from gemwright.arch import spec as words
from gemwright.arch.presets import names, preset, sizes
from gemwright.errors import UserError


def test_every_published_size_is_there() -> None:
    families = {name.rsplit("-", 1)[0] for name in names()}
    assert families == {"gemma", "gemma-2", "gemma-3", "recurrentgemma", "griffin"}
    assert len(names()) == 2 + 3 + 5 + 2 + 7


@pytest.mark.parametrize("name", names())
def test_every_preset_is_a_model(name: str) -> None:
    spec = preset(name)
    words.check(spec)
    assert spec.name == name


@pytest.mark.parametrize("name", ["google/gemma-3-1b-it", "gemma-3-1b-pt", "GEMMA-3-1B"])
def test_hub_spellings_are_the_preset(name: str) -> None:
    assert preset(name) == preset("gemma-3-1b")


def test_overrides_replace_sizes() -> None:
    spec = preset("gemma-3-1b", depth=7, width=64, window=32)
    assert spec.width == 64 and len(spec.layers) == 7 and spec.embed_scale == 8.0
    assert spec.kinds == ("local",) * 5 + ("global", "local")


def test_sizes_are_a_copy() -> None:
    sizes("gemma-3-1b")["width"] = 1
    assert preset("gemma-3-1b").width == 1152


@pytest.mark.parametrize(
    ("name", "overrides", "message", "hint"),
    [
        ("gemma-3-2b", {}, "gemma-3-2b", "gemma-3-4b"),
        ("llama", {}, "llama", "gemma-2b"),
        ("gemma-3-1b", {"breadth": 3}, "breadth", "width"),
        ("gemma-3-1b", {"heads": 3, "kv_heads": 2}, "3 heads cannot share 2", "sizes"),
        ("gemma-3-1b", {"width": -4}, "width is -4", "sizes"),
        ("gemma-3-1b", {"depth": 0}, "depth is 0", "sizes"),
        ("gemma-3-1b", {"window": 0}, "window is 0", "sizes"),
        ("gemma-3-1b", {"head_dim": 15}, "15", "sizes"),
        ("recurrentgemma-2b", {"gate_blocks": 7}, "no multiple of its 7 blocks", "sizes"),
    ],
)
def test_mistakes_are_named(name: str, overrides: dict[str, int], message: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        preset(name, **overrides)
    assert message in caught.value.message and hint in caught.value.hint


def test_no_field_of_a_spec_has_a_default() -> None:
    kinds = [
        getattr(words, name) for name in ("Rope", "Attention", "Recurrent", "Mlp", "Layer", "Tower", "Vision", "Model")
    ]
    inherited = [
        f"{kind.__name__}.{field.name}"
        for kind in kinds
        for field in fields(kind)
        if field.default is not MISSING or field.default_factory is not MISSING
    ]
    assert not inherited


def test_a_fingerprint_is_of_the_arithmetic_and_not_of_the_name() -> None:
    one = preset("gemma-3-1b")
    other = preset("google/gemma-3-1b-it")
    assert one.fingerprint() == other.fingerprint()
    assert len({preset("gemma-3-1b", window=window).fingerprint() for window in (511, 512, 513)}) == 3


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("gemma-3-1b", {"pattern": 0}),
        ("gemma-3-1b", {"width": "wide"}),
        ("gemma-2-2b", {"final_cap": 0.0}),
        ("gemma-2-2b", {"attention_cap": float("nan")}),
        ("recurrentgemma-2b", {"blocks": ()}),
    ],
)
def test_sizes_that_would_divide_by_nothing_make_no_model(name: str, sizes: dict) -> None:
    with pytest.raises(UserError, match="no model"):
        preset(name, **sizes)
