"""Files of requests answered offline: in order, resumable, every failure named."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemwright.engine.request import Sampling
from gemwright.lm import load

BRIEF: dict[str, Any] = {"max_tokens": 5, "temperature": 0}
TEXTS = ["def ", "import ", "class ", "return ", "if "]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"prompt": text} | BRIEF) + "\n" for text in TEXTS))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(path: Path) -> list[str]:
    return [row["response"]["body"]["choices"][0]["text"] for row in read(path)]


def test_rows_are_answered_in_order_as_the_engine_answers_them(
    cli: Callable, tiny: Path, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    ended = cli("batch", source, out, "-m", tiny, "--json")
    assert ended.code == 0 and ended.json["answered"] == len(TEXTS) and ended.json["failed"] == []
    lm = load(tiny)
    assert texts(out) == [lm.generate(text, Sampling(**BRIEF)).text for text in TEXTS]
    assert [row["custom_id"] for row in read(out)] == [f"line-{n + 1}" for n in range(len(TEXTS))]


def test_a_run_goes_on_after_half_a_line(cli: Callable, tiny: Path, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    cli("batch", source, out, "-m", tiny)
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    ended = cli("batch", source, out, "-m", tiny, "--json")
    assert ended.code == 0 and (ended.json["skipped"], ended.json["answered"]) == (2, 3)
    assert out.read_bytes().startswith(b"".join(lines[:2])) and len(read(out)) == 5
    untouched = out.read_bytes()
    assert cli("batch", source, out, "-m", tiny, "--json").json["skipped"] == 5
    assert out.read_bytes() == untouched


def test_failed_rows_are_named_and_the_others_answered(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    rows: list[Any] = [
        {"custom_id": "good", "method": "POST", "url": "/v1/completions", "body": {"prompt": "def "} | BRIEF},
        {"custom_id": "route", "method": "POST", "url": "/v1/files", "body": {}},
        {"custom_id": "type", "prompt": "x", "max_tokens": "five"},
        {"custom_id": "long", "prompt": "word " * 400},
        {"custom_id": "stream", "prompt": "x", "stream": True},
        5,
        {"custom_id": "vector", "url": "/v1/embeddings", "body": {"input": ["a", "b"]}},
        {"custom_id": "narrow", "url": "/v1/embeddings", "body": {"input": "a", "dimensions": 3}},
        {"custom_id": "empty", "url": "/v1/embeddings", "body": {"input": ["a", ""]}},
        {
            "custom_id": "response",
            "url": "/v1/responses",
            "body": {"input": "Hi", "max_output_tokens": 3, "temperature": 0},
        },
        {"custom_id": "chat", "messages": [{"role": "user", "content": "Hi"}]} | BRIEF,
    ]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows) + "no json\n")
    ended = cli("batch", source, out, "-m", tiny, "--json")
    assert ended.code == 1
    failed = {row["custom_id"]: row["error"] for row in ended.json["failed"]}
    assert list(failed) == ["route", "type", "long", "stream", "line-6", "narrow", "empty", "line-12"]
    assert "/v1/files" in failed["route"] and "max_tokens" in failed["type"] and "context" in failed["long"]
    assert "dimensions is 3" in failed["narrow"] and "empty" in failed["empty"]
    found = {row["custom_id"]: row for row in read(out)}
    assert len(found) == 12 and {id for id, row in found.items() if row["error"]} == set(failed)
    assert len(found["vector"]["response"]["body"]["data"]) == 2
    assert found["response"]["response"]["body"]["status"] == "incomplete"
    assert found["chat"]["response"]["body"]["object"] == "chat.completion"
    plain = cli("batch", source, tmp_path / "other.jsonl", "-m", tiny)
    assert plain.code == 1 and "failed: route (line 2)" in plain.err


def test_two_rows_of_one_name_are_refused(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"custom_id": "a", "prompt": "x"}\n' * 2)
    ended = cli("batch", source, tmp_path / "out.jsonl", "-m", tiny)
    assert ended.code == 2 and "lines 1 and 2" in ended.err


def test_an_output_of_something_else_is_left_alone(cli: Callable, tiny: Path, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for content in ('{"custom_id": "stranger"}\n', "a text\n", '["custom_id"]\n'):
        out.write_text(content)
        ended = cli("batch", source, out, "-m", tiny)
        assert ended.code == 2 and out.read_text() == content
    assert cli("batch", source, source, "-m", tiny).code == 2
    assert cli("batch", tmp_path / "nothing.jsonl", out, "-m", tiny).code == 2


def test_a_run_that_was_killed_leaves_whole_lines_and_goes_on(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"custom_id": f"row {n}", "prompt": TEXTS[n % 5] + str(n), "max_tokens": 1 + n % 16, "seed": n}
        for n in range(40)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = [sys.executable, "-m", "gemwright", "batch", source, out, "-m", tiny, "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while not (out.exists() and out.read_bytes().count(b"\n") > 2):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.002)
        process.kill()
    before = read(out)
    assert 2 < len(before) < 40
    ended = cli("batch", source, out, "-m", tiny, "--json")
    assert ended.code == 0 and ended.json["skipped"] == len(before) and ended.json["answered"] == 40 - len(before)
    assert [row["custom_id"] for row in read(out)] == [row["custom_id"] for row in rows]
    assert cli("batch", source, tmp_path / "alone.jsonl", "-m", tiny).code == 0
    assert texts(out) == texts(tmp_path / "alone.jsonl")
