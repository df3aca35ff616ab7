"""Which failure is whose: the statuses of answers."""

from __future__ import annotations

import pytest

from gemwright.errors import ModelError, UserError
from gemwright.server.errors import ApiError, Stopped, as_api_error, left


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UserError("the prompt has 9 tokens", hint="shorten it"), 400, None),
        (ModelError("the model gave logits that are no numbers"), 500, "model_error"),
        (Stopped(), 503, "draining"),
        (RuntimeError("secret"), 500, "internal_error"),
        (left(), 499, "client_left"),
    ],
)
def test_a_failure_has_the_status_of_whose_it_is(error: BaseException, status: int, code: str | None) -> None:
    found = as_api_error(error)
    assert isinstance(found, ApiError) and (found.status, found.code) == (status, code)
    assert "secret" not in str(found.body())
