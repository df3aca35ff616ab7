"""Every test of this folder is a row of the table of equivalences."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "parity")]  # the helper modules: equivalence, small; passes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent != _HERE or not isinstance(item, pytest.Function):
            continue
        owner = getattr(item.obj, "equivalence", None) or getattr(item.cls, "equivalence", None)
        if owner is None:
            raise pytest.UsageError(f"{item.nodeid} names no claim: give it @equivalence(claim, kind)")
        item.user_properties.append(("equivalence", " | ".join(owner)))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These models are so small that a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
