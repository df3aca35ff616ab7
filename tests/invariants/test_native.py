"""Packed matrices and native kernels: rows that know nothing of each other."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from equivalence import equivalence, same_bits
from hypothesis import given
from hypothesis import strategies as st
from small import awake, specs
from torch import Tensor

from gemwright.cache.allocate import Cache, allocate
from gemwright.nn.decoder import Decoder
from gemwright.ops.attend import attend_all, attend_eager
from gemwright.ops.matmul import Form, met
from gemwright.ops.native import calls, library
from gemwright.ops.native.matrix import FORMS, Matrix
from gemwright.quant.scheme import SCHEMES
from gemwright.quant.swap import swap

if not calls.available():
    pytest.skip("no native kernels were built here", allow_module_level=True)

VOCAB = 61
_ALL = specs(width=64, heads=4, head_dim=16, hidden=96, recurrent_width=128, vocab=VOCAB)
SPECS = {name: _ALL[name] for name in ("capped", "local", "recurrent")}


@cache
def packed(name: str, chosen: str) -> Decoder:
    model = awake(SPECS[name], torch.bfloat16)
    swap(model, SCHEMES[chosen])
    return model


def _step(model: Decoder, memory: Cache, texts: list[Tensor], handles: list[Any]) -> list[Tensor]:
    """One ragged step → logits of each text's rows."""
    step = memory.prepare(handles, [len(text) for text in texts])
    with torch.no_grad():
        rows = model(torch.cat(texts), step.span, memory=step, use=lambda hidden, head: head.logits(hidden))
    step.commit()
    return list(rows.split([len(text) for text in texts]))


def _whole(model: Decoder, text: Tensor, int8: bool = False) -> Tensor:
    memory = allocate(model.spec, sequences=1, tokens=100, dtype=model.dtype, int8=int8)
    return _step(model, memory, [text], [memory.open()])[0]


models = st.sampled_from([(name, chosen) for name in SPECS for chosen in ("bf16", "q8_0", "q4_0", "int4")])


@equivalence("a packed model: any chunking = one pass, whatever sequences stand beside it", "bit")
@given(
    model=models, cuts=st.lists(st.integers(1, 30), min_size=1, max_size=8), seed=st.integers(0, 99), int8=st.booleans()
)
def test_chunks_and_neighbours(model: tuple[str, str], cuts: list[int], seed: int, int8: bool) -> None:
    decoder, generator = packed(*model), torch.Generator().manual_seed(seed)
    text = torch.randint(VOCAB, (min(sum(cuts), 90),), generator=generator)
    memory = allocate(decoder.spec, sequences=2, tokens=100, dtype=decoder.dtype, int8=int8)
    handle, neighbour, out, done = memory.open(), memory.open(), [], 0
    for index, cut in enumerate(cuts):
        part = text[done : done + cut]
        done += len(part)
        if not len(part):
            break
        if index % 2 and neighbour.length < 90:
            beside = torch.randint(VOCAB, (1 + index,), generator=generator)
            out.append(_step(decoder, memory, [beside, part], [neighbour, handle])[1])
        else:
            out.append(_step(decoder, memory, [part], [handle])[0])
    assert same_bits(torch.cat(out), _whole(decoder, text, int8))


@equivalence("the rows that are wanted of a step = these rows of all, and as much is remembered", "bit")
@given(model=models, counts=st.lists(st.integers(1, 30), min_size=1, max_size=3), data=st.data())
def test_wanted_rows(model: tuple[str, str], counts: list[int], data: st.DataObject) -> None:
    decoder, total = packed(*model), sum(counts)
    texts = [torch.randint(VOCAB, (count,), generator=torch.Generator().manual_seed(count)) for count in counts]
    rows = torch.tensor(data.draw(st.lists(st.integers(0, total - 1), max_size=total)), dtype=torch.int64)
    outs = []
    for wanted in (None, rows):
        memory = allocate(decoder.spec, sequences=len(texts), tokens=100, dtype=decoder.dtype)
        handles = [memory.open() for _ in texts]
        step = memory.prepare(handles, counts)
        hidden = decoder(torch.cat(texts), step.span, memory=step, rows=wanted)
        step.commit()
        outs.append((hidden, _step(decoder, memory, texts, handles)))  # what follows reads what was remembered
    assert same_bits(outs[1][0], outs[0][0][rows])
    assert all(same_bits(*pair) for pair in zip(outs[0][1], outs[1][1], strict=True))


@equivalence("native kernels: any number of threads = one", "bit")
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("chosen", ["bf16", "q4_0"])
def test_threads(name: str, chosen: str) -> None:
    decoder, text = packed(name, chosen), torch.randint(VOCAB, (70,))
    alone = _whole(decoder, text)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert same_bits(_whole(decoder, text), alone)


@equivalence("a packed product = dequantised weights times the same rounded activations in float64", "round")
@given(
    form=st.sampled_from([*FORMS]),
    level=st.sampled_from(library.levels()),
    rows=st.integers(1, 30),
    outputs=st.integers(1, 130),
    groups=st.integers(1, 9),
    seed=st.integers(0, 1000),
)
def test_products(form: Form, level: str, rows: int, outputs: int, groups: int, seed: int) -> None:
    torch.manual_seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "best", lambda: library.load(level))
        matrix, x = Matrix(form, outputs, 32 * groups), torch.randn(rows, 32 * groups)
        matrix.write(0, torch.randn(outputs, 32 * groups))
        ours = matrix.product(x).double()
    terms = met(x, form).double(), matrix.read().double().T
    assert ((ours - terms[0] @ terms[1]).abs() <= 3e-6 * (terms[0].abs() @ terms[1].abs())).all()


@equivalence("bfloat16 weights that are held in 12 bits = the weights", "bit")
@given(
    level=st.sampled_from(library.levels()),
    outputs=st.integers(1, 130),
    groups=st.integers(1, 40),
    spread=st.integers(0, 60),
    share=st.sampled_from([0.0, 0.001, 0.02, 0.5, 1.0]),
    seed=st.integers(0, 1000),
)
def test_twelve_bits(level: str, outputs: int, groups: int, spread: int, share: float, seed: int) -> None:
    torch.manual_seed(seed)
    weight = torch.randn(outputs, 32 * groups)
    strange = torch.rand_like(weight) < share
    weight = (weight * 2.0 ** (strange * torch.randint(-spread, spread + 1, weight.shape))).bfloat16()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "best", lambda: library.load(level))
        matrix = Matrix("bf16", outputs, 32 * groups)
        matrix.write(0, weight)
        assert same_bits(matrix.read(), weight.float())
        columns = torch.randint(32 * groups, (13,))
        picked = matrix.product(torch.nn.functional.one_hot(columns, 32 * groups).float())
    assert torch.equal(picked, weight.float().T[columns])


def _patches(pictures: int, patches: int, heads: int, channels: int, size: float, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    shape = (pictures, patches, heads, 2 * channels)
    query, key, value = (torch.randn(shape, generator=generator) for _ in range(3))
    return (size * query).bfloat16(), (size * key).bfloat16(), value.bfloat16()


patches = {
    "pictures": st.integers(1, 3),
    "patches": st.integers(1, 450),
    "heads": st.integers(1, 3),
    "channels": st.integers(1, 40),
    "size": st.sampled_from([0.3, 1.0, 5.0]),
    "seed": st.integers(0, 1000),
}


@equivalence("native attention within pictures = eager attention in float64, weights and result rounded", "round")
@given(level=st.sampled_from(library.levels()), **patches)
def test_pictures(level: str, **drawn: Any) -> None:
    query, key, value = _patches(**drawn)
    scale = query.shape[-1] ** -0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "best", lambda: library.load(level))
        ours = attend_all(query, key, value, scale=scale).double()
    everyone = torch.ones(query.shape[1], query.shape[1], dtype=torch.bool)
    for picture, found in enumerate(ours):
        asked, keys, values = (tensor[picture].double() for tensor in (query, key, value))
        exact = attend_eager(asked, keys, values, everyone, scale=scale, cap=None)
        size = attend_eager(asked, keys, values.abs(), everyone, scale=scale, cap=None)
        assert ((found - exact).abs() <= 2**-7 * size + 1e-5).all()  # two roundings of 2⁻⁸


@equivalence("native attention within pictures: any number of threads = one, among others = alone", "bit")
@given(**patches)
def test_pictures_together(**drawn: Any) -> None:
    tensors = _patches(**drawn)
    scale, alone = tensors[0].shape[-1] ** -0.5, []
    torch.set_num_threads(1)
    for picture in range(len(tensors[0])):
        query, key, value = (tensor[picture : picture + 1] for tensor in tensors)
        alone.append(attend_all(query, key, value, scale=scale))
    torch.set_num_threads(3)
    query, key, value = tensors
    assert same_bits(attend_all(query, key, value, scale=scale), torch.cat(alone))
