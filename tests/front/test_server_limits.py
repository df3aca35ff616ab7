"""What a server allows, and what it cuts: keys, limits, time-outs, hostile connections, the end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

import gemwright
from gemwright.lm import LM

sys.path.append(str(Path(__file__).resolve().parent))
from serving import CHAT, ENDLESS, PATIENCE, QUESTION, Live, ask, running, wait

# ----------------------------------------------------------------------------------------------------------------------
# Keys and limits


def test_a_wrong_key_opens_nothing_and_the_right_one_does(lm: LM) -> None:
    with running(lm, keys=("secret-1", "secret-2")) as live:
        for path in ("/v1/models", "/v1/models/pocket", "/cache", "/metrics"):
            assert httpx.get(live.url + path).status_code == 401
        for path in (CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings"):
            wrong = httpx.post(live.url + path, json={}, headers={"Authorization": "Bearer secret-3"})
            assert wrong.status_code == 401 and wrong.json()["error"]["code"] == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            live.client("secret").models.list()
        assert live.client("secret-2").models.list().data
        assert httpx.get(live.url + "/health").status_code == httpx.get(live.url + "/ready").status_code == 200


def test_a_key_has_so_many_requests_at_once(lm: LM) -> None:
    with running(lm, concurrent=1) as live:
        client = live.client()
        with ask(client, stream=True, max_tokens=900, logit_bias=ENDLESS) as stream:
            next(iter(stream))
            with pytest.raises(openai.RateLimitError) as found:
                ask(client)
            assert found.value.response.headers["Retry-After"] == "1" and "1 may be" in found.value.message
        wait(live.idle)
        assert ask(client).choices


def test_a_full_queue_refuses_with_numbers(lm: LM) -> None:
    with running(lm, waiting=2) as live:
        client = live.client()
        with ask(client, stream=True, max_tokens=900, logit_bias=ENDLESS, n=6) as stream:
            next(iter(stream))
            with pytest.raises(openai.InternalServerError) as found:
                ask(client)
            assert found.value.status_code == 503 and "2 requests wait" in found.value.message
            assert int(found.value.response.headers["Retry-After"]) >= 1


def test_a_request_that_takes_too_long_is_408_and_frees_its_place(lm: LM) -> None:
    with running(lm, request_seconds=0.2) as live:
        client = live.client()
        with pytest.raises(openai.APIStatusError) as found:
            ask(client, max_tokens=900, logit_bias=ENDLESS)
        assert found.value.status_code == 408 and found.value.code == "timeout"
        wait(live.idle)


def test_a_client_that_leaves_frees_its_place(live: Live, client: openai.OpenAI) -> None:
    stream = ask(client, stream=True, max_tokens=900, logit_bias=ENDLESS)
    next(iter(stream))
    assert not live.idle()
    stream.close()
    wait(live.idle)
    with pytest.raises(openai.APITimeoutError):
        ask(client, max_tokens=900, logit_bias=ENDLESS, timeout=0.3)
    wait(live.idle)
    assert 'gemwright_cancelled_total{reason="client_left"} 2.0' in httpx.get(live.url + "/metrics").text


def test_the_metrics_count_requests_and_tokens(lm: LM) -> None:
    with running(lm) as live:
        found = ask(live.client())
        text = httpx.get(live.url + "/metrics").text
        assert f'gemwright_requests_total{{route="{CHAT}",status="200"}} 1.0' in text
        assert f'gemwright_tokens_total{{kind="read"}} {found.usage.prompt_tokens}.0' in text
        assert 'gemwright_tokens_total{kind="drawn"} 12.0' in text


def test_the_cache_is_told_in_bytes(live: Live, client: openai.OpenAI) -> None:
    ask(client)
    found = httpx.get(live.url + "/cache").json()
    assert found["capacity"].keys() == found["used"].keys() == {"local", "global", "recurrent"}
    assert 0 < found["used"]["global"] + found["kept"]["global"] <= found["capacity"]["global"]
    assert found["beginnings"] > 0 and found["waiting"] == 0


# ----------------------------------------------------------------------------------------------------------------------
# Connections that stall


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"


def test_a_body_too_large_by_its_own_word_is_413(live: Live) -> None:
    with live.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 1073741824\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert b" 413 " in answer.splitlines()[0] and b"200000 bytes" in answer


def test_headers_that_do_not_end_are_cut(lm: LM) -> None:
    with running(lm, header_seconds=0.2) as live, live.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: he")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""


def test_a_body_that_does_not_come_is_408(lm: LM) -> None:
    with running(lm, stall_seconds=0.2) as live, live.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        assert b" 408 " in connection.recv(65536).splitlines()[0]


def test_a_server_that_ends_takes_no_more_requests(lm: LM) -> None:
    with running(lm) as live:
        live.service.draining = True
        for path, body in ((CHAT, {"messages": QUESTION}), ("/v1/embeddings", {"input": "a list"})):
            found = httpx.post(live.url + path, json=body)
            assert found.status_code == 503 and found.json()["error"]["code"] == "draining"


def test_a_model_whose_weights_are_broken_is_no_mistake_of_who_asks() -> None:
    broken = gemwright.load()
    with torch.no_grad():
        broken.engine.model.final_norm.weight.fill_(math.nan)
    with running(broken) as live:
        found = httpx.post(live.url + CHAT, json={"messages": QUESTION}, timeout=PATIENCE)
        assert found.status_code == 500 and found.json()["error"]["code"] == "model_error"
        assert httpx.get(live.url + "/health").status_code == 200


def test_a_server_whose_engine_has_ended_says_so_when_asked_for_its_cache(lm: LM) -> None:
    with running(lm) as live:
        live.service.worker.stop()
        found = httpx.get(live.url + "/cache")
        assert found.status_code == 503 and found.json()["error"]["code"] == "draining"


# ----------------------------------------------------------------------------------------------------------------------
# The command


def test_the_command_serves_and_drains_on_sigterm(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# remark\nfirst\n")
    command = [sys.executable, "-m", "gemwright", "serve", "--port", "0", "--key-file", str(keys), "--threads", "1"]
    environment = {**os.environ, "GEMWRIGHT_API_KEY": "second"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        settings: Any = {"base_url": f"{address}/v1", "max_retries": 0}
        with openai.OpenAI(api_key="second", timeout=PATIENCE, **settings) as client:
            stream = ask(client, stream=True, max_tokens=100, logit_bias=ENDLESS)
            first = next(iter(stream))
            process.send_signal(signal.SIGTERM)
            rest = list(stream)
        assert first.choices and rest[-1].choices[0].finish_reason == "length"
        assert process.wait(PATIENCE) == 0


def test_a_port_that_is_taken_is_a_users_mistake(cli: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = cli("serve", "--port", str(taken.getsockname()[1]))
    assert ended.code == 2 and "cannot listen" in ended.err


# ----------------------------------------------------------------------------------------------------------------------
# Many at once


def test_a_crowd_of_which_half_leaves_ends_with_an_empty_engine(lm: LM) -> None:
    """Every answer that arrives is the one that the question gets alone; nothing is left behind."""
    questions = [f"What is {word}?" for word in ("a list", "a tuple", "a loop", "a class")]

    async def one(client: openai.AsyncOpenAI, number: int) -> tuple[str, str] | None:
        question = questions[number % len(questions)]
        messages: Any = [{"role": "user", "content": question}]
        settings: Any = {"model": "pocket", "messages": messages, "temperature": 0, "max_tokens": 10}
        stream: Any = await client.chat.completions.create(**settings, logit_bias=ENDLESS, stream=True)
        text = ""
        async for chunk in stream:
            if number % 2:
                await stream.close()
                return None
            text += chunk.choices[0].delta.content or ""
        return question, text

    async def crowd(url: str) -> list[tuple[str, str] | None]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", timeout=PATIENCE) as client:
            return await asyncio.gather(*(one(client, number) for number in range(24)))

    with running(lm) as live:
        found = asyncio.run(crowd(live.url))
        wait(live.idle)
        alone = {
            text: ask(live.client(), messages=[{"role": "user", "content": text}], max_tokens=10) for text in questions
        }
        live.service.lm.engine.forget()
        engine = live.service.lm.engine
        for session in engine.idle:
            engine.release(session)
        assert httpx.get(live.url + "/cache").json()["used"] == {"local": 0, "global": 0, "recurrent": 0}
    answers = [pair for pair in found if pair is not None]
    assert len(answers) == 12 and all(text == alone[asked].choices[0].message.content for asked, text in answers)
