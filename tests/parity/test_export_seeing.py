"""A small model that sees, with a vocabulary of its own, is exported: transformers reads it all and sees the same."""

from __future__ import annotations

import argparse
import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from pairs import TOLERANCE, difference
from torch import Tensor
from transformers import AutoProcessor, Gemma3ForConditionalGeneration

from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.engine.request import Request, Sampling
from gemwright.image.resize import pixels
from gemwright.lm import LM, load
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise, initialise_tower
from gemwright.ops.span import Image, span
from gemwright.text.train import train_tokenizer
from gemwright.train.export import export

EYES = Vision(tower=Encoder(image=56, patch=14, width=24, hidden=40, heads=2, depth=2, norm_epsilon=1e-6), tokens=4)
SIZES = {"width": 64, "depth": 6, "heads": 2, "hidden": 96, "head_dim": 16, "query_scalar": 16.0, "window": 16}
VOCAB = 1200


def _awake() -> tuple[Decoder, Tower]:
    """No norm and no bias is 0."""
    spec = preset("gemma-3-1b", **SIZES, vocab=VOCAB, context=512)
    model, tower = Decoder(spec), Tower(EYES, spec.width)
    generator = torch.Generator().manual_seed(1)
    initialise(model, generator)
    initialise_tower(tower, generator)
    with torch.no_grad():
        for name, parameter in (*model.named_parameters(), *tower.named_parameters()):
            deviation = 0.4 if parameter.ndim == 1 else 0.3 if "layers" in name else 0.05
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=deviation)
    return model, tower


@dataclass(frozen=True)
class Exported:
    """A folder, both readers' models of it, and what transformers says of its reading."""

    folder: Path
    lm: LM
    theirs: Any
    told: dict[str, Any]

    def request(self, text: str, seed: int) -> Request:
        """A text behind a picture of noise."""
        noise = numpy.random.default_rng(seed).integers(0, 256, size=(70, 40, 3), dtype=numpy.uint8)
        greedy = Sampling(temperature=0.0, max_tokens=8)
        return self.lm.request(text, greedy, images=[noise])

    def inputs(self, request: Request) -> dict[str, Tensor]:
        """The same for transformers, which finds pictures by the id that config.json states."""
        ids = torch.tensor(request.ids)
        seen = numpy.stack([pixels(one.picture, EYES.tower.image) for one in request.images])
        types = (ids == self.theirs.config.image_token_id).long()
        return {"input_ids": ids[None], "pixel_values": torch.from_numpy(seen), "token_type_ids": types[None]}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    train_tokenizer([Path(argparse.__file__), Path(ast.__file__)], VOCAB, folder / "tokenizer")
    model, tower = _awake()
    out = export(
        model,
        folder / "tokenizer",
        folder / "model",
        tower=tower,
        dtype=torch.float32,
        sampling={"do_sample": False},
        documents={},
        converses=True,
    )
    read: Any = Gemma3ForConditionalGeneration.from_pretrained
    theirs, told = read(out, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    return Exported(out, load(out, device="cpu", dtype="float32"), theirs.eval(), told)


def test_transformers_finds_all_tensors_and_no_others(exported: Exported) -> None:
    assert not any(exported.told[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_the_config_states_the_ids_of_its_own_vocabulary(exported: Exported) -> None:
    config, tokenizer = exported.theirs.config, exported.lm.tokenizer
    assert tokenizer is not None
    found = (config.boi_token_id, config.image_token_id, config.eoi_token_id)
    assert found == (tokenizer.start_of_image, tokenizer.image_soft, tokenizer.end_of_image)
    assert max(found) < 16 and tokenizer.vocab_size == VOCAB


def test_logits_of_a_prompt_with_a_picture_are_those_of_transformers(exported: Exported) -> None:
    request = exported.request("def add_argument(self, name):", seed=1)
    (image,) = request.images
    where = span([len(request.ids)], images=[Image(0, image.first, image.count)])
    with torch.no_grad():
        soft = exported.lm.engine.eyes.encode([image.picture])
        ids = torch.tensor(request.ids)
        ours = exported.lm.model(ids, where, use=lambda hidden, head: head.logits(hidden), soft=soft)
        theirs = exported.theirs(**exported.inputs(request), use_cache=False).logits[0]
    assert len(request.ids) > SIZES["window"]
    assert difference(ours, theirs) <= TOLERANCE


def test_what_is_drawn_after_a_picture_is_what_transformers_draws(exported: Exported) -> None:
    tokenizer = exported.lm.tokenizer
    assert tokenizer is not None
    marks = [tokenizer.start_of_image, tokenizer.image_soft, tokenizer.end_of_image]
    drawn = set()
    for seed in (1, 2):
        request = exported.request("return parser", seed)
        ours = exported.lm.engine.generate(request).ids
        asked = exported.inputs(request)
        theirs = exported.theirs.generate(
            **asked, attention_mask=torch.ones_like(asked["input_ids"]), max_new_tokens=8, suppress_tokens=marks
        )
        assert list(ours) == theirs[0, len(request.ids) :].tolist()
        drawn.add(ours)
    assert len(drawn) == 2  # it sees


def test_the_processor_of_transformers_finds_the_marks(exported: Exported) -> None:
    request = exported.request("return parser", seed=1)
    noise = numpy.random.default_rng(1).integers(0, 256, size=(70, 40, 3), dtype=numpy.uint8)
    processor = AutoProcessor.from_pretrained(exported.folder)
    found = processor(images=noise, text="<start_of_image>return parser", return_tensors="pt")
    assert tuple(found["input_ids"][0].tolist()) == request.ids
