"""Every malformed row of JSON Lines and Parquet is named, counted, and fatal or skipped; nothing is lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from gemwright.data import records
from gemwright.data.documents import Conversation, Document, read
from gemwright.data.report import Report
from gemwright.errors import UserError


def _said(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": f"by {role}"} for role in roles]}


GOOD = {"text": "fine"}
RECORDS: list[tuple[Any, str, str]] = [
    (["x"], "broken", "no object"),
    ({"other": 1}, "no text", "it has 'other'"),
    ({}, "no text", "no field"),
    ({"text": 3}, "no text", "under 'text'"),
    ({"text": None}, "no text", "under 'text'"),
    ({"messages": {"role": "user"}}, "broken", "is no list"),
    ({"messages": ["hello"]}, "broken", "message 0 is no object"),
    ({"messages": [{"content": "hello"}]}, "roles", "message 0 has no role"),
    ({"messages": [{"role": ["user"], "content": "hello"}]}, "roles", "message 0 has no role"),
    ({"messages": [{"role": "user"}]}, "no text", "message 0 has no text"),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "picture", "names no picture"),
    ({"messages": [{"role": "user", "content": [{"type": "sound"}]}]}, "no text", "neither text nor picture"),
    ({"messages": [{"role": "user", "content": "a", "images": ["gone.png"]}]}, "picture", "no such file"),
    ({"messages": [{"role": "user", "content": "a", "images": ["https://a.b/c.png"]}]}, "picture", "an address"),
    ({"messages": [{"role": "user", "content": "a", "images": ["data:image/png;base64,AA"]}]}, "picture", "damaged"),
    ({"messages": [{"role": "user", "content": "a", "images": "a.png"}]}, "picture", "no list"),
    (_said("user", "human"), "roles", "message 1 has the role 'human'"),
    (_said("user", "user"), "roles", "message 1 is the user's where the model's"),
    (_said("model"), "roles", "message 0 is the model's"),
    (_said("user", "model", "system"), "roles", "message 2 is a system message"),
    (_said("system"), "roles", "system message only"),
]
LINES = [(json.dumps(record).encode(), reason, said) for record, reason, said in RECORDS] + [
    (b"{", "broken", "not JSON"),
    (b'{"text": "cut off', "broken", "not JSON"),
    (b"[" * 100_000, "broken", "not JSON"),
    (b'{"text": ' + b"9" * 5000 + b"}", "broken", "not JSON"),
    (b'{"text": "caf\xe9"}', "not UTF-8", "not UTF-8"),
    (b"\x00\x01", "broken", "not JSON"),
]


@pytest.mark.parametrize(("line", "reason", "said"), LINES)
def test_a_malformed_line_is_named_and_counted_and_ends_the_reading_or_not(
    tmp_path: Path, line: bytes, reason: str, said: str
) -> None:
    path = tmp_path / "x.jsonl"
    good = json.dumps(GOOD).encode()
    path.write_bytes(b"\n".join([good, line, b"", good]))
    skipped, stopped = Report(), Report()
    assert [found.name for found in read([path], bad="skip", report=skipped)] == ["x.jsonl#1", "x.jsonl#4"]
    with pytest.raises(UserError) as caught:
        list(read([path], report=stopped))
    assert said in str(caught.value) and f"{path}, line 2: " in caught.value.message
    for report, kept in ((skipped, 2), (stopped, 1)):
        assert (report.documents, report.dropped) == (kept, {reason: 1})
        assert report.examples == {reason: ["x.jsonl#2"]}


ROWS = [(record, reason, said) for record, reason, said in RECORDS if isinstance(record, dict) and reason == "roles"]
ROWS = [(record, reason, said) for record, reason, said in ROWS if isinstance(record["messages"][0].get("role"), str)]


@pytest.mark.parametrize(("record", "reason", "said"), [*ROWS, ({"text": None}, "no text", "under 'text'")])
def test_a_malformed_row_is_named_and_counted_and_ends_the_reading_or_not(
    tmp_path: Path, record: dict[str, Any], reason: str, said: str
) -> None:
    path = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([GOOD | {"messages": None}, record, GOOD]), path)
    report = Report()
    assert [found.name for found in read([path], bad="skip", report=report)] == ["x.parquet#1", "x.parquet#3"]
    assert (report.dropped, report.examples) == ({reason: 1}, {reason: ["x.parquet#2"]})
    with pytest.raises(UserError) as caught:
        list(read([path]))
    assert said in str(caught.value) and f"{path}, row 2: " in caught.value.message


def _whole(path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": [f"text {number} " * 40 for number in range(2000)]}), path, **_PAGES)


_PAGES: dict[str, Any] = {"row_group_size": 500, "compression": "zstd", "use_dictionary": False}


def _cut_short(path: Path) -> None:
    _whole(path)
    path.write_bytes(path.read_bytes()[:-100])


def _no_parquet(path: Path) -> None:
    path.write_bytes(b"these are no rows")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_cut_short, _no_parquet, _empty])
def test_a_file_that_is_no_whole_parquet_is_one_malformed_thing(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(tmp_path / "a.parquet")
    (tmp_path / "b.txt").write_text("fine")
    report = Report()
    assert [found.name for found in read([tmp_path], bad="skip", report=report)] == ["b.txt"]
    assert (report.dropped, report.examples) == ({"broken": 1}, {"broken": ["a.parquet"]})
    with pytest.raises(UserError, match="no whole Parquet file"):
        list(read([tmp_path]))


def test_rows_before_a_damaged_page_are_kept_and_the_place_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    _whole(path)
    group = parquet.ParquetFile(path).metadata.row_group(2).column(0)
    data = bytearray(path.read_bytes())
    data[group.data_page_offset : group.data_page_offset + group.total_compressed_size] = bytes(
        group.total_compressed_size
    )
    path.write_bytes(data)
    report = Report()
    kept = list(read([path], bad="skip", report=report))
    # Rows come in small batches: of the last one before the damage nothing may be had.
    assert 1000 - 64 <= len(kept) <= 1000 and [found.name for found in kept][-1] == f"x.parquet#{len(kept)}"
    assert report.dropped == {"broken": 1}
    with pytest.raises(UserError, match=f"after row {len(kept)}"):
        list(read([path]))


def test_a_parquet_text_that_is_not_utf8_is_one_malformed_row(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    column = pyarrow.array([b"one", b"caf\xe9", b"three"]).view(pyarrow.string())
    parquet.write_table(pyarrow.table({"text": column}), path)
    report = Report()
    assert [found.text for found in read([path], bad="skip", report=report)] == ["one", "three"]
    assert report.examples == {"not UTF-8": ["x.parquet#2"]}
    with pytest.raises(UserError, match="row 2: not UTF-8"):
        list(read([path]))


@pytest.mark.parametrize("columns", [{"other": ["x"]}, {}])
def test_a_parquet_file_without_the_column_is_refused_with_those_it_has(
    tmp_path: Path, columns: dict[str, list[str]]
) -> None:
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    with pytest.raises(UserError, match=f"no column 'body'.*{next(iter(columns), 'none')}"):
        list(read([tmp_path / "x.parquet"], field="body"))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ANY_RECORD = st.one_of(
    TEXTS.map(lambda text: {"text": text}),
    st.lists(TEXTS, max_size=4).map(
        lambda texts: {
            "messages": [{"role": ("user", "model")[at % 2], "content": text} for at, text in enumerate(texts)]
        }
    ),
)


@given(st.lists(ANY_RECORD, min_size=1, max_size=8))
def test_parquet_gives_what_json_lines_give(
    tmp_path_factory: pytest.TempPathFactory, found: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("t")
    (folder / "x.jsonl").write_text("".join(json.dumps(record) + "\n" for record in found), encoding="utf-8")
    both = [{"text": record.get("text"), "messages": record.get("messages")} for record in found]
    said = pyarrow.list_(pyarrow.struct({"role": pyarrow.string(), "content": pyarrow.string()}))
    schema = pyarrow.schema({"text": pyarrow.string(), "messages": said})
    parquet.write_table(pyarrow.Table.from_pylist(both, schema), folder / "x.parquet")
    lines, rows = Report(), Report()
    from_lines = [_content(entry) for entry in read([folder / "x.jsonl"], report=lines)]
    assert from_lines == [_content(entry) for entry in read([folder / "x.parquet"], report=rows)]
    assert (lines.dropped, lines.bytes) == (rows.dropped, rows.bytes)


def _content(entry: Document | Conversation) -> tuple[Any, ...]:
    return entry.name.split("#")[1], entry.key, entry.text if isinstance(entry, Document) else entry.messages


@given(st.lists(st.one_of(ANY_RECORD.map(json.dumps), st.sampled_from(LINES), st.just("  ")), max_size=20))
def test_every_line_is_kept_or_counted(tmp_path_factory: pytest.TempPathFactory, lines: list[Any]) -> None:
    path = tmp_path_factory.mktemp("t") / "x.jsonl"
    path.write_bytes(b"\n".join(line.encode() if isinstance(line, str) else line[0] for line in lines))
    report = Report()
    kept = [entry.name for entry in read([path], bad="skip", report=report)]
    assert report.documents + report.conversations == len(kept) == len(set(kept))
    assert len(kept) + sum(report.dropped.values()) == sum(line != "  " for line in lines)


def test_a_line_that_never_ends_is_malformed_and_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST", 1 << 20)
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"text": "' + b"x" * (5 << 20) + b'"}\n{"text": "fine"}')
    report = Report()
    assert [found.name for found in read([path], bad="skip", report=report)] == ["x.jsonl#2"]
    with pytest.raises(UserError, match="line 1: a line of more than 1 MiB"):
        list(read([path]))


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n')
    assert [found.text for found in read([tmp_path / "x.jsonl"])] == ["one", "two"]


def test_only_the_columns_that_are_wanted_and_few_rows_are_held(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pyarrow.table({"text": ["x" * 10_000] * 8000, "other": ["y" * 1000] * 8000})
    parquet.write_table(table, path, row_group_size=8000, use_dictionary=False, compression="none")
    del table
    before, most = pyarrow.total_allocated_bytes(), 0
    for number, row in records.parquet_rows(path, ("text",)):
        assert row == {"text": "x" * 10_000}
        if number % 100 == 0:
            most = max(most, pyarrow.total_allocated_bytes() - before)
    assert 0 < most < 20 << 20  # of 88 million bytes


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _whole(tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install 'gemwright\[data\]'"):
        list(read([tmp_path / "x.parquet"], bad="skip"))
