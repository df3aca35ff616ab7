"""data check and data filter, as people type them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gemwright.cli import findings
from gemwright.data.filters import Filters

BASE = " ".join(f"word{number}" for number in range(60))
CHAT = [{"role": "user", "content": "I am a@web.de"}, {"role": "assistant", "content": "Hello a@web.de"}]
RECORDS: list[Any] = [
    {"text": BASE},
    {"text": BASE.upper()},
    {"text": BASE.replace("word30", "another")},
    {"text": "Q: what is the capital of France? Paris."},
    {"text": "   "},
    {"messages": CHAT},
    {"text": "nothing to complain about"},
]
BROKEN: list[Any] = [{"other": "x"}, {"messages": [CHAT[0], CHAT[0]]}]
QUESTIONS = [{"question": "What is the capital of France?"}, {"question": "Why?"}]


def _picture() -> str:
    file = io.BytesIO()
    Image.new("RGB", (30, 20), "red").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _write(path: Path, records: list[Any], rest: str = "") -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + rest, encoding="utf-8")
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return _write(tmp_path / "texts.jsonl", RECORDS)


@pytest.fixture
def against(tmp_path: Path) -> tuple[str, ...]:
    questions = _write(tmp_path / "questions.jsonl", QUESTIONS)
    return ("--against", str(questions), "--against-field", "question")


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_check_counts_what_is_there_and_what_a_filter_would_drop(
    cli: Callable, texts: Path, against: tuple[str, ...], vocabulary: Path
) -> None:
    before = sorted(path.name for path in texts.parent.iterdir())
    ended = cli("data", "check", texts, *against, "--tokenizer", vocabulary, "--json")
    tree = ended.json
    assert ended.code == 0 and "fewer than 5 words: 1 of 2" in ended.err
    assert (tree["read"]["documents"], tree["read"]["conversations"]) == (5, 1)
    assert tree["read"]["dropped"] == {"empty": 1} and tree["read"]["examples"] == {"empty": ["texts.jsonl#5"]}
    assert tree["kept"]["dropped"] == {"exact duplicate": 1, "near duplicate": 1, "contaminated": 1}
    assert tree["personal"]["counts"] == {"email": 2} and tree["personal"]["examples"]["email"] == ["texts.jsonl#6"]
    assert tree["longest"]["name"] == "texts.jsonl#3" and tree["tokens"] > 180
    assert sorted(path.name for path in texts.parent.iterdir()) == before


def test_check_counts_the_tokens_of_pictures_too(cli: Callable, tmp_path: Path, vocabulary: Path) -> None:
    tokens = []
    for name, images in (("plain", []), ("one", [_picture()]), ("two", [_picture(), _picture()])):
        turns = [{"role": "user", "content": "hen", "images": images}, {"role": "assistant", "content": "otter"}]
        path = _write(tmp_path / f"{name}.jsonl", [{"messages": turns}])
        ended = cli("data", "check", path, "--tokenizer", vocabulary, "--json")
        assert ended.code == 0
        tokens.append(ended.json["tokens"])
    assert tokens[2] - tokens[1] == tokens[1] - tokens[0] > 256  # marks and blank lines come on top


def test_check_shows_its_findings_in_eighty_columns(cli: Callable, texts: Path, against: tuple[str, ...]) -> None:
    ended = cli("data", "check", texts, *against)
    assert ended.code == 0 and ended.out.startswith("5 documents, 1 conversation, ")
    for shown in ("longest: texts.jsonl#3", "near duplicate", "contaminated", "personal: email", "texts.jsonl#6"):
        assert shown in ended.out
    assert max(map(len, ended.out.splitlines())) <= 80


def test_check_of_clean_texts_says_so(cli: Callable, tmp_path: Path) -> None:
    ended = cli("data", "check", _write(tmp_path / "x.jsonl", RECORDS[:1]))
    assert ended.code == 0 and "nothing to drop" in ended.out


def test_filter_writes_what_is_kept_and_tells_the_rest_by_name(
    cli: Callable, texts: Path, against: tuple[str, ...], tmp_path: Path
) -> None:
    _write(texts, RECORDS + BROKEN, "{half a line\n")
    out = tmp_path / "new" / "clean.jsonl"
    ended = cli("data", "filter", texts, *against, "--skip-broken", "--out", out)
    assert ended.code == 0 and f"{out.name}: kept 3 of 10 texts" in "".join(ended.out.split("\n"))
    masked = [{**said, "content": said["content"].replace("a@web.de", "<email>")} for said in CHAT]
    assert _lines(out) == [{"text": BASE}, {"messages": masked}, {"text": "nothing to complain about"}]
    gone = {one["name"]: (one["reason"], one.get("like")) for one in _lines(tmp_path / "new" / "clean.dropped.jsonl")}
    assert gone == {
        "texts.jsonl#2": ("exact duplicate", "texts.jsonl#1"),
        "texts.jsonl#3": ("near duplicate", "texts.jsonl#1"),
        "texts.jsonl#4": ("contaminated", "questions.jsonl#1"),
        "texts.jsonl#5": ("empty", None),
        "texts.jsonl#8": ("no text", None),
        "texts.jsonl#9": ("roles", None),
        "texts.jsonl#10": ("broken", None),
    }
    report = json.loads((tmp_path / "new" / "clean.report.json").read_text("utf-8"))
    assert report["settings"]["personal"] == "mask" and report["kept"]["documents"] == 2
    assert sum(report["read"]["dropped"].values()) + sum(report["kept"]["dropped"].values()) == len(gone)


def test_what_is_filtered_once_holds_nothing_to_drop(
    cli: Callable, texts: Path, against: tuple[str, ...], tmp_path: Path
) -> None:
    once, twice = tmp_path / "once.jsonl", tmp_path / "twice.jsonl"
    assert cli("data", "filter", texts, *against, "--out", once).code == 0
    tree = cli("data", "filter", once, *against, "--out", twice, "--json").json
    assert tree["kept"]["dropped"] == tree["personal"]["counts"] == {}
    assert once.read_bytes() == twice.read_bytes() and tree["files"][0] == str(twice)


def test_check_and_filter_agree(cli: Callable, texts: Path, against: tuple[str, ...], tmp_path: Path) -> None:
    checked = cli("data", "check", texts, *against, "--json").json
    words = ("--out", tmp_path / "x.jsonl", "--personal", "keep", "--json")
    filtered = cli("data", "filter", texts, *against, *words).json
    assert all(checked[part] == filtered[part] for part in ("read", "kept", "personal"))


@pytest.mark.parametrize("command", [("check",), ("filter", "--out", "clean.jsonl")])
def test_a_broken_line_stops_with_its_place_and_the_way_past_it(
    cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    texts = _write(tmp_path / "texts.jsonl", RECORDS[:1], "{half a line\n")
    ended = cli("data", *command, texts)
    assert ended.code == 2 and "texts.jsonl, line 2" in ended.err and "--skip-broken" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]


def test_a_broken_evaluation_record_is_never_passed_over(cli: Callable, texts: Path, tmp_path: Path) -> None:
    questions = _write(tmp_path / "questions.jsonl", QUESTIONS)
    ended = cli("data", "check", texts, "--skip-broken", "--against", questions)
    assert ended.code == 2 and "no text under 'text'" in ended.err and "--skip-broken" not in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("check", "absent.jsonl"), "no file or folder absent.jsonl"),
        (("check", "texts.jsonl", "--against", "absent"), "no file or folder absent"),
        (("check", "texts.jsonl", "--against", "empty.jsonl"), "evaluation texts are empty"),
        (("check", "texts.jsonl", "--near", "2"), "near"),
        (("check", "texts.jsonl", "--tokenizer", "absent"), "absent"),
        (("filter", "texts.jsonl"), "--out"),
        (("filter", "texts.jsonl", "--out", "clean"), "JSON Lines"),
        (("filter", "texts.jsonl", "--out", "texts.jsonl", "--overwrite"), "among the texts"),
        (("filter", "x.dropped.jsonl", "--out", "x.jsonl", "--overwrite"), "x.dropped.jsonl is among the texts"),
        (("filter", ".", "--out", "sub/clean.jsonl"), "among the texts"),
        (("filter", "texts.jsonl", "--out", "there.jsonl"), "there.report.json is there already"),
        (("filter", "texts.jsonl", "--out", "empty.jsonl/x.jsonl"), "cannot write"),
        (("filter", "texts.jsonl", "--out", "x.jsonl", "--personal", "hide"), "hide"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(
    cli: Callable, texts: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(texts.parent)
    (texts.parent / "there.report.json").write_text("mine")
    for name in ("empty.jsonl", "x.dropped.jsonl"):
        (texts.parent / name).write_text("")
    before = {path: path.read_bytes() for path in texts.parent.iterdir()}
    ended = cli("data", *words)
    assert ended.code == 2 and said in ended.err and ended.err.count("\n") == 2
    assert {path: path.read_bytes() for path in texts.parent.iterdir()} == before


def test_a_long_reading_tells_how_far_it_is(cli: Callable, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_LINE", 0.0)
    ended = cli("data", "check", texts)
    assert ended.err.splitlines()[-1] == "6 texts read, 3 kept" and "read" not in ended.out


def test_overwrite_replaces_what_is_there(cli: Callable, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "clean.jsonl"
    out.write_text("old")
    assert cli("data", "filter", texts, "--out", out, "--overwrite").code == 0
    assert _lines(out)[0] == {"text": BASE}


def test_ctrl_c_leaves_no_half_file(
    cli: Callable, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Filters.kept

    def interrupted(*given: Any) -> Any:
        for number, entry in enumerate(whole(*given)):
            if number == 2:
                raise KeyboardInterrupt
            yield entry

    monkeypatch.setattr(Filters, "kept", interrupted)
    ended = cli("data", "filter", texts, "--out", tmp_path / "clean.jsonl")
    assert ended.code == 130 and ended.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]
