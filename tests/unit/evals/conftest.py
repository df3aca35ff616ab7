"""A small awake Gemma 3 in a folder, with a vocabulary of its own that knows turn marks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.lm import LM, load
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise, initialise_tower
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.train import train_tokenizer
from gemwright.train.export import export

VOCAB, CONTEXT, WINDOW = 600, 256, 16
SIZES = {"width": 64, "depth": 7, "heads": 2, "hidden": 96, "head_dim": 16, "query_scalar": 16.0, "window": WINDOW}


EYES = Vision(tower=Encoder(image=56, patch=14, width=24, hidden=40, heads=2, depth=2, norm_epsilon=1e-6), tokens=4)


def awake(seed: int = 0, **sizes: object) -> Decoder:
    """No norm or bias is 0, and neither its scores nor its logits are near each other."""
    model = Decoder(preset("gemma-3-1b", **(SIZES | {"vocab": VOCAB, "context": CONTEXT} | sizes)))
    generator = torch.Generator().manual_seed(seed)
    initialise(model, generator)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.normal_(0.0, 0.4, generator=generator)
            elif "layers" in key:
                parameter.normal_(0.0, 0.3, generator=generator)
            else:
                parameter.normal_(0.0, 0.05, generator=generator)
    return model.eval()


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of 600 pieces."""
    folder = tmp_path_factory.mktemp("vocabulary")
    train_tokenizer([Path(argparse.__file__)], VOCAB, folder, family="gemma3")
    return folder


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> Path:
    """A float32 checkpoint that transformers loads too; it draws greedily."""
    path = tmp_path_factory.mktemp("checkpoints") / "awake"
    model, tokenizer = awake(), Tokenizer.load(vocabulary)
    # It writes no bytes, which programs show in different ways where they are no text, and no image marks, which our
    # engine never draws.
    kinds = ("<0x", "<start_of_image", "<end_of_image")
    silent = [id for id in range(tokenizer.vocab_size) if tokenizer.piece(id).startswith(kinds)]
    with torch.no_grad():
        model.embed.weight[silent] = 0.0
    return export(model, vocabulary, path, dtype=torch.float32, sampling={"do_sample": False}, documents={})


@pytest.fixture(scope="session")
def lm(folder: Path) -> LM:
    """The model of that folder."""
    return load(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def seeing(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> LM:
    """Another awake model, which sees: a picture is four tokens."""
    model, tower = awake(seed=3), Tower(EYES, SIZES["width"])
    initialise_tower(tower, torch.Generator().manual_seed(1))
    path = tmp_path_factory.mktemp("checkpoints") / "seeing"
    export(model, vocabulary, path, tower=tower, dtype=torch.float32, sampling={}, documents={})
    return load(path, device="cpu", dtype="float32")


Words = Callable[[int], str]


@pytest.fixture(scope="session")
def words() -> Words:
    """So many words of the text that the vocabulary was made of."""
    text = Path(argparse.__file__).read_text("utf-8").split()
    return lambda count: " ".join(text[:count])
