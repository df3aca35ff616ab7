"""Tiny models of every family and a tiny tokenizer, shared by the tests that need a whole model to talk to."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.arch.spec import Model
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.text.tokenizer import Tokenizer

TINY: dict[str, dict[str, object]] = {
    "gemma-2b": {"width": 64, "depth": 3, "heads": 2, "hidden": 96, "head_dim": 16, "context": 256},
    "gemma-2-2b": {"width": 64, "depth": 4, "heads": 2, "kv_heads": 1, "hidden": 96, "head_dim": 16, "context": 256}
    | {"window": 8, "query_scalar": 16.0},
    "gemma-3-1b": {"width": 64, "depth": 7, "heads": 2, "hidden": 96, "head_dim": 16, "window": 8, "context": 256}
    | {"query_scalar": 16.0},
    "recurrentgemma-2b": {"width": 64, "recurrent_width": 48, "depth": 4, "heads": 2, "hidden": 96, "head_dim": 16}
    | {"window": 8, "gate_blocks": 2},
}
FAMILIES = tuple(TINY)
ROWS = 320  # of the table: more than the tokenizer has pieces
_WORDS = ("th", "the", "an", "and", "in", "ing", "▁th", "▁the", "on", "er")


def tiny_spec(name: str, **sizes: object) -> Model:
    """A preset shrunk until it runs in a millisecond; its windows are 8 tokens wide."""
    return preset(name, **(TINY[name] | {"vocab": ROWS} | sizes))


def tiny_model(name: str, seed: int = 0, **sizes: object) -> Decoder:
    """A float32 model that is awake: no norm or bias is 0, and its greedy text wanders."""
    model = Decoder(tiny_spec(name, **sizes))
    generator = torch.Generator().manual_seed(seed)
    initialise(model, generator)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1 and "a_param" not in key:
                parameter.normal_(0.0, 0.4, generator=generator)
            elif "layers" in key and "a_param" not in key:
                parameter.normal_(0.0, 0.3, generator=generator)
            elif "embed" in key:
                parameter.normal_(0.0, 0.05, generator=generator)
    return model.eval()


def write_tokenizer(folder: Path) -> None:
    """A `tokenizer.json` of byte pieces, letters and a few words, with turn and image marks."""
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
    marks += ["<start_of_image>", "<end_of_image>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    pieces = [*marks, *bytes_, "▁", "\n", *string.ascii_lowercase, *_WORDS]
    merges = [["t", "h"], ["th", "e"], ["a", "n"], ["an", "d"], ["i", "n"], ["in", "g"], ["▁", "th"], ["▁th", "e"]]
    merges += [["▁", "the"], ["o", "n"], ["e", "r"]]
    added = [
        {"id": id, "content": mark, "special": True, "single_word": False, "lstrip": False, "rstrip": False}
        | {"normalized": False}
        for id, mark in enumerate(marks)
    ]
    tree = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", "byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>", "dropout": None}
        | {"vocab": {piece: id for id, piece in enumerate(pieces)}, "merges": merges},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tree), encoding="utf-8")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """303 pieces; the tiny models' tables have more rows."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer.load(folder)


@pytest.fixture(scope="session")
def tiny() -> Callable[[str], Decoder]:
    """The tiny model of a family, built once."""
    built: dict[str, Decoder] = {}

    def get(name: str) -> Decoder:
        if name not in built:
            built[name] = tiny_model(name)
        return built[name]

    return get


@pytest.fixture
def one_thread(seeded: None) -> None:
    """For models this small, threads cost more than they bring. The thread count is restored by `seeded`."""
    torch.set_num_threads(1)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each family in turn."""
    return request.param
