"""What training does with pictures: packed or alone, encoded ahead or on the way, run once or twice."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy
import pytest
import small
import torch
from equivalence import GRADIENTS, equivalence, off, same_bits
from PIL import Image as Drawing
from torch import Tensor

from gemwright.arch.spec import Tower as Shape
from gemwright.arch.spec import Vision
from gemwright.data.batch import Batch
from gemwright.data.documents import Conversation
from gemwright.data.pictures import Shown
from gemwright.image.decode import decode
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise_tower
from gemwright.ops.span import Image, span
from gemwright.text.turns import Message
from gemwright.train.embeddings import Embeddings
from gemwright.train.encode import encode
from gemwright.train.next_token import next_token
from gemwright.train.sight import Frozen, Tuned, see

EYES = Vision(tower=Shape(image=56, patch=14, width=24, hidden=32, heads=2, depth=2, norm_epsilon=1e-6), tokens=4)
LENGTH = 30
# Of each document the places of its pictures' first tokens; the last has none.
PLACES = ((2, 9), (0,), (20, 26), ())


def shown(seed: int) -> Shown:
    """A picture of random pixels."""
    pixels = numpy.random.default_rng(seed).integers(0, 256, size=(30, 20, 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Drawing.fromarray(pixels).save(file, "PNG")
    return Shown(decode(file.getvalue()).sha256, file.getvalue())


def tower(width: int) -> Tower:
    """An awake one."""
    made, generator = Tower(EYES, width), torch.Generator().manual_seed(1)
    initialise_tower(made, generator)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return made


def batch(documents: Sequence[int]) -> Batch:
    """Documents by number, packed; nothing is learnt at pictures."""
    texts = [small.text(number, LENGTH + 1) for number in documents]
    ids, targets = torch.cat([text[:-1] for text in texts]), torch.cat([text[1:] for text in texts])
    images = [Image(at, first, EYES.tokens) for at, number in enumerate(documents) for first in PLACES[number]]
    where = span([LENGTH] * len(documents), images=images)
    pictures = tuple(shown(number + first) for number in documents for first in PLACES[number])
    weight = (where.tensors.image == 0).float()
    return Batch(ids=ids, targets=targets, weight=weight, span=where, rows=(), pictures=pictures)


def gradients(name: str, batches: Sequence[Batch], *, recompute: bool = False) -> dict[str, Tensor]:
    """The sum of the batches' losses, and the gradient of each parameter of both halves."""
    model = small.awake(small.SPECS[name])
    made = tower(small.SPECS[name].width)
    total = torch.zeros(())
    for one in batches:
        loss = next_token(model, see(Tuned(made, recompute=recompute), one)).total
        loss.backward()
        total += loss.detach()
    named = [*model.named_parameters(), *made.named_parameters()]
    return {"loss": total} | {name: each.grad for name, each in named if each.grad is not None}


@equivalence("documents with pictures packed together = each alone, in loss and in both halves' gradients", "round")
@pytest.mark.parametrize("name", ["global", "capped", "local"])
def test_packed(name: str) -> None:
    numbers = range(len(PLACES))
    packed, alone = gradients(name, [batch(numbers)]), gradients(name, [batch([number]) for number in numbers])
    assert packed.keys() == alone.keys()
    for key, wanted in alone.items():
        if not key.endswith("key.bias"):  # adds the same to all scores of a row: its gradient is rounding alone
            assert off(packed[key].reshape(-1), wanted.reshape(-1)) <= GRADIENTS, key


@equivalence("a tower that is run again for its gradient = one that keeps all it needs", "bit")
def test_recompute() -> None:
    kept, again = (gradients("local", [batch(range(len(PLACES)))], recompute=recompute) for recompute in (False, True))
    assert kept.keys() == again.keys() and all(same_bits(each, again[key]) for key, each in kept.items())


@equivalence("soft tokens that were made ahead = a frozen tower's on the way", "bit")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_ahead(tmp_path: Path, dtype: torch.dtype) -> None:
    made, pictures = tower(32).to(dtype), [shown(number) for number in range(5)]
    said = Message("user", "", tuple(pictures))
    encode([Conversation(name="", key="", messages=(said,))], made, tmp_path / "made", shard=2)
    ahead = Embeddings(tmp_path / "made")
    for some in (pictures, pictures[::-2], pictures[3:4]):
        with torch.autocast("cpu", torch.bfloat16):
            assert same_bits(Frozen(made).soft(some), torch.stack([ahead.soft(one.sha256) for one in some]))
