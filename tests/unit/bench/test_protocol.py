"""Prompts that no cache knows, and answers that no library's chatter disturbs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gemwright.bench.protocol import BOS, crowd_seeds, peak_resident, prompt
from gemwright.planner.measure import resident

PLAYER = """
import os
from gemwright.bench.protocol import CannotDo, serve
from gemwright.errors import UserError
class Player:
    weights = 7
    def __init__(self, path):
        print("a library says hello")
        os.write(1, b"and another one\\n")
    def prefill(self, tokens, seed):
        return tokens / 10
    def decode(self, tokens, context, seed):
        raise CannotDo("no")
    def batch(self, tokens, sequences, seed):
        raise UserError("too many", hint="ask for less")
    def crowd(self, context, tokens, sequences, seed):
        return {"seconds": 2.0, "step": 0.5}
    def peak(self):
        return 77
serve(Player)
"""


def talk(*lines: dict[str, object]) -> subprocess.CompletedProcess[str]:
    said = "".join(json.dumps(line) + "\n" for line in lines)
    root = Path(__file__).resolve().parents[3]
    return subprocess.run(
        [sys.executable, "-c", PLAYER], input=said, capture_output=True, text=True, cwd=root, timeout=60, check=False
    )


def test_every_line_has_one_answer_whatever_libraries_print() -> None:
    ended = talk(
        {"do": "load", "path": "x"},
        {"do": "prefill", "tokens": 5, "seed": 1},
        {"do": "decode", "tokens": 5, "context": 16, "seed": 1},
        {"do": "batch", "tokens": 5, "sequences": 2, "seed": 1},
        {"do": "crowd", "context": 9, "tokens": 5, "sequences": 2, "seed": 1},
        {"do": "turns", "context": 9, "seed": 1},
        {"do": "memory"},
    )
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [
        {"weights": 7},
        {"seconds": 0.5},
        {"cannot": "no"},
        {"error": "too many", "hint": "ask for less"},
        {"seconds": 2.0, "step": 0.5},
        {"cannot": "this program has no such thing"},
        {"bytes": 77},
    ]
    assert sorted(ended.stderr.splitlines()) == ["a library says hello", "and another one"]


def test_a_question_that_is_none_of_the_protocol_ends_it() -> None:
    ended = talk({"do": "load", "path": "x"}, {"do": "weights"})
    assert ended.returncode == 1 and "nothing here can do 'weights'" in ended.stderr


def test_speaking_the_protocol_takes_the_standard_library_only() -> None:
    code = "import sys, gemwright.bench.protocol; print({'torch', 'numpy', 'typer'} & set(sys.modules))"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize("vocab", [320, 4096, 262_144])
def test_a_prompt_has_its_length_and_ids_of_the_vocabulary(vocab: int) -> None:
    ids = prompt(2048, vocab, seed=3)
    assert len(ids) == 2048 and ids[0] == BOS and min(ids) > 0 and max(ids) < vocab


@pytest.mark.parametrize("vocab", [320, 4096, 262_144])
def test_prompts_of_other_seeds_share_only_bos(vocab: int) -> None:
    seconds = [prompt(8, vocab, seed)[1] for seed in range(16)]
    assert len(set(seconds)) == len(seconds)


@pytest.mark.parametrize("vocab", [320, 4096, 256_000, 262_144])
def test_a_longer_prompt_does_not_begin_with_a_shorter_one(vocab: int) -> None:
    assert prompt(512, vocab, seed=1)[1] != prompt(2048, vocab, seed=1)[1] != prompt(16, vocab, seed=1)[1]


def test_a_crowds_prompts_are_those_of_no_other_question() -> None:
    seeds = [seed for turn in range(20) for seed in crowd_seeds(8, turn)]
    assert len(set(seeds)) == len(seeds) and min(seeds) > 100


def test_the_peak_is_at_least_what_is_held_now() -> None:
    assert peak_resident() >= 0.9 * sum(resident())
