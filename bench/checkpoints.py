"""Random checkpoints of published shapes, and the same numbers as GGUF. Speed does not ask what weights say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from gemwright.arch.presets import preset
from gemwright.text import sentencepiece_file
from gemwright.text.export import write_folder
from gemwright.text.pieces import training_specials
from gemwright.text.sentencepiece_file import NORMAL, ModelFile, Piece
from gemwright.weights.hf_write import write
from gemwright.weights.hub import embedded

TYPES = ("bf16", "q8_0", "q4_0")
"""Of the matrices; beside q4_0 the embedding table is q8_0, as `gemwright convert` writes it."""


def make(name: str, folder: Path, python: Path) -> None:
    """A random bfloat16 checkpoint of the preset, written by transformers (of that interpreter) from our config, with
    a vocabulary of made-up pieces. Nothing happens if it is there already."""
    if (folder / "tokenizer.model").exists():
        return
    script = (
        "import sys, json, torch, transformers as t; config = json.loads(sys.argv[1]); "
        "config = t.AutoConfig.for_model(config.pop('model_type'), **config); torch.manual_seed(0); "
        "torch.set_default_dtype(torch.bfloat16); model = t.AutoModelForCausalLM.from_config(config); "
        "model.to(torch.bfloat16).save_pretrained(sys.argv[2])"
    )
    config = write(preset(name), None, torch.bfloat16)
    config.pop("vision_config", None)
    subprocess.run([str(python), "-c", script, json.dumps(config), str(folder)], check=True)
    vocabulary(folder, preset(name).vocab)


def vocabulary(folder: Path, size: int) -> None:
    """The embedded model's pieces, and made-up ones behind them until there are `size`: a table of true length, for
    programs that want one."""
    own = sentencepiece_file.parse((embedded() / "tokenizer.model").read_bytes())
    first = len(own.pieces)
    lowest = min(piece.score for piece in own.pieces)
    made_up = [Piece(f"\N{MIDDLE DOT}{at:06}", lowest - at, NORMAL) for at in range(first, size)]
    model = ModelFile([*own.pieces, *made_up], own.model_type, own.dummy_prefix, own.rest)
    write_folder(sentencepiece_file.serialize(model), folder, training_specials("gemma3"))


def has_gguf(name: str) -> bool:
    """Whether the format has a form for the preset: it knows no recurrent Gemma."""
    return "recurrent" not in preset(name).kinds


def convert(folder: Path, kind: str) -> Path:
    """The checkpoint as a GGUF file beside it, matrices of that type; it is written once."""
    out = folder.with_name(f"{folder.name}-{kind}.gguf")
    if not out.exists():
        words = ["convert", str(folder), "--out", str(out), "--type", kind]
        subprocess.run([sys.executable, "-m", "gemwright", *words], check=True)
    return out
