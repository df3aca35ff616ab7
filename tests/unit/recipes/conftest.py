"""A tiny model that sees, and conversations about pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise, initialise_tower
from gemwright.tasks.split import items
from gemwright.tasks.write import record
from gemwright.text.tokenizer import Tokenizer
from gemwright.train.export import export

EYES = Vision(tower=Encoder(image=56, patch=14, width=16, hidden=24, heads=2, depth=2, norm_epsilon=1e-6), tokens=4)


@pytest.fixture
def seeing(tmp_path: Path, tokenizer: Tokenizer) -> Path:
    """A float32 folder of two layers and a tower, with a tokenizer; a picture is four tokens there."""
    sizes = {"width": 16, "depth": 2, "heads": 2, "head_dim": 8, "hidden": 24, "vocab": 320, "context": 512}
    spec = replace(preset("gemma-3-1b", **sizes, window=8, pattern=2), vision=EYES)
    model, tower = Decoder(spec), Tower(EYES, spec.width)
    initialise(model, torch.Generator().manual_seed(1))
    initialise_tower(tower, torch.Generator().manual_seed(2))
    folder = tokenizer.source.parent
    return export(model, folder, tmp_path / "seeing", tower=tower, dtype=torch.float32, sampling={}, documents={})


@pytest.fixture
def shown(tmp_path: Path) -> str:
    """A file of eight conversations, each about a picture."""
    path = tmp_path / "shown.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for item in items("pictures", "train", count=8):
            file.write(json.dumps(record(item)) + "\n")
    return str(path)
