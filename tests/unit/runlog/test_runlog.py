"""Claims about the run log: order, resumption, torn tails, and refusals."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright import runlog
from gemwright.errors import UserError
from gemwright.runlog import RunLog


def test_lines_come_back_in_order_with_their_fields(tmp_path: Path) -> None:
    before = time.time()
    with RunLog(tmp_path / "deep" / "run.jsonl") as log:
        log.write("start", seed=7, text="größer ≤ 2\n")
        log.write("step", loss=2.5, rates=[0.1, 0.2])
    first, second = runlog.read(tmp_path / "deep" / "run.jsonl")
    assert first.pop("time") == pytest.approx(before, abs=60)
    assert first == {"seq": 0, "kind": "start", "seed": 7, "text": "größer ≤ 2\n"}
    assert (second["seq"], second["kind"], second["loss"], second["rates"]) == (1, "step", 2.5, [0.1, 0.2])


def test_a_line_is_readable_before_the_log_is_closed(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run.jsonl") as log:
        log.write("step", step=1)
        assert [record["step"] for record in runlog.read(log.path)] == [1]


def test_a_resumed_log_goes_on_counting(tmp_path: Path) -> None:
    for step in range(3):
        with RunLog(tmp_path / "run.jsonl") as log:
            log.write("step", step=step)
    assert [(record["seq"], record["step"]) for record in runlog.read(log.path)] == [(0, 0), (1, 1), (2, 2)]


@given(cut=st.integers(min_value=0), long=st.booleans())
def test_wherever_a_crash_cuts_the_file_the_whole_lines_stay(
    tmp_path_factory: pytest.TempPathFactory, cut: int, long: bool
) -> None:
    path = tmp_path_factory.mktemp("torn") / "run.jsonl"
    with RunLog(path) as log:
        for step in range(3):
            log.write("step", step=step, pad="é" * (70_000 if long else 3))  # longer than one look from the end
    whole = path.read_bytes()
    kept = whole[: cut % (len(whole) + 1)]
    path.write_bytes(kept)
    lines = kept.count(b"\n")
    assert [record["step"] for record in runlog.read(path)] == list(range(lines))
    with RunLog(path) as log:
        log.write("resume")
    assert [record["seq"] for record in runlog.read(path)] == list(range(lines + 1))
    assert path.read_bytes().startswith(whole[: kept.rfind(b"\n") + 1])


def test_numbers_that_json_lacks_are_written_as_strings(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run.jsonl") as log:
        log.write("step", loss=float("nan"), norms=[1.0, float("inf"), float("-inf")])
    record = json.loads(log.path.read_bytes(), parse_constant=lambda name: pytest.fail(f"bare {name}"))
    assert (record["loss"], record["norms"]) == ("nan", [1.0, "inf", "-inf"])


@pytest.mark.parametrize("field", runlog.RESERVED[:2])
def test_the_logs_own_fields_cannot_be_given(tmp_path: Path, field: str) -> None:
    with RunLog(tmp_path / "run.jsonl") as log, pytest.raises(ValueError, match=field):
        log.write("step", **{field: 1})


def test_a_refused_line_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run.jsonl") as log:
        with pytest.raises(ValueError, match="'step' line"):
            log.write("step", model=object())
        log.write("step", step=0)
    assert [record["seq"] for record in runlog.read(log.path)] == [0]


def test_a_closed_log_refuses_lines(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run.jsonl")
    log.close()
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.write("step")


@pytest.mark.parametrize("content", [b"my only copy", b"my only copy\n", b"[1]\n", b'{"a": 1}\n', b"\xff\xfe\n"])
def test_a_file_that_is_no_log_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"notes\.txt"):
        RunLog(path)
    assert path.read_bytes() == content


def test_a_damaged_line_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"seq": 0}\n{"seq": \n{"seq": 2}\n')
    with pytest.raises(UserError, match="line 2"):
        list(runlog.read(path))


def test_paths_that_cannot_be_opened_are_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        list(runlog.read(tmp_path / "absent.jsonl"))
    with pytest.raises(UserError, match="cannot write"):
        RunLog(tmp_path)


def test_a_full_disk_leaves_whole_lines_and_a_log_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RunLog(path) as log:
        log.write("step", step=0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))  # room for half a line
        try:
            with pytest.raises(UserError, match="cannot write the run log"):
                log.write("step", step=1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert path.read_bytes().count(b"\n") == 1 and path.read_bytes().endswith(b"\n")
        log.write("step", step=2)
    assert [(record["seq"], record["step"]) for record in runlog.read(path)] == [(0, 0), (1, 2)]


def test_what_a_killed_process_wrote_is_there(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    code = (
        "import os, sys; from gemwright.runlog import RunLog; log = RunLog(sys.argv[1]);"
        " [log.write('step', step=step) for step in range(5)]; os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert [record["step"] for record in runlog.read(path)] == list(range(5))
