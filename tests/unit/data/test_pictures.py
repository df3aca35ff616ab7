"""Records name pictures in several ways, and are read the same."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy
import paint
import pytest

from gemwright.data.documents import Conversation, Digest, held_out, read
from gemwright.data.filters import Filters
from gemwright.data.jsonl import line, record
from gemwright.data.report import Report
from gemwright.errors import UserError
from gemwright.image.decode import decode
from gemwright.image.resize import pixels

DATA = f"data:image/png;base64,{base64.b64encode(paint.png(1)).decode()}"
TEXT = {"type": "text", "text": "the hen"}
WAYS: list[dict[str, Any]] = [
    {"content": "the hen", "images": ["folder/1.png"]},
    {"text": "the hen", "images": [DATA]},
    {"content": [{"type": "image_url", "image_url": {"url": DATA}}, TEXT]},
    {"content": [{"type": "image_url", "image_url": {"url": "folder/1.png"}}, TEXT]},
    {"content": [{"type": "input_image", "image_url": DATA}, {"type": "input_text", "text": "the hen"}]},
    {"content": [{"type": "image", "path": "folder/1.png"}, TEXT]},
    {"content": [{"type": "image", "url": DATA}, TEXT]},
]


def _read(tmp_path: Path, *users: dict[str, Any], **options: Any) -> list[Conversation]:
    (tmp_path / "folder").mkdir(exist_ok=True)
    (tmp_path / "folder" / "1.png").write_bytes(paint.png(1))
    records = [{"messages": [{"role": "user", **user}, {"role": "model", "content": "an inn"}]} for user in users]
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return [entry for entry in read([path], **options) if isinstance(entry, Conversation)]


def test_every_way_to_name_a_picture_gives_the_same_conversation(tmp_path: Path) -> None:
    found = _read(tmp_path, *WAYS)
    assert len(found) == len(WAYS)
    for one in found:
        assert one.text == found[0].text and one.key == found[0].key
        assert one.keys == (decode(paint.png(1)).sha256,)
        assert [len(message.images) for message in one.messages] == [1, 0]


def test_a_path_is_relative_to_its_file_and_known_from_the_root(tmp_path: Path) -> None:
    (one,) = _read(tmp_path, WAYS[0])
    assert one.messages[0].images[0].source == tmp_path.resolve() / "folder" / "1.png"


def test_a_picture_becomes_what_the_encoder_takes(tmp_path: Path) -> None:
    for way in WAYS[:2]:
        (one,) = _read(tmp_path, way)
        numpy.testing.assert_array_equal(one.messages[0].images[0].pixels(14), pixels(decode(paint.png(1)), 14))


def test_another_picture_in_the_same_place_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    (one,) = _read(tmp_path, WAYS[0])
    (tmp_path / "folder" / "1.png").write_bytes(paint.png(2))
    with pytest.raises(UserError, match="not the picture that it was"):
        one.messages[0].images[0].open()


def test_a_broken_picture_is_skipped_with_its_record_and_counted(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(paint.png(1)[:200])
    report = Report()
    found = _read(tmp_path, WAYS[0], {"content": "a", "images": ["cut.png"]}, bad="skip", report=report)
    assert len(found) == 1 and report.dropped == {"picture": 1}
    assert report.examples == {"picture": ["chats.jsonl#2"]}
    with pytest.raises(UserError, match=r"chats\.jsonl, line 2: .*cut short"):
        _read(tmp_path, WAYS[0], {"content": "a", "images": ["cut.png"]})


@pytest.mark.parametrize("role", ["model", "system"])
def test_only_the_user_shows_pictures(tmp_path: Path, role: str) -> None:
    said = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "model", "content": "m"}]
    messages = [message | ({"images": [DATA]} if message["role"] == role else {}) for message in said]
    (tmp_path / "x.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
    with pytest.raises(UserError, match="only the user shows pictures"):
        list(read([tmp_path / "x.jsonl"]))


def test_pictures_among_texts_keep_their_places(tmp_path: Path) -> None:
    image = {"type": "image", "path": "folder/1.png"}
    ways = ([TEXT, image, TEXT, TEXT], [TEXT, image], [image, TEXT, image], [image, image, TEXT])
    found = _read(tmp_path, *({"content": parts} for parts in ways))
    assert [one.messages[0].text for one in found] == [
        "the hen<start_of_image>the hen\nthe hen",
        "the hen<start_of_image>",
        "<start_of_image>the hen<start_of_image>",
        "the hen",
    ]
    assert [len(one.messages[0].images) for one in found] == [1, 1, 2, 2]


def test_a_text_that_says_the_mark_another_number_of_times_is_malformed(tmp_path: Path) -> None:
    user = {"content": "<start_of_image><start_of_image>", "images": ["folder/1.png"]}
    with pytest.raises(UserError, match="2 times and shows 1"):
        _read(tmp_path, user)


def test_a_record_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    before = _read(tmp_path, *WAYS)
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "again.jsonl"
    path.write_bytes(b"".join(line(record(one)) for one in before))
    after = [one for one in read([path]) if isinstance(one, Conversation)]
    assert [one.messages for one in after] == [one.messages for one in before]


def test_the_same_question_about_another_picture_is_another_conversation(tmp_path: Path) -> None:
    other = f"data:image/png;base64,{base64.b64encode(paint.png(2)).decode()}"
    users = [{"content": "the hen", "images": [url]} for url in (DATA, other, DATA)]
    found = _read(tmp_path, *users)
    kept = list(Filters(policy="keep", near=0.0).kept(found))
    assert [one.name for one in kept] == ["chats.jsonl#1", "chats.jsonl#2"]
    assert found[0].key == found[2].key != found[1].key
    assert held_out(found[0], 0.5) == held_out(found[2], 0.5)


def test_what_is_shown_is_part_of_the_digest(tmp_path: Path) -> None:
    def digest(*shown: int) -> str:
        whole = Digest()
        whole.add(paint.chat(("a", [paint.shown(one) for one in shown]), ("b", [])))
        return whole.hex

    assert len({digest(), digest(1), digest(2), digest(1, 2), digest(2, 1)}) == 5
    assert digest(1) == digest(1)
