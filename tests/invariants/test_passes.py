"""However the same tokens are run, the same logits come out."""

from __future__ import annotations

from dataclasses import replace

import passes
import pytest
import small
import torch
from equivalence import LOGITS, equivalence, off, same_bits
from hypothesis import given, settings
from hypothesis import strategies as st

from gemwright.arch.spec import Attention, Layer
from gemwright.cache.allocate import allocate
from gemwright.ops.span import span

names = st.sampled_from(small.NAMES)
seeds = st.integers(0, 1000)
FEW = settings(max_examples=max(12, settings.default.max_examples // 2))


@equivalence("any chunking = one pass", "round")
@FEW
@given(
    name=names,
    seed=seeds,
    tokens=st.integers(1, 150),
    longest=st.sampled_from([1, 3, 9, 40, 150]),
    slack=st.integers(0, 8),
)
def test_chunking(name: str, seed: int, tokens: int, longest: int, slack: int) -> None:
    model, ids = small.model(name), small.text(seed, tokens)
    cut = [[length] for length in passes.pieces(tokens, seed, longest)]
    assert off(passes.stepped(model, [ids], cut, slack)[0], small.logits(model, ids)) <= LOGITS


@equivalence("ragged batches = each alone", "round")
@FEW
@given(
    name=names,
    seed=seeds,
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=4),
    longest=st.sampled_from([1, 4, 30]),
    slack=st.integers(0, 5),
)
def test_ragged(name: str, seed: int, lengths: list[int], longest: int, slack: int) -> None:
    model = small.model(name)
    texts = [small.text(seed + index, length) for index, length in enumerate(lengths)]
    out = passes.stepped(model, texts, passes.ragged(lengths, seed, longest), slack)
    for ids, mine in zip(texts, out, strict=True):
        assert off(mine, small.logits(model, ids)) <= LOGITS


@equivalence("packed documents = each alone", "round")
@FEW
@given(name=names, seed=seeds, lengths=st.lists(st.integers(1, 70), min_size=2, max_size=5))
def test_packed(name: str, seed: int, lengths: list[int]) -> None:
    model = small.model(name)
    texts = [small.text(seed + index, length) for index, length in enumerate(lengths)]
    for ids, mine in zip(texts, small.logits(model, *texts).split(lengths), strict=True):
        assert off(mine, small.logits(model, ids)) <= LOGITS


@equivalence("a document's contents leave its neighbours unchanged", "bit")
@FEW
@given(name=names, seed=seeds, lengths=st.lists(st.integers(1, 40), min_size=2, max_size=4), data=st.data())
def test_neighbours(name: str, seed: int, lengths: list[int], data: st.DataObject) -> None:
    changed = data.draw(st.integers(0, len(lengths) - 1))
    model = small.model(name)
    texts = [small.text(seed + index, length) for index, length in enumerate(lengths)]
    before = small.logits(model, *texts).split(lengths)
    texts[changed] = (texts[changed] + 1) % small.VOCAB
    after = small.logits(model, *texts).split(lengths)
    for index, (old, new) in enumerate(zip(before, after, strict=True)):
        assert same_bits(old, new) == (index != changed)


@equivalence("later tokens leave earlier ones unchanged", "bit")
@FEW
@given(name=names, seed=seeds, tokens=st.integers(2, 90), data=st.data())
def test_causal(name: str, seed: int, tokens: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(1, tokens - 1))
    model, ids = small.model(name), small.text(seed, tokens)
    other = ids.clone()
    other[place:] = (other[place:] + 1) % small.VOCAB
    assert same_bits(small.logits(model, ids)[:place], small.logits(model, other)[:place])


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("what a filler sequence writes changes nothing for the others", "bit")
def test_filler_with_memory(name: str) -> None:
    """A batch of decoding sequences, one of which is filler, its ids changed: the others do not move."""

    def run(filler: int) -> torch.Tensor:
        model = small.model(name)
        cache = allocate(model.spec, sequences=3, tokens=40, slack=2, dtype=torch.float32)
        handles = [cache.open() for _ in range(3)]
        rows = []
        for turn, lengths in enumerate([(9, 4, 7), (1, 1, 1), (1, 1, 1), (2, 1, 3)]):
            step = cache.prepare(handles, lengths)
            real = small.text(turn, lengths[0] + lengths[1])
            ids = torch.cat([real, small.text(filler + turn, lengths[2])])
            out = model(ids, step.span, step, use=lambda hidden, head: head.logits(hidden))
            step.commit()
            rows.append(out[: len(real)])
        return torch.cat(rows)

    assert same_bits(run(filler=100), run(filler=200))


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("what a filler document holds changes neither loss nor gradients", "bit")
def test_filler_in_training(name: str) -> None:
    lengths = [21, 13, 14]
    weight = torch.cat([torch.ones(34), torch.zeros(14)])
    targets = small.text(5, 48)

    def run(filler: int) -> list[torch.Tensor]:
        model = small.awake(small.SPECS[name])
        ids = torch.cat([small.text(0, 34), small.text(filler, 14)])
        loss = model(ids, span(lengths), use=lambda hidden, head: head.cross_entropy(hidden, targets, weight))
        loss.backward()
        return [loss.detach(), *(parameter.grad for parameter in model.parameters())]

    for some, other in zip(run(100), run(200), strict=True):
        assert same_bits(some, other)


@pytest.mark.parametrize("name", small.NAMES)
@equivalence("packed documents = each alone, in loss and gradients", "round")
def test_packed_gradients(name: str) -> None:
    lengths = [30, 7, 1, 22]
    texts = [small.text(index, length + 1) for index, length in enumerate(lengths)]

    def run(groups: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        model = small.awake(small.SPECS[name])
        total = torch.zeros(())
        for group in groups:
            targets = torch.cat([ids[1:] for ids in group])
            total = total + model(
                torch.cat([ids[:-1] for ids in group]),
                span([len(ids) - 1 for ids in group]),
                use=lambda hidden, head, t=targets: head.cross_entropy(hidden, t, torch.ones(len(t))),
            )
        total.backward()
        return [total.detach().reshape(1), *(parameter.grad for parameter in model.parameters())]

    for packed, alone in zip(run([texts]), run([[ids] for ids in texts]), strict=True):
        assert off(packed, alone) <= 3 * LOGITS  # gradients sum over all rows, in another order


@pytest.mark.parametrize("name", ["capped", "local", "recurrent"])
@equivalence("a window = all keys, while the text is within it", "round")
def test_window_wider_than_the_text(name: str) -> None:
    def unbounded(layer: Layer) -> Layer:
        mixer = layer.mixer
        return replace(layer, mixer=replace(mixer, window=None)) if isinstance(mixer, Attention) else layer

    model = small.model(name)
    everything = small.awake(replace(model.spec, layers=tuple(unbounded(layer) for layer in model.spec.layers)))
    ids = small.text(0, small.WINDOW + 1)
    full, ring = (passes.stepped(one, [ids], [[1]] * len(ids), slack=2)[0] for one in (everything, model))
    assert off(ring[: small.WINDOW], full[: small.WINDOW]) <= LOGITS
    assert off(ring[small.WINDOW :], full[small.WINDOW :]) > 100 * LOGITS
