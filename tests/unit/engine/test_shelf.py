"""The disk tier: what it saves the next process, and that nothing on a disk can make an answer wrong."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gemwright.engine import shelf
from gemwright.engine.engine import Engine
from gemwright.engine.progress import Session
from gemwright.engine.request import Completion, Request, Sampling
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder

pytestmark = pytest.mark.usefixtures("one_thread", "short")

Tiny = Callable[[str], Decoder]
LIVES = Path(__file__).with_name("shelf_lives.py")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts here are short: a file is worth a few tokens."""
    monkeypatch.setattr(shelf, "LEAST", 8)


def prompt(length: int, seed: int = 0) -> tuple[int, ...]:
    drawn = torch.randint(9, 303, (length - 1,), generator=torch.Generator().manual_seed(seed))
    return (2, *drawn.tolist())


def asked(ids: tuple[int, ...]) -> Request:
    return Request(ids=ids, sampling=Sampling(temperature=0, max_tokens=4, ignore_eos=True))


def engine(model: Decoder, folder: Path, **settings: Any) -> Engine:
    return Engine(model, **({"context": 128, "sequences": 1, "reuse": 2, "disk": folder} | settings))


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def lived(model: Decoder, folder: Path, **settings: Any) -> Completion:
    """An engine that answered one prompt and was closed."""
    first = engine(model, folder, **settings)
    done = first.generate(asked(prompt(50)))
    first.close()
    return done


def test_a_new_engine_reads_nothing_again(tiny: Tiny, family: str, tmp_path: Path) -> None:
    before = lived(tiny(family), tmp_path)
    again = engine(tiny(family), tmp_path).generate(asked(prompt(50)))
    assert again.usage.cached == 49 and again.ids == before.ids
    further = engine(tiny(family), tmp_path).generate(asked((*prompt(50), *before.ids, 20, 21)))
    assert further.usage.cached == 50 + len(before.ids) - 1


def test_what_memory_lets_go_of_comes_back_from_the_disk(tiny: Tiny, family: str, tmp_path: Path) -> None:
    one = engine(tiny(family), tmp_path, reuse=1)
    first = one.generate(asked(prompt(50)))
    for seed in (1, 2, 3):
        one.generate(asked(prompt(50, seed)))
        one._places.shelf.flush()  # type: ignore[union-attr]
    again = one.generate(asked(prompt(50)))
    assert again.usage.cached == 49 and again.ids == first.ids


def test_an_idle_conversation_is_on_the_disk_when_the_engine_is_closed(tiny: Tiny, tmp_path: Path) -> None:
    one = engine(tiny("gemma-3-1b"), tmp_path, reuse=0)
    said = one.generate(asked(prompt(50)), Session())
    one.close()
    again = engine(tiny("gemma-3-1b"), tmp_path, reuse=0).generate(asked((*prompt(50), *said.ids, 20)))
    assert again.usage.cached == 50 + len(said.ids) - 1


def test_a_middle_of_a_prompt_is_written_only_if_it_was_of_use(tiny: Tiny, tmp_path: Path) -> None:
    for folder, seeds in ((tmp_path / "once", [0]), (tmp_path / "twice", [0, 5])):
        one = engine(tiny("gemma-3-1b"), folder, reuse=8, chunk=16, context=256, sequences=2)
        for seed in seeds:
            one.generate(asked((*prompt(40), *prompt(9, seed))))
        one.close()
    assert len(files(tmp_path / "once")) == 2  # the ends of the prompt and of the answer
    assert len(files(tmp_path / "twice")) == 5  # of both, and where the two prompts went apart


def test_the_folder_holds_no_more_than_its_limit(tiny: Tiny, family: str, tmp_path: Path) -> None:
    lived(tiny(family), tmp_path / "whole")
    limit = 3 * max(file.stat().st_size for file in files(tmp_path / "whole")) + 2**15
    one = engine(tiny(family), tmp_path / "cut", disk_bytes=limit)
    for seed in range(5):
        one.generate(asked(prompt(50, seed)))
        one._places.shelf.flush()  # type: ignore[union-attr]
        assert sum(file.stat().st_size for file in files(tmp_path / "cut")) <= one.held().disk <= limit
    one.close()
    assert 2 <= len(files(tmp_path / "cut")) <= 4
    last = engine(tiny(family), tmp_path / "cut").generate(asked(prompt(50, 4)))
    assert last.usage.cached == 49


def test_a_smaller_limit_removes_what_was_of_no_use_for_longest(tiny: Tiny, tmp_path: Path) -> None:
    one = engine(tiny("gemma-3-1b"), tmp_path, reuse=8)
    for seed in (1, 2):
        one.generate(asked(prompt(50, seed)))
    one.close()
    for age, file in enumerate(files(tmp_path)):
        os.utime(file, (age, age))
    kept = files(tmp_path)[-1]
    found = engine(tiny("gemma-3-1b"), tmp_path, disk_bytes=kept.stat().st_size + 1).held()
    assert files(tmp_path) == [kept] and (found.files, found.disk) == (1, kept.stat().st_size)


def test_another_models_files_are_left_alone(tiny: Tiny, tmp_path: Path) -> None:
    lived(tiny("gemma-2-2b"), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = files(tmp_path)
    for other in ({"model": tiny("gemma-3-1b")}, {"model": tiny("gemma-2-2b"), "int8_cache": True}):
        one = engine(folder=tmp_path, **other)  # type: ignore[arg-type]
        assert one.held().files == 0 and one.held().disk > 0
        assert one.generate(asked(prompt(50))).usage.cached == 0
    assert files(tmp_path) == before


def test_a_longer_contexts_files_are_left_alone(tiny: Tiny, tmp_path: Path) -> None:
    lived(tiny("gemma-2b"), tmp_path)
    before = files(tmp_path)
    one = engine(tiny("gemma-2b"), tmp_path, context=32)
    assert one.held().files == 0
    assert one.generate(asked(prompt(20))).usage.cached == 0
    assert set(before) <= set(files(tmp_path))


def mutated(draw: random.Random, data: bytes, body: int) -> tuple[bytes, bool]:
    """The file with bits turned over, or cut off; and whether its head was spared, so that it must be refused."""
    if draw.random() < 0.3:
        return data[: draw.randrange(len(data))], True
    found, places = bytearray(data), [draw.randrange(len(data)) for _ in range(draw.choice([1, 1, 2, 9]))]
    for place in places:
        found[place] ^= 1 << draw.randrange(8)
    return bytes(found), bytes(found) != data and any(place >= body for place in places)


def test_a_damaged_file_is_refused_and_never_wrong(tiny: Tiny, family: str, tmp_path: Path) -> None:
    """Half of the places are in the head, which is small beside the tensors."""
    expected, draw, refused = lived(tiny(family), tmp_path / "whole").ids, random.Random(7), 0
    for number in range(12):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "whole", folder)
        sure = True
        for file in files(folder):
            data = file.read_bytes()
            head = 8 + int.from_bytes(data[:8], "little")
            if number % 2:
                data, certain = mutated(draw, data, head)
            else:
                data, certain = mutated(draw, data[:head], head)[0] + data[head:], False
            file.write_bytes(data)
            sure = sure and certain
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # most are named
            found = engine(tiny(family), folder).generate(asked(prompt(50)))
        assert found.ids == expected
        assert not sure or found.usage.cached == 0
        refused += found.usage.cached == 0
    assert refused >= 9


def test_damage_is_said_and_its_file_removed(tiny: Tiny, tmp_path: Path) -> None:
    lived(tiny("gemma-3-1b"), tmp_path)
    for file in files(tmp_path):
        data = bytearray(file.read_bytes())
        data[-3] ^= 1
        file.write_bytes(data)
    one = engine(tiny("gemma-3-1b"), tmp_path)
    with pytest.warns(UserWarning, match="is removed"):
        one.generate(asked(prompt(50)))
    (tmp_path / files(tmp_path)[0].name).write_bytes(b"")
    with pytest.warns(UserWarning, match="is removed"):
        engine(tiny("gemma-3-1b"), tmp_path)
    assert files(tmp_path) == []


def test_killed_while_it_writes_it_leaves_whole_files_or_none(tiny: Tiny, tmp_path: Path) -> None:
    """SIGKILL when a share of the second file, or none of it, or all of it is on the disk."""
    subprocess.run([sys.executable, str(LIVES), str(tmp_path), "gemma-3-1b"], check=True, timeout=300)
    plain = Engine(tiny("gemma-3-1b"), context=128, sequences=1)
    for life in files(tmp_path):
        assert len(files(life)) == 2  # one whole, and a half one of another name
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            one = engine(tiny("gemma-3-1b"), life)
        assert [file.suffix for file in files(life)] == [".beginning"]
        for seed in range(3):
            assert one.generate(asked(prompt(50, seed))).ids == plain.generate(asked(prompt(50, seed))).ids


def test_a_folder_that_cannot_be_used_is_named(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="file"):
        engine(tiny("gemma-3-1b"), tmp_path / "file")


def test_a_file_that_another_process_removes_meanwhile_is_passed_over(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = lived(tiny("gemma-3-1b"), tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(Path, "is_file", lambda path: True)  # it was there when it was asked for
    assert engine(tiny("gemma-3-1b"), tmp_path).generate(asked(prompt(50))).ids == done.ids


def test_a_disk_that_takes_nothing_more_is_said_and_answers_go_on(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gemwright.cache.snapshot.save_file", full)
    one = engine(tiny("gemma-3-1b"), tmp_path)
    one.generate(asked(prompt(50)))
    with pytest.warns(UserWarning, match="No space left"):
        one.close()
    assert files(tmp_path) == []


def test_what_a_disk_is_too_slow_for_is_not_written(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "_AHEAD", 0)
    one = engine(tiny("gemma-3-1b"), tmp_path, reuse=0)
    one.generate(asked(prompt(50)))
    assert one.held().disk == 0 and files(tmp_path) == []
