"""GGUF files through the command line: written, read, looked at, talked to, turned back, and refused when damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

import gemwright
from gemwright.cli.main import main
from gemwright.text.tokenizer import Tokenizer

SHAPE = ("width=64", "depth=7", "hidden=96", "head_dim=32", "query_scalar=32", "window=16", "context=256")
TEXT = "def parse(self, args=None):\n    return  [1, 2]\n\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> Path:
    """A fresh Gemma 3 whose rows fill blocks of 32, and which says how it wants to be sampled."""
    folder = tmp_path_factory.mktemp("models") / "small"
    sizes = [word for size in SHAPE for word in ("--set", size)]
    words = ("new", "gemma-3-270m", *sizes, "--seed", "5", "--dtype", "bfloat16", "--tokenizer", vocabulary)
    with pytest.raises(SystemExit) as ended:
        main([*map(str, words), "--out", str(folder)])
    assert not ended.value.code
    ends = [1, Tokenizer.load(folder).end_of_turn]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends, "temperature": 0.5, "top_k": 7}))
    return folder


@pytest.fixture
def convert(cli: Callable, folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function: options → the .gguf file that they make of the folder."""

    def make(*words: str, name: str = "small.gguf") -> Path:
        ended = cli("convert", folder, "--out", tmp_path / name, *words)
        assert ended.code == 0, ended.err
        return tmp_path / name

    return make


def test_there_and_back_gives_the_same_weights(cli: Callable, convert: Callable, folder: Path, tmp_path: Path) -> None:
    ended = cli("convert", convert(), "--out", tmp_path / "back")
    assert ended.code == 0 and "parameters of" in ended.out
    before, after = (safetensors.torch.load_file(where / "model.safetensors") for where in (folder, tmp_path / "back"))
    assert before.keys() == after.keys() and {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_there_and_back_gives_the_same_ids_and_defaults(
    cli: Callable, convert: Callable, folder: Path, tmp_path: Path
) -> None:
    assert cli("convert", convert(), "--out", tmp_path / "back").code == 0
    before = Tokenizer.load(folder)
    for form in ("json", "model"):
        after = Tokenizer.load(tmp_path / "back", prefer=form)
        assert after.fingerprint() == before.fingerprint()
        assert after.encode(TEXT, special=True) == before.encode(TEXT, special=True)
    config = json.loads((tmp_path / "back" / "tokenizer_config.json").read_text())
    assert config["chat_template"] == json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    stated = json.loads((tmp_path / "back" / "generation_config.json").read_text())
    assert stated["eos_token_id"] == [1, before.end_of_turn]
    assert (stated["temperature"], stated["top_k"]) == (0.5, 7)


def test_a_packed_file_is_small_and_says_what_it_holds(cli: Callable, convert: Callable, folder: Path) -> None:
    path = convert("--type", "q4_0")
    assert path.stat().st_size < 0.6 * (folder / "model.safetensors").stat().st_size
    tree = cli("inspect", path, "--json").json
    assert tree["dtypes"] == ["F32", "Q4_0", "Q8_0"] and tree["folder"] == str(path)
    assert [file["name"] for file in tree["files"]] == ["small.gguf"]
    assert "pieces, turn marks" in tree["tokenizer"]
    shown = cli("inspect", path.parent)
    assert shown.code == 0 and max(map(len, shown.out.splitlines())) <= 80


def test_the_table_may_have_a_type_of_its_own(cli: Callable, convert: Callable) -> None:
    path = convert("--type", "q4_0", "--table", "f16")
    assert cli("inspect", path, "--json").json["dtypes"] == ["F16", "F32", "Q4_0"]


@pytest.mark.parametrize(("type", "dtype"), [("f32", "float32"), ("bf16", "bfloat16"), ("q8_0", "bfloat16")])
def test_auto_runs_packed_files_in_bfloat16(cli: Callable, convert: Callable, type: str, dtype: str) -> None:
    path = convert("--type", type)
    assert cli("plan", path, "--json").json["dtype"] == dtype
    scored = cli("score", TEXT, "--model", path, "--json")
    assert scored.code == 0 and "held as" not in scored.err  # norms, which are F32 in all of them, are held so


def test_a_float32_file_scores_as_its_folder(cli: Callable, convert: Callable, folder: Path) -> None:
    one, other = (
        cli("score", TEXT, "--model", where, "--dtype", "float32", "--json").json
        for where in (folder, convert("--type", "f32"))
    )
    assert one == other


def test_a_file_talks_as_its_folder(cli: Callable, convert: Callable, folder: Path) -> None:
    said = [
        cli("generate", TEXT, "--model", where, "--seed", "3", "--max-tokens", "12", "--dtype", "float32").out
        for where in (folder, convert("--type", "f32"))
    ]
    assert said[0] == said[1] != ""


def test_the_library_takes_tokenizer_and_defaults_from_the_file(convert: Callable, folder: Path) -> None:
    one, other = gemwright.load(folder, device="cpu"), gemwright.load(convert(), device="cpu")
    assert other.tokenizer.fingerprint() == one.tokenizer.fingerprint()
    assert other.engine.defaults == one.engine.defaults
    chats = [lm.chat(sampling=gemwright.Sampling(max_tokens=5, seed=1)).say("Hello") for lm in (one, other)]
    assert chats[0].ids == chats[1].ids


def test_a_gguf_file_is_packed_anew(cli: Callable, convert: Callable, tmp_path: Path) -> None:
    direct = convert("--type", "q8_0", name="direct.gguf")
    ended = cli("convert", convert("--type", "bf16"), "--out", tmp_path / "again.gguf", "--type", "q8_0")
    assert ended.code == 0
    assert (tmp_path / "again.gguf").read_bytes() == direct.read_bytes()


def refused(ended, *said: str) -> None:
    assert ended.code == 2 and ended.out == ""
    error, hint = ended.err.splitlines()
    assert error.startswith("error: ") and hint.startswith("hint: ")
    for word in said:
        assert word in error


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "another magic": (lambda data: b"GGUX" + data[4:], "no GGUF"),
    "cut short": (lambda data: data[: len(data) // 2], "cut short"),
    "cut in the header": (lambda data: data[:5000], "left"),
    "an endless count": (lambda data: data[:8] + b"\xff" * 8 + data[16:], "tensors"),
    "another architecture": (lambda data: data.replace(b"gemma3", b"gemma9"), "gemma9"),
    "another tokenizer": (lambda data: data.replace(b"llama", b"gpt-2", 1), "gpt-2"),
    "a tensor renamed": (lambda data: data.replace(b"ffn_up", b"ffn_UP", 1), "ffn_UP"),
    "another width": (
        lambda data: data.replace(b"embedding_length\4\0\0\0\x40", b"embedding_length\4\0\0\0\x60"),
        "shape",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("command", ["inspect", "score", "convert"])
def test_a_damaged_file_is_named(cli: Callable, convert: Callable, tmp_path: Path, case: str, command: str) -> None:
    change, said = DAMAGE[case]
    good = convert()
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(change(good.read_bytes()))
    assert bad.read_bytes() != good.read_bytes()
    words = {
        "inspect": ("inspect", bad),
        "score": ("score", "x", "--model", bad),
        "convert": ("convert", bad, "--out", tmp_path / "out"),
    }[command]
    refused(cli(*words), str(bad), said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--out", "x.gguf", "--dtype", "bfloat16"), "--dtype"),
        (("--out", "x.gguf", "--type", "q3_k"), "q3_k"),
        (("--out", "x.gguf", "--table", "int4"), "int4"),
        (("--out", "x", "--type", "q4_0"), "GGUF"),
        (
            (
                "--out",
                "gone/x.gguf",
            ),
            "gone",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    cli: Callable, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(cli("convert", folder, *words), said)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_not_overwritten_by_accident(cli: Callable, convert: Callable, folder: Path) -> None:
    path = convert()
    before = path.read_bytes()
    refused(cli("convert", folder, "--out", path, "--type", "f32"), "there already")
    assert path.read_bytes() == before
    assert cli("convert", folder, "--out", path, "--type", "f32", "--overwrite").code == 0
    assert path.read_bytes() != before


def test_a_missing_file_is_named(cli: Callable) -> None:
    refused(cli("inspect", "gone.gguf"), "gone.gguf does not exist")
