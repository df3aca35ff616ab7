"""What people see of a mistake."""

from __future__ import annotations

import pytest

from gemwright.errors import ModelError, UserError


@pytest.mark.parametrize("kind", [UserError, ModelError])
def test_a_mistake_is_told_in_two_lines_or_in_one_where_nothing_helps(kind: type[UserError]) -> None:
    assert kind("no file x", hint="look for y").told == "error: no file x\nhint: look for y"
    assert kind("no file x").told == "error: no file x"
    assert str(kind("no file x", hint="look for y")) == "no file x (look for y)"
