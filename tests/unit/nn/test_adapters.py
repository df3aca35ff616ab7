"""Named adapters beside a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from gemwright.errors import UserError
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import Decoder
from gemwright.ops.low_rank import Adapter, LowRank


def one(*, path: str = "layers.1.mixer.query", inputs: int = 64, seed: int = 0) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, inputs, generator=generator), torch.randn(32, 2, generator=generator)
    return Adapter(modules={path: LowRank(a=a, b=b, alpha=2.0, rslora=False)}, dropout=0.0, base=None)


@pytest.fixture
def adapters(tiny: Callable[[str], Decoder]) -> Adapters:
    return Adapters(tiny("gemma-3-1b").spec, "cpu")


def test_adapters_come_and_go_by_name(adapters: Adapters) -> None:
    adapters.add("a", one())
    adapters.add("b", one(seed=1))
    assert list(adapters) == ["a", "b"] and len(adapters) == 2 and "a" in adapters and "c" not in adapters
    size = adapters.nbytes
    adapters.remove("a")
    assert list(adapters) == ["b"] and adapters.nbytes == size // 2 == 2 * (64 + 32) * 4


def test_a_number_that_was_given_up_is_used_again(adapters: Adapters) -> None:
    adapters.add("a", one())
    adapters.add("b", one(seed=1))
    adapters.remove("a")
    adapters.add("c", one(seed=2))
    chosen = adapters.chosen([adapters.find("c"), None, adapters.find("b")], [2, 1, 1])
    assert chosen is not None and chosen.rows.tolist() == [0, 0, -1, 1]


def test_a_step_without_adapters_is_told_of_none(adapters: Adapters) -> None:
    adapters.add("a", one())
    assert adapters.chosen([None, None], [3, 4]) is None


def test_an_unknown_name_is_refused_with_the_known_ones(adapters: Adapters) -> None:
    with pytest.raises(UserError, match="none is loaded"):
        adapters.find("a")
    adapters.add("a", one())
    adapters.add("b", one())
    with pytest.raises(UserError, match="there are: a, b"):
        adapters.find("A")
    assert adapters.find(None) is None


def test_a_name_that_is_taken_or_empty_is_refused(adapters: Adapters) -> None:
    adapters.add("a", one())
    for name in ("a", ""):
        with pytest.raises(UserError, match=r"already|empty"):
            adapters.add(name, one())


def test_an_adapter_in_use_stays(adapters: Adapters) -> None:
    adapters.add("a", one())
    held = adapters.find("a")
    assert held is not None
    held.users = 2
    with pytest.raises(UserError, match="the adapter 'a' is in use, by 2"):
        adapters.remove("a")
    held.users = 0
    adapters.remove("a")


def test_a_fingerprint_tells_of_every_number_and_not_of_the_name(adapters: Adapters) -> None:
    same, other, scaled = one(), one(seed=1), one()
    (path,) = scaled.modules
    scaled = replace(scaled, modules={path: replace(scaled.modules[path], alpha=2.5)})
    for name, adapter in zip("abcd", (one(), same, other, scaled), strict=True):
        adapters.add(name, adapter)
    a, b, c, d = map(adapters.fingerprint, "abcd")
    assert a == b and len({a, c, d, adapters.fingerprint(None)}) == 4


@pytest.mark.parametrize("wrong", [{"path": "layers.1.mixer.nothing"}, {"path": "embed"}, {"inputs": 32}])
def test_an_adapter_of_other_modules_or_shapes_is_refused_whole(adapters: Adapters, wrong: dict) -> None:
    with pytest.raises(ValueError, match="the model's is"):
        adapters.add("a", one(**wrong))
    assert list(adapters) == [] and adapters.nbytes == 0
