"""All that a measured number depends on, so that somebody else can measure it again."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import Any

import torch

import gemwright
from gemwright.engine.request import Sampling
from gemwright.lm import LM


def recipe(lm: LM, *, quant: str | None = None, adapter: str | None = None) -> dict[str, Any]:
    """The model, by name, folder and a digest of its weights; how it was loaded (`quant`, `adapter`) and what it runs
    on; versions. JSON values, and no times: the same model on the same installation gives the same tree."""
    return {
        "model": lm.spec.name,
        "folder": str(lm.folder) if lm.folder else None,
        "weights": lm.model.digest(),
        "tokenizer": lm.tokenizer.fingerprint() if lm.tokenizer else None,
        "template": "the checkpoint's own" if lm.template else "built in",
        "quant": quant,
        "adapter": adapter,
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "device": str(lm.model.device),
        "threads": torch.get_num_threads(),
        "versions": {
            "gemwright": gemwright.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def sampling_facts(lm: LM, sampling: Sampling) -> dict[str, Any]:
    """How answers are drawn, with what the checkpoint says where `sampling` leaves it open."""
    return asdict(sampling.resolve(lm.engine.defaults))
