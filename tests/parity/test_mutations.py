"""Each known mistake, made in our model, is seen by the parity tests: a hundred times over their tolerance."""

from __future__ import annotations

import mutations
import passes
import pytest
from mutations import MUTATIONS, Mutation
from pairs import TOLERANCE, Pair, Pairs, difference

ROWS = [pytest.param(row, case, id=f"{row.name}-{case}".replace(" ", "_")) for row in MUTATIONS for case in row.cases]
LENGTHS = (68, 40, 27, 68)


def worst(pair: Pair, row: Mutation) -> float:
    """The largest difference that the mutated model makes on four packed texts."""
    tensors = dict(pair.ours.state_dict())
    row.tensors(pair.spec, tensors)
    model = mutations.mutated(row.spec(pair.spec), tensors)
    texts = [pair.text(seed, tokens) for seed, tokens in enumerate(LENGTHS)]
    with row.patch():
        out = passes.packed(model, [ids for ids, _ in texts])
    return max(difference(mine, logits) for mine, (_, logits) in zip(out, texts, strict=True))


@pytest.mark.parametrize(("row", "case"), ROWS)
def test_the_mistake_is_seen(pairs: Pairs, row: Mutation, case: str) -> None:
    assert worst(pairs(case), row) >= 100 * TOLERANCE


@pytest.mark.parametrize("case", mutations.EVERY)
def test_no_mistake_no_difference(pairs: Pairs, case: str) -> None:
    """The harness itself changes nothing."""
    assert worst(pairs(case), Mutation(name="none", cases=(case,))) <= TOLERANCE


def test_names_are_unique() -> None:
    assert len({row.name for row in MUTATIONS}) == len(MUTATIONS)
