"""A picture's tokens see each other, however the sequence around them is cut, packed or remembered."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import small
import torch
from equivalence import LOGITS, equivalence, off
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gemwright.cache.allocate import allocate
from gemwright.ops import attend
from gemwright.ops.native import calls
from gemwright.ops.span import Image, Span, span

ATTENTIVE = ("global", "capped", "local")
PICTURES = ((3, 11), (20, 5), (25, 14))  # first token and count; the last two are neighbours
TOKENS = 48
FEW = settings(max_examples=max(8, settings.default.max_examples // 2))


def images(document: int = 0) -> list[Image]:
    return [Image(document, first, count) for first, count in PICTURES]


def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer by the one rule of who sees whom."""

    def plain(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        where: Span,
        *,
        window: int | None,
        scale: float,
        cap: float | None,
    ) -> Tensor:
        return attend.attend_eager(query, key, value, attend.visible_within(where, window), scale=scale, cap=cap)

    monkeypatch.setattr("gemwright.nn.attention.attend_documents", plain)


def one_pass(name: str, ids: Tensor, where: Span, dtype: torch.dtype = torch.float32) -> Tensor:
    with torch.no_grad():
        return small.model(name, dtype)(ids, where, use=lambda hidden, head: head.logits(hidden))


def in_chunks(name: str, ids: Tensor, cuts: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """The same through memory, cut at `cuts`, none of which lies within a picture."""
    memory = allocate(small.SPECS[name], sequences=1, tokens=TOKENS, slack=3, dtype=dtype)
    handle, out = memory.open(), []
    for begin, end in zip([0, *cuts], [*cuts, len(ids)], strict=True):
        within = [image for image in images() if begin <= image.first < end]
        step = memory.prepare([handle], [end - begin], within)
        model = small.model(name, dtype)
        out.append(model(ids[begin:end], step.span, step, use=lambda hidden, head: head.logits(hidden)))
        step.commit()
    return torch.cat(out)


@equivalence("blocks of queries that see a whole picture = the mask that says who sees whom", "round")
@pytest.mark.parametrize("name", ATTENTIVE)
def test_one_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = torch.cat([small.text(1, TOKENS), small.text(2, 9)])
    where = span([TOKENS, 9], images=images())
    ours = one_pass(name, ids, where)
    eager(monkeypatch)
    plain = one_pass(name, ids, where)
    assert max(off(*rows) for rows in zip(ours, plain, strict=True)) <= LOGITS
    causal = one_pass(name, ids, span([TOKENS, 9]))
    assert off(causal[:TOKENS].reshape(-1), plain[:TOKENS].reshape(-1)) > 1000 * LOGITS  # pictures matter


free = [place for place in range(1, TOKENS) if not any(first < place < first + count for first, count in PICTURES)]


@equivalence("a sequence with pictures cut anywhere but within one = one pass", "round")
@FEW
@given(name=st.sampled_from(ATTENTIVE), cuts=st.sets(st.sampled_from(free), max_size=12))
def test_chunks(name: str, cuts: set[int]) -> None:
    ids = small.text(1, TOKENS)
    whole = one_pass(name, ids, span([TOKENS], images=images()))
    chunks = in_chunks(name, ids, sorted(cuts))
    assert max(off(*rows) for rows in zip(chunks, whole, strict=True)) <= LOGITS


@pytest.mark.skipif(not calls.available(), reason="no native kernels were built here")
@equivalence("the native kernel's pictures = the plain ones, to bfloat16", "round")
@pytest.mark.parametrize("window", [None, 20])
def test_native(window: int | None) -> None:
    from gemwright.cache.full import FullStore
    from gemwright.cache.ring import RingStore

    generator = torch.Generator().manual_seed(3)
    query, key, value = (torch.randn(TOKENS, heads, 32, generator=generator).bfloat16() for heads in (4, 2, 2))
    where = span([TOKENS], images=images())
    plain = attend.attend_eager(
        query.double(), key.double(), value.double(), attend.visible_within(where, window), scale=0.3, cap=None
    )
    common = {"layers": (0,), "kv_heads": 2, "head_dim": 32, "dtype": torch.bfloat16, "device": "cpu"}
    for cuts in ([], [3, 14, 20], [1, 2, 3, 25, 40]):
        if window is None:
            store = FullStore(sequences=1, tokens=TOKENS, **common)
        else:
            store = RingStore(slots=1, window=window, slack=3, **common)
        place, out = store.open(), []
        for begin, end in zip([0, *cuts], [*cuts, TOKENS], strict=True):
            within = [image for image in images() if begin <= image.first < end]
            step = store.prepare([place], span([end - begin], past=[begin], images=within).plan)
            assert step.route is not None
            rows = slice(begin, end)
            out.append(step.attend(0, query[rows], key[rows], value[rows], 0.3, None))
        found = torch.cat(out).double()
        assert (found - plain).norm() / plain.norm() < 5e-3


@equivalence("what follows a picture, or comes before it, never sees a later one", "bit")
@pytest.mark.parametrize("name", ATTENTIVE)
def test_no_row_sees_a_later_picture(name: str) -> None:
    ids = small.text(1, TOKENS)
    other = ids.clone()
    first, count = PICTURES[-1]
    other[first : first + count] = small.text(9, count)
    where = span([TOKENS], images=images())
    before, after = one_pass(name, ids, where), one_pass(name, other, where)
    assert torch.equal(before[:first], after[:first])
    assert all(not torch.equal(*rows) for rows in zip(before[first:], after[first:], strict=True))
