"""encode, as people type it: embeddings, how to train with them, and every way in which they do not come about."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from gemwright.arch.spec import Tower as Shape
from gemwright.arch.spec import Vision
from gemwright.loading import load_model
from gemwright.nn.decoder import Decoder
from gemwright.nn.gemma import Tower
from gemwright.nn.init import initialise_tower
from gemwright.train.interrupt import Interrupt
from gemwright.weights.save import save
from gemwright.weights.side_files import tokenizer_files

EYES = Vision(tower=Shape(image=56, patch=14, width=24, hidden=32, heads=2, depth=2, norm_epsilon=1e-6), tokens=4)


def _png(seed: int) -> bytes:
    pixels = numpy.random.default_rng(seed).integers(0, 256, size=(20, 30, 3), dtype=numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def sees(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a tower."""
    loaded = load_model(tiny, dtype=torch.float32)
    with torch.device("meta"):
        model = Decoder(replace(loaded.spec, vision=EYES))
    model.load_state_dict(loaded.model.state_dict(), assign=True)
    tower = Tower(EYES, loaded.spec.width)
    initialise_tower(tower, torch.Generator().manual_seed(1))
    return save(
        model, tmp_path_factory.mktemp("sees") / "model", tower=tower, extras=tokenizer_files(tiny), dtype=torch.float32
    )


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """Six conversations about four pictures."""
    lines = []
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes(_png(number % 4))
        inline = f"data:image/png;base64,{base64.b64encode(_png(number % 4)).decode()}"
        user = {"role": "user", "content": "what is it?", "images": [inline if number % 2 else f"{number}.png"]}
        lines.append(json.dumps({"messages": [user, {"role": "assistant", "content": f"it is {number}"}]}))
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def words(sees: Path, chats: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    """A command that makes small embeddings."""
    return ("encode", chats, "--model", sees, "--out", tmp_path / "seen", "--shard", "2")


def test_it_says_what_it_made_and_which_runs_read_it(cli: Callable, words: tuple, tmp_path: Path) -> None:
    ended = cli(*words)
    assert ended.code == 0 and ended.out == f"{tmp_path / 'seen'}\n"
    assert "4 pictures" in ended.err and f"--set pictures.embeddings={tmp_path / 'seen'}" in ended.err
    assert len(list((tmp_path / "seen").glob("*.bin"))) == 2


def test_json_tells_the_sizes(cli: Callable, words: tuple) -> None:
    tree = cli(*words, "--json").json
    assert tree["finished"] and tree["pictures"] == 4 and tree["bytes"] == 4 * 4 * 64 * 4


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(
    cli: Callable, words: tuple, monkeypatch: pytest.MonkeyPatch
) -> None:
    wished = iter([False, False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(Interrupt, "__bool__", lambda self: next(wished))
        ended = cli(*words, "--json")
    assert ended.code == 130 and ended.json["pictures"] == 3 and not ended.json["finished"]
    assert cli(*words, "--json").json["pictures"] == 4


def test_a_run_learns_from_what_was_made_ahead(
    cli: Callable, words: tuple, sees: Path, chats: Path, tmp_path: Path
) -> None:
    cli(*words)
    settings = ("data.row=64", "step.tokens=128", "step.micro=64", "steps=2", "watch.evaluate=2")
    given = [word for setting in settings for word in ("--set", setting)]
    embeddings = f"pictures.embeddings={tmp_path / 'seen'}"
    ended = cli("tune", sees, chats, "--out", tmp_path / "run", *given, "--set", embeddings)
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--model": "tiny"}, "vision"),
        ({"--out": "chats.jsonl"}, "cannot write"),
        ({"data": "texts.jsonl"}, "no conversation shows a picture"),
        ({"data": "broken.jsonl"}, "line 1: "),
        ({"data": "gone.jsonl"}, "no file or folder"),
    ],
)
def test_what_cannot_be_is_told(
    cli: Callable, words: tuple, tiny: Path, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n')
    user = {"role": "user", "content": "a", "images": ["gone.png"]}
    (tmp_path / "broken.jsonl").write_text(json.dumps({"messages": [user]}) + "\n")
    typed = list(words)
    for name, value in change.items():
        typed[1 if name == "data" else typed.index(name) + 1] = tiny if value == "tiny" else tmp_path / value
    ended = cli(*typed)
    assert ended.code == 2 and said in ended.err and len(ended.err.splitlines()) == 2
