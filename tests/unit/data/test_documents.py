"""Texts are streamed as documents, whole, in order, and every bad file is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gemwright.data import documents
from gemwright.data.documents import Conversation, Digest, Document, held_out, read
from gemwright.data.report import Report
from gemwright.errors import UserError
from gemwright.text.turns import Message


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def _says(*messages: tuple[str, str]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": text} for role, text in messages]}


def test_a_folder_is_read_in_sorted_order_without_hidden_and_foreign_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/.hidden.txt", ".git/x.txt", "picture.png"):
        _write(tmp_path / name, name)
    assert [document.name for document in read([tmp_path])] == ["a/z.md", "b.txt"]


def test_json_lines_give_a_document_each_and_blank_lines_none(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.jsonl", '{"body": "one\\n"}\n\n{"body": "two"}')
    found = list(read([path], field="body"))
    assert [(document.name, document.text) for document in found] == [("x.jsonl#1", "one\n"), ("x.jsonl#3", "two")]


@pytest.mark.parametrize("name", ["x.JSONL", "x.ndJson"])
def test_capital_letters_in_a_files_ending_change_nothing(tmp_path: Path, name: str) -> None:
    path = _write(tmp_path / "texts" / name, '{"text": "one"}\n')
    _write(tmp_path / "texts" / "y.TXT", "two")
    assert [document.text for document in read([tmp_path / "texts"])] == ["one", "two"]
    assert [document.text for document in read([path])] == ["one"]


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "line 2: not JSON"), ('["x"]', "no object"), ('{"other": 1}', "it has 'other'"), ('{"text": 3}', "no text")],
)
def test_a_bad_json_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = _write(tmp_path / "x.jsonl", '{"text": "fine"}\n' + line + "\n")
    with pytest.raises(UserError) as caught:
        list(read([path]))
    assert said in str(caught.value) and "x.jsonl" in str(caught.value)


@pytest.mark.parametrize("name", ["x.txt", "x.jsonl"])
def test_bytes_that_are_no_utf8_are_refused_with_the_files_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"caf\xe9\n")
    with pytest.raises(UserError, match=f"{name}.*: not UTF-8"):
        list(read([tmp_path / name]))


def test_a_path_that_is_not_there_and_a_folder_without_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file or folder"):
        list(read([tmp_path / "absent.txt"]))
    with pytest.raises(UserError, match="holds no text"):
        list(read([tmp_path]))


@pytest.mark.parametrize("source", ["x" * 300, "~no-such-user-here/x"])
def test_a_source_that_cannot_be_looked_up_is_refused(source: str) -> None:
    with pytest.raises(UserError, match="looked up"):
        list(read([source]))


def test_a_long_file_comes_in_parts_cut_at_lines_that_join_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "PART", 100)
    text = "".join(f"line {number}\n" for number in range(50)) + "x" * 250 + "\nend\r\nof it"
    parts = list(read([_write(tmp_path / "long.txt", text)]))
    assert "".join(part.text for part in parts) == text
    assert all(len(part.text) <= 100 for part in parts) and len(parts) > 5
    assert parts[0].text.endswith("\n") and {part.key for part in parts} == {"long.txt"}


@pytest.mark.parametrize("text", ["", "\n", " \t\r\n"])
def test_an_empty_file_gives_no_document_and_is_counted(tmp_path: Path, text: str) -> None:
    report = Report()
    assert list(read([_write(tmp_path / "empty.txt", text)], report=report)) == []
    assert report.examples == {"empty": ["empty.txt"]} and not report.documents


@pytest.mark.parametrize(
    "record", [{"text": ""}, {"text": " \n"}, {"messages": []}, _says(("user", ""), ("model", " "))]
)
def test_an_empty_record_is_dropped_and_counted_and_never_an_error(tmp_path: Path, record: dict[str, Any]) -> None:
    report = Report()
    path = _write(tmp_path / "x.jsonl", json.dumps(record) + '\n{"text": "fine"}\n')
    assert [found.name for found in read([path], report=report)] == ["x.jsonl#2"]
    assert report.dropped == {"empty": 1} and report.examples == {"empty": ["x.jsonl#1"]}


def test_a_plain_file_that_is_not_utf8_is_skipped_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "PART", 10)
    (tmp_path / "a.txt").write_bytes(b"line\n" * 100 + b"caf\xe9\n")
    _write(tmp_path / "b.txt", "fine")
    report = Report()
    assert [found.name for found in read([tmp_path], bad="skip", report=report)] == ["b.txt"]
    assert report.examples == {"not UTF-8": ["a.txt"]} and report.documents == 1


def test_records_with_messages_are_conversations_and_the_others_texts(tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "text": "ho"}], "text": "not this"}
    lines = [chat, {"text": "plain", "messages": None}]
    path = _write(tmp_path / "x.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    one, other = read([path])
    assert isinstance(one, Conversation) and one.messages == (Message("user", "hi"), Message("assistant", "ho"))
    assert (one.name, one.text, documents.size(one)) == ("x.jsonl#1", "hi\nho", 4)
    assert isinstance(other, Document) and other.text == "plain"


def test_the_report_counts_what_is_kept(tmp_path: Path) -> None:
    _write(tmp_path / "a.txt", "änd")
    _write(tmp_path / "b.jsonl", json.dumps(_says(("user", "hi"), ("model", "ö"))) + "\n")
    report = Report()
    list(read([tmp_path], report=report))
    assert (report.documents, report.conversations, report.bytes, report.dropped) == (1, 1, 4 + 4, {})


def test_answers_do_not_part_conversations_that_ask_the_same(tmp_path: Path) -> None:
    chats = [_says(("user", "hi"), ("model", answer)) for answer in ("a", "b")]
    chats.append(_says(("user", "hi"), ("model", "a"), ("user", "ho")))
    path = _write(tmp_path / "x.jsonl", "".join(json.dumps(chat) + "\n" for chat in chats))
    keys = [found.key for found in read([path])]
    assert keys[0] == keys[1] != keys[2]


def test_the_held_out_share_is_about_as_large_as_asked_and_follows_the_key_alone() -> None:
    keys = [f"key {number}" for number in range(4000)]
    chosen = {key for key in keys if held_out(Document(name="n", key=key, text="t"), 0.1)}
    assert 320 < len(chosen) < 480
    assert chosen == {key for key in keys if held_out(Document(name=key, key=key, text="other"), 0.1)}
    assert not any(held_out(Document(name="n", key=key, text="t"), 0.0) for key in keys)


def _digest(*documents: Document | Conversation) -> str:
    whole = Digest()
    for document in documents:
        whole.add(document)
    return whole.hex


def test_the_digest_sees_every_text_and_the_borders_between_texts() -> None:
    def of(*texts: str) -> str:
        return _digest(*(Document(name="n", key="k", text=text) for text in texts))

    assert len({of("ab", "c"), of("a", "bc"), of("abc"), of("c", "ab")}) == 4
    assert of("ab", "c") == of("ab", "c")


def test_the_digest_sees_roles_and_tells_conversations_from_texts() -> None:
    def chat(*messages: tuple[str, str]) -> Conversation:
        return Conversation(name="n", key="k", messages=tuple(Message(*message) for message in messages))

    def text(name: str, text: str) -> Document:
        return Document(name=name, key="k", text=text)

    told = [
        _digest(chat(("user", "a"), ("model", "b"))),
        _digest(chat(("user", "a"), ("assistant", "b"))),
        _digest(chat(("user", "a")), chat(("model", "b"))),
        _digest(text("n", "user"), text("a", "model")),
        _digest(text("n", "")),
        _digest(chat()),
    ]
    assert len(set(told)) == len(told)


def test_a_surrogate_in_json_is_text_like_any_other(tmp_path: Path) -> None:
    path = _write(tmp_path / "x.jsonl", json.dumps({"text": "\ud800"}) + "\n")
    (document,) = read([path])
    assert _digest(document) and not held_out(document, 0.0)
