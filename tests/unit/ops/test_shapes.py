"""The shapes in annotations are checked while tests run, so they cannot drift from the code."""

import jaxtyping
import pytest
import torch

from gemwright.ops.pointwise import rms_norm
from gemwright.ops.scan import scan


def test_a_shape_that_contradicts_its_annotation_is_caught() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        scan(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(jaxtyping.TypeCheckError):
        rms_norm(torch.zeros(3, 4), torch.zeros(5), 1e-6)
