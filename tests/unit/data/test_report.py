"""A report names the first few of what was dropped and counts the rest."""

from __future__ import annotations

import json

from gemwright.data.report import EXAMPLES, Report


def _report() -> Report:
    report = Report(documents=3, conversations=1)
    for number in range(EXAMPLES + 2):
        report.drop("broken", f"x.jsonl#{number}")
    report.drop("empty", "y.txt")
    return report


def test_the_first_names_of_each_reason_are_kept() -> None:
    report = _report()
    assert report.dropped == {"broken": EXAMPLES + 2, "empty": 1}
    assert report.examples == {"broken": [f"x.jsonl#{number}" for number in range(EXAMPLES)], "empty": ["y.txt"]}


def test_a_person_reads_how_many_of_how_many_and_which() -> None:
    broken, empty = _report().sentences()
    assert broken.startswith("dropped 7 of 12 as broken: x.jsonl#0, ") and broken.endswith("#4 and 2 more")
    assert empty == "dropped 1 of 12 as empty: y.txt"


def test_it_survives_json() -> None:
    assert Report(**json.loads(json.dumps(_report().to_json()))) == _report()
