"""GGUF files made by the `gguf` package, and whole ones in the layout of llama.cpp's converter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy
import pytest
import torch

from gemwright.arch.spec import Attention, Model
from gemwright.nn.decoder import Decoder
from gemwright.weights.names import table

ARCHITECTURE = {"gemma1": "gemma", "gemma2": "gemma2", "gemma3": "gemma3"}
ORACLE = {"gemma1": gguf.MODEL_ARCH.GEMMA, "gemma2": gguf.MODEL_ARCH.GEMMA2, "gemma3": gguf.MODEL_ARCH.GEMMA3}


def stated(spec: Model) -> dict[str, Any]:
    """What llama.cpp's converter states of a model, by key without the architecture."""
    mixer = spec.layers[0].mixer
    assert isinstance(mixer, Attention)
    windows = [layer.mixer.window for layer in spec.layers if isinstance(layer.mixer, Attention) and layer.mixer.window]
    tree: dict[str, Any] = {
        "context_length": spec.context,
        "embedding_length": spec.width,
        "block_count": len(spec.layers),
        "feed_forward_length": spec.layers[0].mlp.hidden,
        "attention.head_count": mixer.heads,
        "attention.head_count_kv": mixer.kv_heads,
        "attention.key_length": mixer.head_dim,
        "attention.value_length": mixer.head_dim,
        "attention.layer_norm_rms_epsilon": spec.norm_epsilon,
    }
    if windows:
        tree["attention.sliding_window"] = windows[0]
    if spec.family == "gemma2":
        tree |= {"attn_logit_softcapping": mixer.cap, "final_logit_softcapping": spec.final_cap}
    if spec.family == "gemma3":
        factor = max(layer.mixer.rope.factor for layer in spec.layers if isinstance(layer.mixer, Attention))
        tree["rope.freq_base"] = 1e6
        if factor != 1:
            tree |= {"rope.scaling.type": "linear", "rope.scaling.factor": factor}
    return tree


@pytest.fixture
def states() -> Callable[[Model], tuple[str, dict[str, Any]]]:
    """A function: a spec → its architecture and the metadata that llama.cpp's converter would write."""
    return lambda spec: (
        ARCHITECTURE[spec.family],
        {f"{ARCHITECTURE[spec.family]}.{key}": value for key, value in stated(spec).items()},
    )


def add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    """A key of the kind that converters give it."""
    kinds: list[tuple[type, Callable[[str, Any], None]]] = [
        (bool, writer.add_bool),
        (int, writer.add_uint32),
        (float, writer.add_float32),
        (str, writer.add_string),
        (list, writer.add_array),
    ]
    next(put for kind, put in kinds if isinstance(value, kind))(key, value)


Build = Callable[..., Path]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A function: metadata and tensors (name → array, or (bytes, type)) → the file that the gguf package writes."""

    def write(
        metadata: dict[str, Any], tensors: dict[str, Any], architecture: str = "gemma3", name: str = "model.gguf"
    ) -> Path:
        path = tmp_path / name
        writer = gguf.GGUFWriter(path, architecture)
        for key, value in metadata.items():
            if key == "general.alignment":
                writer.add_custom_alignment(value)
            else:
                add(writer, key, value)
        for key, value in tensors.items():
            data, kind = value if isinstance(value, tuple) else (value, None)
            writer.add_tensor(key, data, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


@pytest.fixture
def converted(
    build: Build, states: Callable[[Model], tuple[str, dict[str, Any]]]
) -> Callable[..., tuple[Path, Decoder]]:
    """A function: a spec → the float32 file that llama.cpp's converter would make of a random model, and the model."""

    def make(spec: Model, **more: Any) -> tuple[Path, Decoder]:
        model = Decoder(spec)
        names = table(spec.family, "model.")
        oracle = gguf.get_tensor_name_map(ORACLE[spec.family], len(spec.layers))
        tensors: dict[str, numpy.ndarray] = {}
        with torch.no_grad():
            for ours, parameter in model.named_parameters():
                parameter.normal_(0.0, 0.3)
                theirs = names.theirs(ours)
                shifted = parameter + 1 if theirs.endswith("norm.weight") else parameter
                tensors[oracle.get_name(theirs, (".weight",))] = shifted.numpy()  # type: ignore[index]
        word, metadata = states(spec)
        return build(metadata | more, tensors, word), model

    return make
