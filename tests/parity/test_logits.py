"""Our logits against transformers', float32, on awake checkpoints that `save_pretrained` wrote.

The largest difference stays within 2e-5 of the logits' standard deviation however the tokens are run. The text is five
windows long, the models are two layer periods deep or more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import awake
import mutations
import passes
import pytest
from pairs import TOLERANCE, Pair, Pairs, difference
from torch import Tensor

from gemwright.arch.presets import preset

SLACK = 4  # tokens: steps of up to SLACK + 1 and longer ones go different ways through a local layer's memory

N = awake.TEXT
UNEVEN = ([N], [2, 30, 1, 5, 6, 19, N - 63], passes.pieces(N, seed=1, longest=9), passes.pieces(N, seed=2, longest=33))
LENGTHS = (N, 1, awake.WINDOW, 40)  # of the sequences of a batch


def differences(pair: Pair, run: Callable[[Sequence[Tensor]], list[Tensor]]) -> list[float]:
    """Of four sequences run together, each against its own run in transformers."""
    texts = [pair.text(seed, tokens) for seed, tokens in enumerate(LENGTHS)]
    ours = run([ids for ids, _ in texts])
    return [difference(mine, logits) for mine, (_, logits) in zip(ours, texts, strict=True)]


@pytest.mark.parametrize("case", awake.CASES)
def test_one_pass(pairs: Pairs, case: str) -> None:
    pair = pairs(case)
    for seed in range(3):
        ids, logits = pair.text(seed)
        assert difference(passes.packed(pair.ours, [ids])[0], logits) <= TOLERANCE


@pytest.mark.parametrize("case", awake.CASES)
@pytest.mark.parametrize("cut", UNEVEN, ids=str)
def test_prefill_in_uneven_chunks(pairs: Pairs, case: str, cut: list[int]) -> None:
    pair = pairs(case)
    ids, logits = pair.text(0)
    out = passes.stepped(pair.ours, [ids], [[length] for length in cut], SLACK)
    assert difference(out[0], logits) <= TOLERANCE


@pytest.mark.parametrize("case", awake.CASES)
def test_token_by_token(pairs: Pairs, case: str) -> None:
    pair = pairs(case)
    ids, logits = pair.text(0)
    out = passes.stepped(pair.ours, [ids], [[1]] * N, SLACK)
    assert difference(out[0], logits) <= TOLERANCE


@pytest.mark.parametrize("case", awake.CASES)
def test_packed_documents(pairs: Pairs, case: str) -> None:
    pair = pairs(case)
    assert max(differences(pair, lambda texts: passes.packed(pair.ours, texts))) <= TOLERANCE


@pytest.mark.parametrize("case", awake.CASES)
@pytest.mark.parametrize("seed", range(2))
def test_ragged_batch(pairs: Pairs, case: str, seed: int) -> None:
    """Each step brings another number of tokens of each sequence, some none."""
    pair = pairs(case)
    steps = passes.ragged(LENGTHS, seed, longest=11)
    assert max(differences(pair, lambda texts: passes.stepped(pair.ours, texts, steps, SLACK))) <= TOLERANCE


@pytest.mark.parametrize("case", awake.CASES)
def test_ragged_prefill_then_batched_decode(pairs: Pairs, case: str) -> None:
    """Prompts of different lengths in one step, then one token of each per step."""
    pair = pairs(case)
    lengths, decoded = (60, 3, 14, 33), 8
    texts = [pair.text(seed, tokens + decoded) for seed, tokens in enumerate(lengths)]
    steps = [list(lengths), *([1] * len(lengths) for _ in range(decoded))]
    ours = passes.stepped(pair.ours, [ids for ids, _ in texts], steps, SLACK)
    assert max(difference(mine, logits) for mine, (_, logits) in zip(ours, texts, strict=True)) <= TOLERANCE


def test_the_spec_is_read_from_the_config(pairs: Pairs) -> None:
    """The 27B-like case has what it is there for: a scalar that is no head_dim, and stretched global layers."""
    mixers = [layer.mixer for layer in pairs("gemma3-27b").spec.layers]
    assert {(m.window, m.rope.factor, m.rope.base, m.query_scalar) for m in mixers} == {
        (awake.WINDOW, 1.0, 10_000.0, 24.0),
        (None, 8.0, 1_000_000.0, 24.0),
    }


def test_griffins_other_window_sees_one_key_more(pairs: Pairs) -> None:
    """transformers lets a token see W keys, DeepMind's code W + 1. The spec says which; the second reading is the first
    with a window one wider."""
    pair = pairs("recurrentgemma")
    ids, logits = pair.text(0)
    assert [preset("recurrentgemma-2b", window_edge=edge).layers[2].mixer.window for edge in ("inside", "beyond")] == [
        2048,
        2049,
    ]
    beyond = mutations.mutated(mutations.wider(1)(pair.spec), dict(pair.ours.state_dict()))
    theirs = copy.deepcopy(pair.theirs)
    theirs.config.attention_window_size += 1
    wider = awake.oracle(theirs, ids)
    assert difference(wider[: awake.WINDOW], logits[: awake.WINDOW]) <= TOLERANCE
    assert difference(wider[awake.WINDOW :], logits[awake.WINDOW :]) >= 100 * TOLERANCE
    assert difference(passes.packed(beyond, [ids])[0], wider) <= TOLERANCE
    assert difference(passes.stepped(beyond, [ids], [[1]] * N, SLACK)[0], wider) <= TOLERANCE
