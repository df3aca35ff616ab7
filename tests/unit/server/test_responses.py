"""A response tells what was asked for as the client wrote it."""

from __future__ import annotations

from typing import Any

import pytest

from gemwright.server.answers import Pieces
from gemwright.server.responses import Response
from gemwright.server.schema import ResponsesBody

FORM = {"type": "json_schema", "name": "list", "schema": {"type": "array"}}


@pytest.mark.parametrize(
    ("text", "told"), [({"format": FORM}, FORM), ({"format": None}, {"type": "text"}), (None, {"type": "text"})]
)
def test_a_response_has_the_form_that_was_asked_for(text: Any, told: dict[str, Any]) -> None:
    first = next(Response(ResponsesBody(input="Hi", text=text), "m", Pieces(None)).begin())
    assert first["response"]["text"] == {"format": told}
