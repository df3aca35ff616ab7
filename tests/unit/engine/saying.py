"""What a model says under a schema that always takes the id whose bytes it likes most, of those that may come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gemwright.engine.grammar import Grammar
from gemwright.text.tokenizer import Tokenizer


def said(schema: dict[str, Any], tokenizer: Tokenizer, liking: Callable[[bytes], Any], most: int = 400) -> str:
    """The answer, which ends within so many ids; end marks come where nothing else may."""
    pytest.importorskip("llguidance")
    from gemwright.engine.constrain import Constraint

    constraint, ids = Constraint(Grammar.schema(schema), tokenizer, vocab=320), list[int]()
    while not constraint.done and len(ids) < most:
        found = constraint.mask().nonzero().flatten().tolist()
        goes_on = [id for id in found if id not in tokenizer.special_ids]
        ids.append(max(goes_on or found, key=lambda id: (liking(tokenizer.bytes_of(id)), id)))
        constraint.take(ids[-1])
    assert constraint.done
    return tokenizer.decode(ids)
