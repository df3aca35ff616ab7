"""The native attention within whole pictures, beside float64 and beside SDPA."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gemwright.ops.attend import attend_all
from gemwright.ops.native import calls

# pictures, patches, heads, channels, size of queries and keys
CASES = [
    (2, 37, 3, 6, 1.0),
    (1, 256, 4, 16, 2.0),
    (3, 193, 2, 72, 1.0),  # one key more than are met at once
    (1, 1024, 1, 72, 4.0),
]


def _drawn(pictures: int, patches: int, heads: int, channels: int, size: float) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = (torch.randn(pictures, patches, heads, channels) for _ in range(3))
    return (size * query).bfloat16(), (size * key).bfloat16(), value.bfloat16()


def _sdpa(*tensors: Tensor) -> Tensor:
    query, key, value = (tensor.transpose(1, 2) for tensor in tensors)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def _native(tensors: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return calls.attend_all(*tensors, tensors[0].shape[-1] ** -0.5)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("case", CASES)
def test_it_is_as_close_to_float64_as_sdpa_in_bfloat16(case: tuple[int, int, int, int, float]) -> None:
    tensors = _drawn(*case)
    exact = _sdpa(*(tensor.double() for tensor in tensors))
    ours, theirs = ((made.double() - exact).square().mean().sqrt() for made in (_native(tensors), _sdpa(*tensors)))
    assert ours <= 1.2 * theirs


@pytest.mark.usefixtures("kernels")
def test_a_picture_has_the_same_bits_alone_and_among_others() -> None:
    tensors = _drawn(3, 50, 2, 18, 1.0)
    whole = _native(tensors)
    query, key, value = (tensor[1:2] for tensor in tensors)
    assert torch.equal(_native((query, key, value)), whole[1:2])


@pytest.mark.usefixtures("kernels")
def test_what_is_not_a_number_is_not_hidden() -> None:
    query, key, value = _drawn(1, 40, 1, 8, 1.0)
    key[0, 7, 0, 0] = float("nan")
    assert _native((query, key, value)).isnan().all()


def test_it_serves_bfloat16_where_no_gradient_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    if not calls.available():
        pytest.skip("no native kernels were built here")
    served: list[torch.dtype] = []
    monkeypatch.setattr(calls, "attend_all", lambda query, key, value, scale: served.append(query.dtype) or query)
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        query, key, value = (tensor.to(dtype) for tensor in _drawn(1, 9, 2, 6, 1.0))
        attend_all(query, key, value, scale=0.4)
        attend_all(query.requires_grad_(), key, value, scale=0.4)
        with torch.no_grad():
            attend_all(query, key, value, scale=0.4)
    odd = torch.randn(3, 1, 9, 2, 5).bfloat16()
    attend_all(odd[0], odd[1], odd[2], scale=0.4)
    assert served == [torch.bfloat16, torch.bfloat16]


def test_gradients_are_those_of_the_plain_path() -> None:
    tensors = [tensor.requires_grad_() for tensor in _drawn(2, 9, 2, 6, 1.0)]
    out = attend_all(tensors[0], tensors[1], tensors[2], scale=6**-0.5)
    direction = torch.randn(out.shape).bfloat16()
    ours, theirs = (torch.autograd.grad(made, tensors, direction) for made in (out, _sdpa(*tensors)))
    assert all(torch.equal(mine, other) for mine, other in zip(ours, theirs, strict=True))
