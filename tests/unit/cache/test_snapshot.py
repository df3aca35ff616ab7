"""Sequences on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gemwright.cache.snapshot import Damaged, load, peek, read_note, save
from gemwright.errors import UserError

_CHILD = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from conftest import Runner
from gemwright.cache.snapshot import load
torch.set_num_threads(1)
runner = Runner(sys.argv[2])
handle, ids = load(runner.cache, sys.argv[3])
assert ids == runner.ids[:37].tolist()
torch.save(runner.feed([handle], [2])[0], sys.argv[4])
"""


def test_a_new_process_goes_on_bit_for_bit(runner, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    torch.set_num_threads(1)
    handle = runner.cache.open()
    runner.feed([handle], [39])
    runner.cache.rollback(handle, 2)
    save(runner.cache, handle, tmp_path / "saved", runner.ids[:37].tolist())
    name = request.node.callspec.params["runner"]
    arguments = [str(Path(__file__).parent), name, str(tmp_path / "saved"), str(tmp_path / "logits")]
    subprocess.run([sys.executable, "-c", _CHILD, *arguments], check=True, timeout=120)
    (here,) = runner.feed([handle], [2])
    assert torch.equal(torch.load(tmp_path / "logits"), here)


def test_loading_twice_gives_two_sequences(runner, tmp_path: Path) -> None:
    handle = runner.cache.open()
    runner.feed([handle], [20])
    save(runner.cache, handle, tmp_path / "saved", runner.ids[:20].tolist())
    loaded = [load(runner.cache, tmp_path / "saved")[0] for _ in range(2)]
    for logits in runner.feed(loaded, [12, 3]):
        assert runner.agrees(logits, 20)


@pytest.mark.parametrize("changes", [{"dtype": torch.bfloat16}, {"slack": 4}, {"weights": "another tuning"}])
def test_a_file_of_another_model_is_refused(runner, tmp_path: Path, changes: dict) -> None:
    handle = runner.cache.open()
    runner.feed([handle], [8])
    save(runner.cache, handle, tmp_path / "saved", runner.ids[:8].tolist())
    with pytest.raises(UserError, match="another model"):
        load(runner.fresh(**changes), tmp_path / "saved")


def test_a_longer_sequence_than_the_cache_holds_is_refused(make, tmp_path: Path) -> None:
    runner = make("ring")
    handle = runner.cache.open()
    runner.feed([handle], [80])
    save(runner.cache, handle, tmp_path / "saved", runner.ids[:80].tolist())
    with pytest.raises(UserError, match="80 tokens, this cache 50"):
        load(runner.fresh(tokens=50), tmp_path / "saved")


def test_damage_is_named(make, tmp_path: Path) -> None:
    runner = make("ring")
    handle = runner.cache.open()
    runner.feed([handle], [30])
    path = tmp_path / "saved"
    save(runner.cache, handle, path, runner.ids[:30].tolist())
    whole = path.read_bytes()
    for cut in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match="saved"):
            load(runner.cache, path)
    path.write_bytes(whole.replace(b'\\"length\\": 30', b'\\"length\\": 31'))
    with pytest.raises(UserError, match="damaged"):
        load(runner.cache, path)
    with pytest.raises(UserError, match="no saved sequence"):
        load(runner.cache, tmp_path / "nowhere")


def test_ids_must_be_as_many_as_are_remembered(make, tmp_path: Path) -> None:
    runner = make("ring")
    handle = runner.cache.open()
    runner.feed([handle], [5])
    with pytest.raises(ValueError, match="4 ids"):
        save(runner.cache, handle, tmp_path / "saved", [1, 2, 3, 4])
    assert not list(tmp_path.iterdir())


def test_a_cache_too_short_for_the_window_is_another_memory(make, tmp_path: Path) -> None:
    runner = make("ring")
    short = runner.fresh(tokens=4)
    save(short, short.open(), tmp_path / "saved", [])
    with pytest.raises(UserError, match="length of window"):
        load(runner.cache, tmp_path / "saved")


def test_a_place_that_cannot_be_written_is_named(make, tmp_path: Path) -> None:
    runner = make("ring")
    with pytest.raises(UserError, match="nowhere"):
        save(runner.cache, runner.cache.open(), tmp_path / "nowhere" / "saved", [])


def test_a_freed_sequence_cannot_be_saved(make, tmp_path: Path) -> None:
    runner = make("ring")
    handle = runner.cache.open()
    runner.cache.free(handle)
    with pytest.raises(ValueError, match="freed"):
        save(runner.cache, handle, tmp_path / "saved", [])


def test_a_changed_byte_is_found_and_the_note_still_read(make, tmp_path: Path) -> None:
    runner, path = make("ring"), tmp_path / "saved"
    handle = runner.cache.open()
    runner.feed([handle], [30])
    save(runner.cache, handle, path, runner.ids[:30].tolist(), note="words é")
    whole = bytearray(path.read_bytes())
    whole[-100] ^= 4
    path.write_bytes(whole)
    with pytest.raises(Damaged, match="damaged"):
        load(runner.cache, path)
    path.write_bytes(whole[: len(whole) // 2])
    assert read_note(path) == "words é"
    path.write_bytes(bytes(whole).replace(b"words", b"swords"))
    with pytest.raises(UserError, match=r"saved|damaged"):
        read_note(path)


def test_a_note_can_be_saved_alone(make, tmp_path: Path) -> None:
    runner = make("ring")
    save(runner.cache, None, tmp_path / "saved", [], note="words")
    assert load(runner.cache, tmp_path / "saved") == (None, [])
    assert read_note(tmp_path / "saved") == "words"


def test_another_dtype_of_the_same_bytes_is_found(make, tmp_path: Path) -> None:
    runner, path = make("ring"), tmp_path / "saved"
    handle = runner.cache.open()
    runner.feed([handle], [8])
    save(runner.cache, handle, path, runner.ids[:8].tolist())
    path.write_bytes(path.read_bytes().replace(b'"dtype":"F32"', b'"dtype":"I32"'))
    with pytest.raises(Damaged, match="tensors"):
        load(runner.cache, path)


def test_a_head_tells_length_ids_and_note_without_the_contents(make, tmp_path: Path) -> None:
    runner, path = make("ring"), tmp_path / "saved"
    handle = runner.cache.open()
    runner.feed([handle], [8])
    runner.cache.rollback(handle, 2)
    save(runner.cache, handle, path, runner.ids[:6].tolist(), note="words")
    facts, ids, note = peek(path)
    assert (facts["length"], facts["high"], facts["identity"]) == (6, 8, runner.cache.identity)
    assert ids == runner.ids[:6].tolist() and note == "words"
