"""In bfloat16 two honest implementations differ: ours must be no further from the truth than transformers is.

The truth is transformers in float32 on the very weights that bfloat16 kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import awake
import passes
import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from gemwright.loading import load_model
from gemwright.nn.decoder import Decoder

MARGIN = 1.2
SEEDS, TEXTS = range(2), range(3)
Both = Callable[[str, int], tuple[PreTrainedModel, PreTrainedModel, Decoder]]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """`both(case, seed)`: transformers in float32, transformers in bfloat16, ours in bfloat16; all the same weights."""
    made: dict[tuple[str, int], tuple[PreTrainedModel, PreTrainedModel, Decoder]] = {}

    def make(case: str, seed: int) -> tuple[PreTrainedModel, PreTrainedModel, Decoder]:
        if (case, seed) not in made:
            folder: Path = tmp_path_factory.mktemp("bfloat16") / case
            truth = awake.save(case, folder, seed)
            for parameter in truth.parameters():
                parameter.copy_(parameter.bfloat16())
            # Not `truth.bfloat16()`: that would round the frequencies of RoPE too.
            theirs = type(truth).from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="eager")
            ours = load_model(folder, dtype=torch.bfloat16, device="cpu").model.requires_grad_(False)
            made[case, seed] = truth, theirs.eval(), ours
        return made[case, seed]

    return make


def mean_square(logits: Tensor, truth: Tensor) -> float:
    return (logits.float() - truth).square().mean().item()


@pytest.mark.parametrize("case", awake.CASES)
@pytest.mark.parametrize("seed", SEEDS)
def test_error_within_a_fifth_more_than_transformers(both: Both, case: str, seed: int) -> None:
    """Root mean square over all logits of three texts, in one pass and in pieces through the cache."""
    truth, theirs, ours = both(case, seed)
    allowed, at_once, in_pieces = 0.0, 0.0, 0.0
    for text in TEXTS:
        ids = awake.text(text)
        exact = awake.oracle(truth, ids)
        cut = [[length] for length in passes.pieces(len(ids), seed=text, longest=12)]
        allowed += mean_square(awake.oracle(theirs, ids), exact)
        at_once += mean_square(passes.packed(ours, [ids])[0], exact)
        in_pieces += mean_square(passes.stepped(ours, [ids], cut)[0], exact)
    assert at_once**0.5 <= MARGIN * allowed**0.5
    assert in_pieces**0.5 <= MARGIN * allowed**0.5


@contextmanager
def entering(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """What enters the first layer of a transformers model, run by run."""
    seen: list[Tensor] = []
    layers = model.get_decoder().layers

    def spy(module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> None:
        seen.append(arguments[0][0])

    hook = layers[0].register_forward_pre_hook(spy)
    yield seen
    hook.remove()


@pytest.mark.parametrize("case", awake.CASES)
def test_scaled_embeddings_are_equal_bit_for_bit(both: Both, case: str) -> None:
    """√72 is 8.5 in bfloat16: multiplying by 8.485 and rounding after gives other numbers."""
    _, theirs, ours = both(case, 0)
    ids = awake.text(0)
    with entering(theirs) as seen:
        awake.oracle(theirs, ids)
    assert torch.equal(ours.embed(ids), seen[0])
    unrounded = (ours.embed.weight[ids].float() * awake.WIDTH**0.5).bfloat16()
    assert not torch.equal(unrounded, seen[0])
