"""A server with a disk tier: what one process read, the next one need not."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest

from gemwright.engine import shelf
from gemwright.lm import LM

sys.path.append(str(Path(__file__).resolve().parent))
from serving import ask, running


def test_a_server_that_starts_again_reads_nothing_again(
    lm: LM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "LEAST", 8)
    room = {"sequences": 2, "disk": tmp_path, "disk_bytes": 1 << 30}
    with running(lm, room=room) as live:
        first = ask(live.client())
        assert first.usage.prompt_tokens_details.cached_tokens == 0
    with running(lm, room=room) as live:
        held = httpx.get(live.url + "/cache").json()
        assert held["files"] > 0 and held["disk"] == sum(file.stat().st_size for file in tmp_path.iterdir())
        again = ask(live.client(), extra_body={"priority": -1})
        assert live.service.places == 2
    assert again.usage.prompt_tokens_details.cached_tokens == first.usage.prompt_tokens - 1
    assert again.choices[0].message.content == first.choices[0].message.content
