"""Rows, ratios and forms of a result."""

from __future__ import annotations

import json

import pytest

from gemwright.bench.measures import Entry, batch, decode, prefill
from gemwright.bench.table import Result, Row, markdown, remarks, rows, table, to_json

MEASURES = [prefill(512), decode(10), batch(5, 8)]


def result(*entries: Entry) -> Result:
    facts = {"model": "some", "quant": None, "threads": 2, "rounds": 1}
    return Result(entries=entries, measures=MEASURES, bandwidth=50.0, facts=facts)


def entry(name: str, factor: float = 1.0) -> Entry:
    seconds = {measure.name: [factor] for measure in MEASURES}
    return Entry(
        name=name, weights=2_000_000_000, peak=int(factor * 3e9), loading=[factor], first=[2 * factor], seconds=seconds
    )


def row(found: Result, label: str) -> Row:
    return next(row for row in rows(found) if row.label.strip() == label)


def test_decoding_stands_beside_the_machines_bandwidth() -> None:
    found = result(entry("ours"))
    assert row(found, "weights read").values == (20.0,)
    assert row(found, "of the bandwidth").values == (40.0,)


def test_a_ratio_is_to_the_best_peer() -> None:
    found = result(entry("ours", 1.0), entry("slow", 4.0), entry("better", 2.0))
    assert row(found, "decode").ratio == 2.0


def test_less_time_and_memory_is_a_ratio_above_one() -> None:
    found = result(entry("ours", 1.0), entry("peer", 1.5))
    assert row(found, "load").ratio == 1.5 and row(found, "peak memory").ratio == pytest.approx(1.5)


def test_alone_or_without_a_figure_there_is_no_ratio() -> None:
    assert row(result(entry("ours")), "decode").ratio is None
    assert row(result(Entry(name="ours"), entry("peer")), "decode").ratio is None


def test_a_measure_that_nobody_did_has_no_row() -> None:
    assert [row.label for row in rows(result(Entry(name="ours")))] == []


def test_markdown_has_a_cell_for_everybody() -> None:
    lines = markdown(result(entry("ours"), entry("peer", 2.0), Entry(name="mute"))).splitlines()
    assert lines[0] == "|  | ours | peer | mute | to the best peer |"
    assert "| decode, tokens/s | 10 | 5 | – | 2.00× |" in lines
    assert {line.count("|") for line in lines} == {6}


def test_a_terminal_gets_the_same_rows() -> None:
    found = result(entry("ours"), entry("peer"))
    assert table(found).row_count == len(rows(found))


def test_what_was_not_possible_is_said() -> None:
    mute = Entry(name="mute", cannot={"decode": "it never learned to"})
    assert remarks(result(entry("ours"), mute))[1:] == ["mute, decode: it never learned to"]


def test_json_keeps_every_round() -> None:
    tree = json.loads(json.dumps(to_json(result(entry("ours"), entry("peer", 2.0)))))
    assert tree["entries"][1]["seconds"]["decode"] == [2.0]
    assert tree["rows"][1]["label"] == "decode" and tree["rows"][1]["ratio"] == 2.0
    assert tree["threads"] == 2 and tree["bandwidth_gigabytes_per_second"] == 50.0
