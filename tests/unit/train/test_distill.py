"""The settings of distillation: what makes no sense is named."""

from typing import Any

import pytest

from gemwright.errors import UserError
from gemwright.train.distill import Distill, check


def settings(**changes: Any) -> Distill:
    base: dict[str, Any] = {"teacher": "t", "store": None, "kind": "sampled", "wording": "report", "samples": 256}
    base |= {"seed": 1, "divergence": "forward", "beta": 0.5, "temperature": 1.0, "share": 1.0, "z": 0.0}
    return Distill(**(base | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"teacher": None, "store": "s", "wording": "counts"},
        {"kind": "full", "divergence": "js", "beta": 0.1, "temperature": 2.0, "share": 0.5, "z": 1e-4},
        {"kind": "top", "divergence": "reverse", "samples": 1000},
    ],
)
def test_what_makes_sense_is_taken(changes: dict[str, Any]) -> None:
    assert check(settings(**changes)) == settings(**changes)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("teacher", {"teacher": None}),
        ("teacher", {"store": "s"}),
        ("store", {"teacher": None, "store": "s", "kind": "full"}),
        ("divergence", {"divergence": "js"}),
        ("samples", {"samples": 257}),
        ("samples", {"samples": 0, "kind": "top"}),
        ("seed", {"seed": -1}),
        ("beta", {"beta": 1.0}),
        ("temperature", {"temperature": 0.0}),
        ("share", {"share": 0.0}),
        ("share", {"share": 1.1}),
        ("z", {"z": -1.0}),
    ],
)
def test_what_makes_none_is_named(field: str, changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"distill\.{field} "):
        check(settings(**changes))
