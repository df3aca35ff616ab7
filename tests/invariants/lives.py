"""One run in many lives, each but the last ended by SIGKILL. A program of its own:

    lives.py FOLDER NAME SEED KILLS STEPS [clock]

It forks a process for each life, so that torch is imported once; itself it computes nothing. A life ends at a line of
the training code that is drawn from the seed (a third of them inside the writing of a checkpoint, a third in the middle
of a file that is being written) or, with `clock`, also at a moment on the wall clock.
Prints what it did as JSON: how many lives were ended where.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import small
import torch
import torch._dynamo  # which the optimiser would import in every life

from gemwright import runlog
from gemwright.text.tokenizer import Tokenizer
from gemwright.train import loop, state
from gemwright.train.optim import Optim
from gemwright.train.run import Data, Run, Step, Watch
from gemwright.train.schedule import Schedule
from gemwright.weights import hub

WORDS = ("the hen", "an otter", "sat in", "an inn", "on the den", "and sang of", "thin air", "rest", "ring")
PLACES = ("anywhere", "checkpoint", "file")
_TRAINING = str(Path(loop.__file__).parent)


def plan(folder: Path, name: str, steps: int) -> Run:
    """A run of the small model of that name, on made-up sentences."""
    text = folder / "text.jsonl"
    if not text.exists():
        draw = random.Random(1)
        lines = (" ".join(draw.choices(WORDS, k=draw.randint(3, 40))) for _ in range(120))
        text.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")
    return Run(
        name="lives",
        model=replace(small.SPECS[name], vocab=Tokenizer.load(hub.embedded()).vocab_size),
        start=None,
        tokenizer=hub.embedded(),
        data=Data(sources=(str(text),), weights=(), epochs=None, field="text", bad="stop", held_out=0.1, row=32),
        step=Step(tokens=64, micro=32, recompute=False),
        optim=Optim(kind="adamw", rate=1e-2, beta1=0.9, beta2=0.95, epsilon=1e-8, decay=0.1, clip=1.0),
        schedule=Schedule(kind="wsd", warmup=2, floor=0.1, decay=0.3),
        steps=steps,
        seed=3,
        compute="float32",
        ema=0.9,
        chosen="average",
        lora=None,
        distill=None,
        watch=Watch(log=3, evaluate=15, checkpoint=2, keep=2, tensorboard=False),
        out=folder / "run",
    )


def live(run: Run, place: str | None, draw: random.Random) -> None:
    """Goes on with the run, and dies in that place (None: lives to the end)."""
    torch.set_num_threads(1)
    if place == "file":
        _die_in_a_file(draw.randint(1, 8), draw.random())
    elif place is not None:
        files = (state.__file__,) if place == "checkpoint" else (_TRAINING, runlog.__file__)
        _die_at_line(draw.randint(1, 160 if place == "checkpoint" else 1500), files)
    loop.train(run, resume=True)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at_line(number: int, files: tuple[str, ...]) -> None:
    """SIGKILL at the line of that number, counted over all lines of these files that are run."""
    left = number

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if event == "line":
            left -= 1
            if left <= 0:
                _die()
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(files) else None

    sys.settrace(call)


def _die_in_a_file(number: int, share: float) -> None:
    """SIGKILL when that share of the tensor file of that number is on the disk."""
    write, left = state.save_file, number

    def torn(tensors: dict[str, torch.Tensor], path: Path) -> None:
        nonlocal left
        write(tensors, path)
        left -= 1
        if left <= 0:
            os.truncate(path, int(share * path.stat().st_size))
            _die()

    state.save_file = torn


def _fork(run: Run, place: str | None, draw: random.Random, seconds: float | None) -> bool:
    """One life. Was it ended?"""
    child = os.fork()
    if child == 0:
        try:
            live(run, place, draw)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.waitstatus_to_exitcode(status):
        sys.exit("a life ended by an error of its own")
    return False


def main(folder: Path, name: str, seed: int, kills: int, steps: int, clock: bool) -> Counter[str]:
    """All lives of a run; how many were ended, by place."""
    run, draw, ended = plan(folder, name, steps), random.Random(seed), Counter[str]()
    while ended.total() < kills:
        place = draw.choice((*PLACES, "clock") if clock else PLACES)
        own = random.Random(draw.getrandbits(64))
        by_clock = place == "clock"
        if not _fork(run, None if by_clock else place, own, own.uniform(0.0, 0.5) if by_clock else None):
            return ended  # the run came to its end first
        ended[place] += 1
    assert not _fork(run, None, draw, None)
    return ended


if __name__ == "__main__":
    numbers = (int(word) for word in sys.argv[3:6])
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], *numbers, "clock" in sys.argv[6:])))
