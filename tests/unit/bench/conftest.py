"""A made-up program that answers by rule, so that a contest can be watched without a model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gemwright.bench.contestant import Contestant

# It notes every line that it hears. A round takes as many seconds as its seed says, times its own factor.
PROGRAM = """
import json, sys
name, log, factor, mood = sys.argv[1:]
def note(text):
    with open(log, "a") as file:
        file.write(name + " " + text + "\\n")
for line in sys.stdin:
    asked = json.loads(line)
    do = asked["do"]
    note(" ".join(map(str, [do, asked.get("tokens", ""), asked.get("seed", "")])).strip())
    if mood == do + " dies":
        print("first line", "the reason", "the last line", sep="\\n", file=sys.stderr)
        sys.exit(3)
    timed = {"seconds": float(factor) * asked.get("seed", 0)}
    answer = {"load": {"weights": 2_000_000_000}, "memory": {"bytes": 500}}.get(do, timed)
    if mood == do + " parts":
        answer["step"] = 0.5
    if mood == do + " cannot":
        answer = {"cannot": "it never learned to"}
    if mood == do + " errs":
        answer = {"error": "the file is gone", "hint": "look for it"}
    print("what?" if mood == do + " babbles" else json.dumps(answer), flush=True)
note("leaves")
"""

Maker = Callable[..., Contestant]


@pytest.fixture
def log(tmp_path: Path) -> Callable[[], list[str]]:
    """What the programs heard, in order."""

    def read() -> list[str]:
        return (tmp_path / "log").read_text().splitlines()

    return read


@pytest.fixture
def program(tmp_path: Path) -> Maker:
    """A contestant of some name; `mood` makes it misbehave, as in "decode dies"."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)

    def make(name: str, factor: float = 1.0, mood: str = "well", bytes: int = 0) -> Contestant:
        command = (sys.executable, "-I", str(script), name, str(tmp_path / "log"), str(factor), mood)
        return Contestant(name=name, command=command, load={"path": "nowhere"}, bytes=bytes)

    return make
