"""schemathesis asks the live server whatever its own document allows, and more: nothing is answered by a surprise."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from gemwright.lm import LM

sys.path.append(str(Path(__file__).resolve().parent))
from serving import PATIENCE, Live, running

schemathesis: Any = pytest.importorskip("schemathesis")


MANY = 200 if os.environ.get("GEMWRIGHT_SOAK") else 12  # requests of each route


@pytest.fixture(scope="module")
def live(lm: LM) -> Iterator[Live]:
    """An answer without a limit of its own ends after a second."""
    with running(lm, request_seconds=1.0) as serving:
        yield serving


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")  # of its own strategies
@pytest.mark.filterwarnings("ignore:the prompt:UserWarning")  # ids without <bos> are allowed, and remarked
def test_no_request_is_answered_by_an_unexpected_5xx(live: Live) -> None:
    document = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    asked = [found.ok() for found in document.get_all_operations()]
    assert {operation.path for operation in asked} >= {"/v1/chat/completions", "/v1/embeddings", "/v1/models"}
    for operation in asked:

        @settings(max_examples=MANY, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            found = case.call(timeout=PATIENCE)
            assert found.status_code < 500 or found.status_code == 503, found.text

        ask()
