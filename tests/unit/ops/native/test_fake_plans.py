"""A plan that memory was counted with serves a real step afterwards."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from gemwright.ops.attend import attend_documents
from gemwright.ops.native import gradients
from gemwright.ops.span import span


def test_what_a_count_remembers_of_a_plan_is_not_given_to_a_step() -> None:
    step, draw = span([5, 9]), torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(14, 2, 16, generator=draw).bfloat16().requires_grad_() for _ in range(3))
    if not gradients.usable(query, key, value, channels=16):
        pytest.skip("no kernels here")
    with FakeTensorMode(allow_non_fake_inputs=True) as counting:
        attend_documents(
            *(counting.from_tensor(each) for each in (query, key, value)), step, window=None, scale=0.25, cap=None
        )
    found = attend_documents(query, key, value, step, window=None, scale=0.25, cap=None)
    wanted = attend_documents(query.float(), key.float(), value.float(), step, window=None, scale=0.25, cap=None)
    torch.testing.assert_close(found.float(), wanted, rtol=0.02, atol=0.02)
