"""A run small enough to be trained in a second."""

from __future__ import annotations

import base64
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower, Vision
from gemwright.data.documents import Conversation, Document
from gemwright.data.pack import Packer
from gemwright.data.tokens import tokenise
from gemwright.nn.decoder import Decoder
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import Message
from gemwright.train.export import export
from gemwright.train.optim import Optim
from gemwright.train.pictures import Pictures
from gemwright.train.run import Data, Run, Step, Watch
from gemwright.train.schedule import Schedule

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))  # the helper module paint

import paint

WORDS = ("the hen and the otter", "an inn on the den", "in and on", "the ring", "thin air and the rest of it")


def small_run(out: Path, tokenizer: Path, text: Path, **changes: Any) -> Run:
    """Two layers of Gemma 3, eight steps of two rows."""
    model = preset(
        "gemma-3-1b", width=16, depth=2, heads=2, head_dim=8, hidden=24, vocab=320, window=4, pattern=2, context=64
    )
    run = Run(
        name="small",
        model=model,
        start=None,
        tokenizer=tokenizer,
        data=Data(sources=(str(text),), weights=(), epochs=None, field="text", bad="stop", held_out=0.25, row=32),
        step=Step(tokens=64, micro=32, recompute=False),
        optim=Optim(kind="adamw", rate=1e-2, beta1=0.9, beta2=0.95, epsilon=1e-8, decay=0.1, clip=1.0),
        schedule=Schedule(kind="cosine", warmup=2, floor=0.1, decay=0.2),
        steps=6,
        seed=5,
        compute="float32",
        ema=None,
        chosen="last",
        lora=None,
        distill=None,
        watch=Watch(log=1, evaluate=3, checkpoint=2, keep=2, tensorboard=False),
        out=out,
    )
    return dataclasses.replace(run, **changes)


@pytest.fixture
def make_run(tmp_path: Path, tokenizer: Tokenizer, one_thread: None) -> Callable[..., Run]:
    """`make_run("name", steps=3)`: a small run in its own folder, on texts that all of them share."""
    text = tmp_path / "text.jsonl"
    lines = [f'{{"text": "{word} {number}"}}' for number in range(8) for word in WORDS]
    text.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def make(name: str = "run", **changes: Any) -> Run:
        return small_run(tmp_path / name, tokenizer.source.parent, text, **changes)

    return make


EYES = Vision(
    tower=Tower(image=56, patch=14, width=24, hidden=32, heads=2, depth=2, norm_epsilon=1e-6),
    tokens=4,
)
TUNED = Pictures(tower="tuned", embeddings=None)


@pytest.fixture
def make_seeing(make_run: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    """`make_seeing("name", pictures=TUNED, steps=3)`: a small run of a model that sees, on texts among conversations, a
    few with pictures, of which some come twice."""
    records: list[dict[str, Any]] = []
    for number, word in enumerate(WORDS * 3):
        (tmp_path / f"{number}.png").write_bytes(paint.png(number))
        inline = f"data:image/png;base64,{base64.b64encode(paint.png(100 + number)).decode()}"
        images = ([f"{number}.png"], [inline], [inline, "0.png"], [])[number % 4]
        user = {"role": "user", "content": word[:8], "images": images}
        records += [{"text": word}, {"messages": [user, {"role": "model", "content": word[-9:]}]}]
    path = tmp_path / "seen.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")

    def make(name: str = "seeing", **changes: Any) -> Run:
        run = make_run(name)
        data = dataclasses.replace(run.data, sources=(str(path),), row=64)
        model = dataclasses.replace(run.model, vision=EYES)
        step = dataclasses.replace(run.step, tokens=192, micro=128)
        return dataclasses.replace(run, model=model, data=data, step=step, **({"pictures": TUNED} | changes))

    return make


@pytest.fixture(scope="session")
def teacher_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[[str], Decoder], tokenizer: Tokenizer
) -> Path:
    """A tiny Gemma 3 with its tokenizer, as a folder."""
    folder = tmp_path_factory.mktemp("teachers") / "gemma"
    model = tiny("gemma-3-1b")
    return export(model, tokenizer.source.parent, folder, dtype=torch.float32, sampling={}, documents={})


@pytest.fixture
def make_rows(tmp_path: Path, tokenizer: Tokenizer) -> Callable[..., Packer]:
    """`make_rows(row=32, seed=1)`: packed rows of a text, from their beginning; of a conversation with `chat=True`."""

    def make(row: int = 32, seed: int = 1, chat: bool = False) -> Packer:
        name = f"{'chat' if chat else 'text'}-tokens"
        texts = [Document(name=str(number), key="", text=f"{word} {number}") for number in range(8) for word in WORDS]
        chats = [
            Conversation(
                name=text.name,
                key="",
                messages=(Message(role="user", text="the"), Message(role="model", text=text.text)),
            )
            for text in texts
        ]
        return Packer(tokenise(chats if chat else texts, tokenizer, tmp_path / name), row=row, seed=seed)

    return make
