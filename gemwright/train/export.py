"""A trained model as a folder that everything else can load: weights, config, tokenizer, defaults of generation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import turn_marks
from gemwright.weights.save import save
from gemwright.weights.side_files import tokenizer_files


def export(
    model: Decoder,
    tokenizer_folder: Path,
    folder: Path,
    *,
    tower: Tower | None = None,
    dtype: torch.dtype,
    sampling: Mapping[str, Any],
    documents: Mapping[str, Mapping[str, Any]],
    converses: bool = False,
    overwrite: bool = False,
) -> Path:
    """Writes a Hugging Face folder, whole or not at all.

    It holds the model and the `tower` that it sees through, in `dtype`, all tokenizer files of `tokenizer_folder`,
    `generation_config.json` with `sampling` (temperature and so on) and the id that ends a text, and `documents`,
    further JSON files by name. That the model `converses` is said by naming the end of a turn, too. Raises `UserError`
    where the folder cannot be written."""
    tokenizer = Tokenizer.load(tokenizer_folder)
    ends = [tokenizer.eos, turn_marks(tokenizer)[1]] if converses else tokenizer.eos
    generation = {
        "bos_token_id": tokenizer.bos,
        "eos_token_id": ends,
        "pad_token_id": tokenizer.pad,
        **sampling,
    }
    return save(
        model,
        folder,
        tower=tower,
        dtype=dtype,
        extras=tokenizer_files(tokenizer_folder),
        documents={"generation_config.json": generation, **documents},
        overwrite=overwrite,
    )
