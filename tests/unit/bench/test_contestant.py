"""A program's process: it starts, answers, errs, dies and leaves."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gemwright.bench.contestant import Contestant, Worker
from gemwright.bench.measures import Entry, decode
from gemwright.errors import UserError


def run(contestant: Contestant) -> Entry:
    entry = Entry(name=contestant.name)
    with Worker(contestant) as worker:
        worker.load(entry, seed=0)
        worker.measure(decode(8), 1, entry)
    return entry


def test_a_program_that_is_not_there_is_a_persons_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="peer cannot be started"):
        run(Contestant(name="peer", command=(str(tmp_path / "none"),), load={}))


def test_an_error_that_a_program_reports_comes_with_its_hint(program: Callable) -> None:
    with pytest.raises(UserError) as caught:
        run(program("peer", mood="load errs"))
    assert (caught.value.message, caught.value.hint) == ("peer: the file is gone", "look for it")


def test_an_answer_that_is_no_json_is_shown(program: Callable) -> None:
    with pytest.raises(UserError, match="peer answered 'what\\?'"):
        run(program("peer", mood="decode babbles"))


def test_a_program_that_ends_at_once_is_a_death_at_load() -> None:
    command = (sys.executable, "-I", "-c", "import sys; sys.exit('no such model')")
    with pytest.raises(UserError, match="died at 'load' with exit code 1: no such model"):
        run(Contestant(name="peer", command=command, load={}))


def test_a_kill_hints_at_memory(program: Callable) -> None:
    with Worker(program("peer")) as worker:
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(UserError, match="signal 9") as caught:
            worker.load(Entry(name="peer"), seed=0)
    assert "memory" in caught.value.hint


def test_an_error_of_ours_ends_the_process_at_once(program: Callable, log: Callable) -> None:
    worker = Worker(program("peer"))
    with pytest.raises(KeyboardInterrupt), worker:
        worker.load(Entry(name="peer"), seed=0)
        raise KeyboardInterrupt
    assert worker._process.returncode == -signal.SIGKILL
    assert log()[-1] == "peer prefill 16 0"
