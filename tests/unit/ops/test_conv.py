"""The temporal convolution: causal, and blind to other documents."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from gemwright.ops.conv import causal_conv, with_past
from gemwright.ops.span import span


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5), taps=st.integers(1, 5), seed=st.integers(0, 999))
def test_each_document_is_convolved_alone_behind_its_own_past(lengths: list[int], taps: int, seed: int) -> None:
    torch.manual_seed(seed)
    x, tail = torch.randn(sum(lengths), 3), torch.randn(len(lengths), taps - 1, 3)
    weight, bias = torch.randn(3, 1, taps), torch.randn(3)
    rows, index = with_past(x, span(lengths).tensors.document, tail)
    out = causal_conv(rows, index, weight, bias)
    alone = [
        F.conv1d(torch.cat([past, part]).T[None], weight, bias, groups=3)[0].T
        for part, past in zip(x.split(lengths), tail, strict=True)
    ]
    assert torch.allclose(out, torch.cat(alone), atol=1e-5)


def test_the_last_tap_weighs_the_current_token() -> None:
    x = torch.zeros(5, 1)
    x[1] = 1.0
    rows, index = with_past(x, torch.zeros(5, dtype=torch.int32), torch.zeros(1, 3, 1))
    out = causal_conv(rows, index, torch.tensor([[[10.0, 20.0, 30.0, 40.0]]]), torch.tensor([0.5]))
    assert out.flatten().tolist() == [0.5, 40.5, 30.5, 20.5, 10.5]


def test_gradients_do_not_cross_documents() -> None:
    x = torch.randn(6, 2, requires_grad=True)
    rows, index = with_past(x, span([3, 3]).tensors.document, torch.zeros(2, 3, 2))
    causal_conv(rows, index, torch.randn(2, 1, 4), torch.zeros(2))[3:].sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad[:3], torch.zeros(3, 2)) and bool((x.grad[3:] != 0).any())
