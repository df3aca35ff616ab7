"""GGUF's metadata as models: llama.cpp's rules, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest

from gemwright.arch.presets import names, preset
from gemwright.arch.spec import Attention, Model
from gemwright.errors import UserError
from gemwright.weights.gguf.config import parse, read_spec, write_spec
from gemwright.weights.gguf.source import GgufSource

PUBLISHED = [name for name in names() if "recurrent" not in name and "griffin" not in name]
SMALL: dict[str, Any] = {"width": 64, "heads": 2, "kv_heads": 1, "hidden": 96, "head_dim": 32, "context": 256}
SMALL |= {"vocab": 320, "window": 8, "query_scalar": 32.0}


def text_only(name: str, **sizes: Any) -> Model:
    return replace(preset(name, **sizes), vision=None)


def as_read(spec: Model) -> Model:
    return parse(spec.family, write_spec(spec), where="x.gguf", vocab=spec.vocab, name=spec.name)


def small(**changed: Any) -> dict[str, Any]:
    """Metadata of a small Gemma 3, with changes; None takes a key away."""
    tree = write_spec(text_only("gemma-3-1b", depth=7, **SMALL)) | {
        f"gemma3.{key.replace('__', '.')}": value for key, value in changed.items()
    }
    return {key: value for key, value in tree.items() if value is not None}


def parsed(family: str = "gemma3", **changed: Any) -> Model:
    return parse(family, small(**changed), where="x.gguf", vocab=320, name="small")


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_model_comes_back(name: str) -> None:
    assert as_read(text_only(name)) == text_only(name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_llama_cpps_converter_states_is_the_published_model(
    name: str, build: Callable[..., Path], states: Callable[[Model], tuple[str, dict[str, Any]]]
) -> None:
    """The table's rows are the vocabulary, so a short one gives a small vocabulary."""
    spec = text_only(name, vocab=3)
    word, metadata = states(spec)
    table = numpy.zeros((3, spec.width), dtype=numpy.float32)
    assert read_spec(GgufSource(build(metadata, {"token_embd.weight": table}, word))) == spec


def test_ollamas_words_are_understood() -> None:
    tree = write_spec(text_only("gemma-3-4b"))
    for key in ("rope.freq_base", "rope.freq_base_swa", "rope.scaling.type", "rope.scaling.factor"):
        del tree[f"gemma3.{key}"]
    tree |= {"gemma3.rope.global.freq_base": 1e6, "gemma3.rope.local.freq_base": 1e4}
    tree |= {"gemma3.attention.sliding_window_pattern": 6, "gemma3.vision.block_count": 27}
    spec = text_only("gemma-3-4b")
    assert parse("gemma3", tree, where="x.gguf", vocab=spec.vocab, name="x") == spec


def test_layers_may_be_stated_one_by_one() -> None:
    listed = (True, False, True, True, False, True, True)
    assert parsed(attention__sliding_window_pattern=listed).kinds == tuple(
        "local" if local else "global" for local in listed
    )
    spec = text_only("gemma-3-1b", depth=7, **SMALL)
    mixed = replace(spec, layers=(spec.layers[5], *spec.layers[:6]))
    assert as_read(mixed) == mixed


@pytest.mark.parametrize("name", ["gemma-2-2b", "gemma-3-1b"])
def test_a_model_of_one_kind_of_layer_comes_back(name: str) -> None:
    for index in (0, 5):
        spec = text_only(name, depth=6, **SMALL)
        spec = replace(spec, layers=(spec.layers[index],) * 6)
        assert as_read(spec) == spec


def changed(spec: Model, **values: Any) -> Model:
    layers = []
    for layer in spec.layers:
        assert isinstance(layer.mixer, Attention)
        layers.append(replace(layer, mixer=replace(layer.mixer, **values)))
    return replace(spec, layers=tuple(layers))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (text_only("gemma-3-1b", depth=7, **SMALL | {"query_scalar": 24.0}), "layers"),
        (text_only("gemma-2-2b", depth=2, **SMALL | {"query_scalar": 24.0}), "layers"),
        (changed(text_only("gemma-3-1b", depth=7, **SMALL), cap=50.0), "layers"),
        (replace(text_only("gemma-2b", depth=2), final_cap=30.0), "final_cap"),
        (replace(text_only("gemma-3-1b"), embed_scale=1.0), "embed_scale"),
    ],
)
def test_what_readers_would_run_otherwise_is_not_written(spec: Model, field: str) -> None:
    with pytest.raises(UserError, match=f"take other {field} for granted"):
        write_spec(spec)


@pytest.mark.parametrize("cap", ["attention_cap", "final_cap"])
def test_gemma_2_without_a_cap_is_not_written(cap: str) -> None:
    with pytest.raises(UserError, match="take other"):
        write_spec(text_only("gemma-2-2b", depth=2, **SMALL, **{cap: None}))


def test_recurrentgemma_has_no_gguf() -> None:
    with pytest.raises(UserError, match=r"llama\.cpp runs no recurrentgemma"):
        write_spec(preset("recurrentgemma-2b"))


@pytest.mark.parametrize("architecture", ["llama", "gemma3n", "gemma4"])
def test_another_architecture_is_named(build: Callable[..., Path], architecture: str) -> None:
    path = build({}, {"token_embd.weight": numpy.zeros((2, 2), numpy.float32)}, architecture)
    with pytest.raises(UserError, match=f'"{architecture}"'):
        read_spec(GgufSource(path))


def test_a_file_without_a_table_is_refused(build: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match="token_embd"):
        read_spec(GgufSource(build({}, {"t": numpy.zeros((2, 2), numpy.float32)})))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", 0),
        ("block_count", 1 << 31),
        ("block_count", "seven"),
        ("embedding_length", None),
        ("feed_forward_length", (96, 96, 96, 96, 96, 96, 95)),
        ("attention.value_length", 16),
        ("attention.layer_norm_rms_epsilon", float("nan")),
        ("attention.layer_norm_rms_epsilon", None),
        ("attention.head_count_kv", 3),
        ("attention.key_length", 31),
        ("attention.sliding_window_pattern", (True, False)),
        ("attn_logit_softcapping", 50.0),
        ("rope.dimension_count", 16),
        ("rope.scaling.type", "yarn"),
        ("rope.scaling.factor", 8.0),
        ("vocab_size", 321),
    ],
)
def test_metadata_that_contradict_themselves_are_refused(key: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        parsed(**{key.replace(".", "__"): value})
    assert "x.gguf" in caught.value.message
