"""kill -9 and restart: what a killed server left on its disk is intact or refused, and makes no answer wrong."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gemwright.engine.request import Sampling
from gemwright.lm import LM
from gemwright.tasks import words

sys.path.append(str(Path(__file__).resolve().parent))
from serving import PATIENCE

LIVES, MANY = 2, 25  # deaths in an ordinary run, and in a soak
PROMPTS, WORDS, TOKENS = 6, 150, 8
CLIENTS = 3


def prompts() -> list[str]:
    """Long enough to be worth a file each; the second half go on where the first half end."""
    choose = random.Random("killed")
    rows = [" ".join(choose.choices(words.NOUNS, k=WORDS)) for _ in range(PROMPTS // 2)]
    return [*rows, *(f"{row} {' '.join(choose.choices(words.NOUNS, k=20))}" for row in rows)]


def body(prompt: str) -> dict[str, object]:
    return {"model": "pocket", "prompt": prompt, "temperature": 0, "max_tokens": TOKENS, "ignore_eos": True}


@contextmanager
def started(disk: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, with room in memory for two beginnings: the others leave for the disk; and its address."""
    command = [sys.executable, "-m", "gemwright", "serve", "--port", "0", "--threads", "1", "--reuse", "2"]
    with subprocess.Popen([*command, "--disk", str(disk)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield process, next(line.split()[-1] for line in process.stderr if "http://" in line)
        finally:
            process.kill()


def life(disk: Path, seed: int) -> list[tuple[str, str]]:
    """Prompts and what a server answered, before it was killed at a random moment while it answered others."""
    found: list[tuple[str, str]] = []

    def ask(address: str, order: list[str]) -> None:
        with httpx.Client(timeout=PATIENCE) as client:
            for prompt in itertools.cycle(order):
                try:
                    answer = client.post(f"{address}/v1/completions", json=body(prompt))
                except httpx.HTTPError:
                    return  # it was killed
                assert answer.status_code == 200, answer.text
                found.append((prompt, answer.json()["choices"][0]["text"]))

    choose = random.Random(seed)
    with started(disk) as (process, address):
        orders = [choose.sample(prompts(), PROMPTS) for _ in range(CLIENTS)]
        clients = [threading.Thread(target=ask, args=(address, order)) for order in orders]
        for client in clients:
            client.start()
        deadline = time.monotonic() + PATIENCE
        while len(found) < 2 * PROMPTS and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(choose.uniform(0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        for client in clients:
            client.join(PATIENCE)
        assert process.wait(PATIENCE) == -signal.SIGKILL
    return found


def outlived(lm: LM, disk: Path, lives: int) -> None:
    sampling = Sampling(temperature=0, max_tokens=TOKENS, ignore_eos=True)
    expected = {prompt: lm.generate(prompt, sampling).text for prompt in prompts()}
    assert len(set(expected.values())) > PROMPTS // 2, "the answers tell prompts apart"
    for seed in range(lives):
        found = life(disk, seed)
        assert len(found) >= 2 * PROMPTS and all(text == expected[prompt] for prompt, text in found)
    assert list(disk.iterdir())
    with started(disk) as (process, address):
        left = sorted(file.suffix for file in disk.iterdir())
        assert set(left) == {".beginning"}, "what was half written is gone"
        cached = 0
        for prompt in prompts():
            answer = httpx.post(f"{address}/v1/completions", json=body(prompt), timeout=PATIENCE).json()
            assert answer["choices"][0]["text"] == expected[prompt]
            cached += answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert cached > WORDS, "nothing was found again"


def test_a_server_that_is_killed_answers_as_before_when_it_starts_again(lm: LM, tmp_path: Path) -> None:
    outlived(lm, tmp_path / "disk", LIVES)


@pytest.mark.soak
def test_a_server_that_is_killed_many_times_answers_as_before(lm: LM, tmp_path: Path) -> None:
    outlived(lm, tmp_path / "disk", MANY)
