"""A thread that computes no more gives its team back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TASKS = Path("/proc/self/task")

PROGRAM = """
import os, torch
from gemwright.ops import threads

def tasks():
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(3)
first = torch.arange(1e6).exp_().sum()
team = tasks()
threads.release()
none = tasks()
again = torch.arange(1e6).exp_().sum()
print(team - none, tasks() - none, torch.equal(first, again), torch.get_num_threads())
"""


@pytest.mark.skipif(not TASKS.exists(), reason="counts threads as Linux shows them")
def test_a_released_team_ends_and_comes_again() -> None:
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["2", "2", "True", "3"], found.stderr
