"""A tiny checkpoint made by the commands themselves, and a way to type at them."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gemwright.cli.main import main
from gemwright.lm import LM, load

if TYPE_CHECKING:
    import openai
    from serving import Live

SHAPE = ("width=64", "depth=7", "hidden=96", "head_dim=16", "query_scalar=16", "window=16", "context=256")


@dataclass(frozen=True)
class Ended:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def call(*words: str | Path) -> int:
    """Run the command line in this process; its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eighty columns without colours, no network, one thread (the models are tiny), and the process's own way of
    showing warnings afterwards."""
    torch.set_num_threads(1)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Type words, get what came of it."""

    def typed(*words: str | Path) -> Ended:
        capsys.readouterr()
        code = call(*words)
        written = capsys.readouterr()
        return Ended(code, written.out, written.err)

    return typed


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of 800 pieces."""
    library = Path(sysconfig.get_paths()["stdlib"])
    folder = tmp_path_factory.mktemp("vocabulary")
    files = [library / name for name in ("argparse.py", "ast.py")]
    assert call("tokenizer", "train", *files, "--vocab-size", "800", "--out", folder) == 0
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> Path:
    """A fresh Gemma 3 of 7 layers with that tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    sizes = [word for size in SHAPE for word in ("--set", size)]
    words = ("new", "gemma-3-270m", *sizes, "--seed", "5", "--dtype", "float32", "--tokenizer", vocabulary)
    assert call(*words, "--out", folder) == 0
    # Fresh sublayers are so quiet that the likeliest token is the last one, again and again; loud ones say something.
    weights = load_file(folder / "model.safetensors")
    loud = {name: tensor.zero_() if "layernorm" in name else tensor for name, tensor in weights.items()}
    save_file(loud, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def lm() -> LM:
    """The embedded model."""
    return load("pocket")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> LM:
    """A tiny multimodal model; a picture is four tokens there."""
    sys.path.append(str(Path(__file__).resolve().parent.parent / "parity"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what transformers says about itself while it is imported
        import awake

    folder = tmp_path_factory.mktemp("seeing") / "model"
    awake.save("gemma3-multimodal", folder, vocab=1024)
    for file in vocabulary.iterdir():
        shutil.copy(file, folder / file.name)
    return load(folder)


@pytest.fixture(scope="module")
def live(lm: LM) -> Iterator[Live]:
    """A server of it."""
    from serving import running  # what it imports, few of these tests need

    with running(lm, body_bytes=200_000) as found:
        yield found


@pytest.fixture(scope="module")
def client(live: Live) -> openai.OpenAI:
    """The official client of that server."""
    return live.client()
