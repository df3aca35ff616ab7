"""Awake models, their folders and their logits: made once per session, shared by every test of this folder."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # the helper modules beside the tests

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what transformers says about itself while it is imported
    import awake
    from pairs import Pair, Pairs


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These models are so small that a second thread costs more than it brings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """`pairs(case)`: the pair of that case, built at first need."""
    made: dict[str, Pair] = {}

    def pair(case: str) -> Pair:
        if case not in made:
            folder = tmp_path_factory.mktemp("awake") / case
            made[case] = Pair(case=case, folder=folder, theirs=awake.save(case, folder))
        return made[case]

    return pair
