"""Engines that are killed while they write to their disk tier. A program of its own: shelf_lives.py FOLDER FAMILY.

It forks a process for each, so that torch is imported once; itself it computes nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from conftest import tiny_model

from gemwright.cache import snapshot
from gemwright.engine import shelf
from gemwright.engine.engine import Engine
from gemwright.engine.request import Request, Sampling

SHARES = (0.0, 0.4, 1.0)  # of the second file that are on the disk at the end


def live(folder: Path, family: str, share: float) -> None:
    """Answers prompts, and dies within the second file."""
    torch.set_num_threads(1)
    shelf.LEAST = 8
    write, left = snapshot.save_file, 2

    def torn(tensors: Any, path: Path, metadata: Any) -> None:
        nonlocal left
        write(tensors, path, metadata)
        left -= 1
        if not left:
            os.truncate(path, int(share * path.stat().st_size))
            os.kill(os.getpid(), signal.SIGKILL)

    snapshot.save_file = torn
    engine = Engine(tiny_model(family), context=128, sequences=1, reuse=8, disk=folder)
    for seed in range(3):
        drawn = torch.randint(9, 303, (49,), generator=torch.Generator().manual_seed(seed))
        sampling = Sampling(temperature=0, max_tokens=4, ignore_eos=True)
        engine.generate(Request(ids=(2, *drawn.tolist()), sampling=sampling))
    engine.close()


def main(folder: Path, family: str) -> None:
    """One life for each share, in a folder of its own."""
    for number, share in enumerate(SHARES):
        child = os.fork()
        if child == 0:
            live(folder / str(number), family, share)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "it was not killed"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
