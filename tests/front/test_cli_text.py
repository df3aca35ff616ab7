"""generate, score and tokenizer, as people type them."""

from __future__ import annotations

import ast
import io
import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from gemwright.cli.tokenizer import Family
from gemwright.engine.request import Sampling
from gemwright.lm import load
from gemwright.text.tokenizer import Tokenizer

GREEDY = ("--temperature", "0", "--max-tokens", "8")


def type_in(monkeypatch: pytest.MonkeyPatch, text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


def test_generate_writes_the_text_and_nothing_else(cli: Callable, tiny: Path) -> None:
    ended = cli("generate", "def ", "-m", tiny, *GREEDY)
    expected = load(tiny).generate("def ", Sampling(temperature=0, max_tokens=8))
    assert ended.code == 0 and ended.err == ""
    assert ended.out == expected.text + "\n"


def test_a_seed_draws_the_same_text_again(cli: Callable, tiny: Path) -> None:
    words = ("generate", "def ", "-m", tiny, "--max-tokens", "12")
    first, again, other = (cli(*words, "--seed", seed).out for seed in ("1", "1", "2"))
    assert first == again != other


def test_a_prompt_may_be_put_as_a_chat_does(cli: Callable, tiny: Path) -> None:
    expected = load(tiny).chat(sampling=Sampling(temperature=0, max_tokens=8)).say("What is it?")
    words = ("generate", "What is it?", "-m", tiny, *GREEDY)
    ended, tree, plain = cli(*words, "--chat"), cli(*words, "--chat", "--json").json, cli(*words)
    assert ended.code == 0 and ended.err == ""
    assert ended.out == expected.text + "\n" != plain.out
    assert tree["ids"] == list(expected.ids) and tree["usage"]["prompt_tokens"] == expected.usage.prompt


def test_of_a_model_that_answers_it_is_said_how_to_ask(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    folder, tokenizer = tmp_path / "tuned", Tokenizer.load(tiny)
    shutil.copytree(tiny, folder)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [tokenizer.eos, tokenizer.end_of_turn]}))
    words = ("generate", "def ", *GREEDY)
    told = [cli(*words, *more).err for more in (("-m", folder), ("-m", folder, "--chat"), ("-m", tiny))]
    assert "--chat" in told[0] and told[1:] == ["", ""]


def test_a_prompt_may_come_from_stdin(cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, "def ")
    assert cli("generate", "-", "-m", tiny, *GREEDY).out == cli("generate", "def ", "-m", tiny, *GREEDY).out


def test_stdin_that_is_no_text_is_refused(cli: Callable, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(monkeypatch, b"\xff\xfe")
    ended = cli("generate", "-", "-m", tiny)
    assert ended.code == 2 and "UTF-8" in ended.err


def test_json_holds_ids_usage_and_logprobs(cli: Callable, tiny: Path) -> None:
    tree = cli("generate", "def ", "-m", tiny, *GREEDY, "--json", "--logprobs", "2").json
    assert tree["finish_reason"] == "length" and len(tree["ids"]) == 8
    assert tree["usage"]["completion_tokens"] == 8
    assert [token["id"] for token in tree["logprobs"]] == tree["ids"]
    for token in tree["logprobs"]:  # greedy: the drawn token is the likeliest one
        assert token["top"][0]["id"] == token["id"] and token["top"][0]["logprob"] == token["logprob"]


def test_a_stop_string_ends_the_text_before_itself(cli: Callable, tiny: Path) -> None:
    whole = cli("generate", "def ", "-m", tiny, *GREEDY, "--json").json["text"]
    stop = whole[3:5]
    ended = cli("generate", "def ", "-m", tiny, *GREEDY, "--json", "--stop", stop).json
    assert ended["finish_reason"] == "stop" and ended["text"] == whole[: whole.index(stop)]


@pytest.mark.parametrize("how", [("--speculate", "lookup"), ("--draft", None)])
def test_guesses_show_in_the_usage_only(cli: Callable, tiny: Path, how: tuple[str, Path | None]) -> None:
    words = ("generate", "def def def def", "-m", tiny, "--temperature", "0", "--max-tokens", "40", "--json")
    plain = cli(*words, "--speculate", "off").json
    found = cli(*words, *(word or tiny for word in how)).json
    assert found["ids"] == plain["ids"] and plain["usage"]["proposed_tokens"] == 0
    assert 0 <= found["usage"]["accepted_tokens"] <= found["usage"]["proposed_tokens"]
    assert found["usage"]["accepted_tokens"] > 0 or how[0] == "--speculate"


def test_an_unknown_speculation_is_refused(cli: Callable, tiny: Path) -> None:
    ended = cli("generate", "def ", "-m", tiny, "--speculate", "sometimes")
    assert ended.code == 2 and "auto, lookup, off" in ended.err


def test_logprobs_want_json(cli: Callable, tiny: Path) -> None:
    ended = cli("generate", "def ", "-m", tiny, "--logprobs", "1")
    assert ended.code == 2 and "--json" in ended.err


def test_a_prompt_beyond_the_context_is_refused_with_the_numbers(cli: Callable, tiny: Path) -> None:
    ended = cli("generate", "def " * 400, "-m", tiny)
    assert ended.code == 2 and "256" in ended.err and ended.out == ""


def test_score_is_the_sum_of_its_tokens(cli: Callable, tiny: Path) -> None:
    tree = cli("score", "def f(x):", "-m", tiny, "--json").json
    logprobs = [token["logprob"] for token in tree["tokens"]]
    assert tree["count"] == len(logprobs)
    assert tree["logprob"] == pytest.approx(sum(logprobs))
    assert tree["perplexity"] == pytest.approx(math.exp(-sum(logprobs) / len(logprobs)))
    assert tree["bits_per_byte"] == pytest.approx(-sum(logprobs) / math.log(2) / len(b"def f(x):"))
    assert logprobs == pytest.approx(load(tiny).score("def f(x):").logprobs)


def test_score_shows_a_row_for_each_token_within_80_columns(cli: Callable, tiny: Path) -> None:
    shown = cli("score", "def f(x):", "-m", tiny).out
    assert max(map(len, shown.splitlines())) <= 80
    assert "log p" in shown and "perplexity" in shown


def test_a_file_is_scored_in_windows(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "text.py"
    file.write_text("def f(x):\n    return x\n" * 8)
    ended = cli("score", "--file", file, "-m", tiny, "--window", "32", "--stride", "16")
    assert ended.code == 0 and "perplexity" in ended.out
    assert len(ended.out.splitlines()) == 1


def test_line_ends_of_a_file_are_scored_as_they_are(
    cli: Callable, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"def f(x):\r\n    return x\r\n"
    (tmp_path / "text.py").write_bytes(text)
    type_in(monkeypatch, text)
    tree = cli("score", "--file", tmp_path / "text.py", "-m", tiny, "--json").json
    assert tree == cli("score", "-", "-m", tiny, "--json").json
    assert [token["id"] for token in tree["tokens"]] == Tokenizer.load(tiny).encode(text.decode())


def test_a_file_that_is_no_text_is_named(cli: Callable, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\x89PNG")
    ended = cli("score", "--file", tmp_path / "picture", "-m", tiny)
    assert ended.code == 2 and "picture is not UTF-8" in ended.err


@pytest.mark.parametrize("words", [("score", "-m", "pocket"), ("score", "text", "--file", "also.txt")])
def test_score_wants_a_text_or_a_file(cli: Callable, words: tuple[str, ...]) -> None:
    ended = cli(*words)
    assert ended.code == 2 and "not both" in ended.err


def test_what_is_encoded_decodes_to_itself(cli: Callable, tiny: Path) -> None:
    text = "def f(x):\n    return 'ß'"
    ids = cli("tokenizer", "encode", text, "-m", tiny).out.split()
    assert cli("tokenizer", "decode", *ids, "-m", tiny).out == text + "\n"
    tree = cli("tokenizer", "encode", text, "-m", tiny, "--json").json
    assert [str(token["id"]) for token in tree] == ids


def test_special_names_are_plain_text_unless_meant(cli: Callable, tiny: Path) -> None:
    plain = cli("tokenizer", "encode", "<end_of_turn>", "-m", tiny).out.split()
    meant = cli("tokenizer", "encode", "<end_of_turn>", "-m", tiny, "--special", "--bos").out.split()
    assert len(plain) > 1 and len(meant) == 2
    shown = cli("tokenizer", "decode", *meant, "-m", tiny, "--special").out
    assert shown == "<bos><end_of_turn>\n"


def test_ids_outside_the_vocabulary_are_refused(cli: Callable, tiny: Path) -> None:
    ended = cli("tokenizer", "decode", "800", "-m", tiny)
    assert ended.code == 2 and "799" in ended.err


@pytest.mark.parametrize("family", get_args(Family))
def test_a_vocabulary_is_made_for_every_family(cli: Callable, tmp_path: Path, family: str) -> None:
    words = ("tokenizer", "train", ast.__file__, "--vocab-size", "500", "--out", tmp_path, "--family", family)
    assert cli(*words).code == 0
    made = Tokenizer.load(tmp_path)
    assert made.supports_turns and (made.start_of_image is not None) == (family == "gemma3")


def test_a_vocabulary_that_is_there_is_replaced_only_when_told(cli: Callable, tmp_path: Path) -> None:
    words = ("tokenizer", "train", ast.__file__, "--out", tmp_path, "--vocab-size")
    assert cli(*words, "500").code == 0
    refused = cli(*words, "600")
    assert refused.code == 2 and "already" in refused.err and Tokenizer.load(tmp_path).vocab_size == 500
    assert cli(*words, "600", "--overwrite").code == 0 and Tokenizer.load(tmp_path).vocab_size == 600
