"""Pictures at generate and chat, as people show them."""

from __future__ import annotations

import io
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from gemwright.cli.conversation import Conversation
from gemwright.cli.picture_view import describe, drawing
from gemwright.engine.pictures import show
from gemwright.engine.request import Sampling
from gemwright.errors import UserError
from gemwright.lm import load

sys.path.append(str(Path(__file__).resolve().parent.parent / "parity"))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what transformers says about itself while it is imported
    import awake

BRIEF = ("--max-tokens", "6", "--temperature", "0")


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory, vocabulary: Path) -> Path:
    """A whole multimodal folder with a tokenizer; a picture is four tokens there."""
    folder = tmp_path_factory.mktemp("seeing") / "model"
    awake.save("gemma3-multimodal", folder, vocab=1024)
    for file in vocabulary.iterdir():
        shutil.copy(file, folder / file.name)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """square.png, other.png and wide.png: noise, the last for two crops."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, (name, size) in enumerate({"square": (60, 60), "other": (60, 60), "wide": (600, 300)}.items()):
        noise = numpy.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8)
        Image.fromarray(noise).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def say(cli: Callable, seeing: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Type lines at a chat with the model that sees."""

    def talk(*lines: str, words: tuple[str, ...] = (), model: Path = seeing):
        data = "".join(line + "\n" for line in lines).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))
        return cli("chat", model, *BRIEF, *words)

    return talk


def test_a_model_that_sees_says_nothing_of_its_tower_to_who_only_reads(cli: Callable, seeing: Path) -> None:
    ended = cli("generate", "See: ", "-m", seeing, *BRIEF)
    assert ended.code == 0 and "vision" not in ended.err


def test_generate_shows_pictures_and_names_them(cli: Callable, seeing: Path, files: Path) -> None:
    words = ("generate", "See: ", "-m", seeing, *BRIEF, "--image", files / "square.png", "--image", files / "wide.png")
    ended = cli(*words, "--json")
    shown = [str(files / name) for name in ("square.png", "wide.png")]
    found = load(seeing).generate("See: ", Sampling(temperature=0, max_tokens=6), images=shown)
    assert ended.json["ids"] == list(found.ids)
    assert [(one["name"], one["width"], one["height"], one["crops"]) for one in ended.json["images"]] == [
        (shown[0], 60, 60, 0),
        (shown[1], 600, 300, 0),
    ]
    plain = cli(*words)
    assert plain.out == found.text + "\n"
    assert "60 × 60 pixels" in plain.err and "600 × 300 pixels" in plain.err


def test_pan_scan_shows_crops(cli: Callable, seeing: Path, files: Path) -> None:
    words = ("generate", "See: ", "-m", seeing, *BRIEF, "--image", files / "wide.png", "--json")
    plain, cut = cli(*words), cli(*words, "--pan-scan")
    assert plain.json["images"][0]["crops"] == 0 and cut.json["images"][0]["crops"] == 2
    more = cut.json["usage"]["prompt_tokens"] - plain.json["usage"]["prompt_tokens"]
    assert more > 2 * 4  # two further views, and the words about them
    assert "2 crops" in cut.err


def test_pan_scan_without_a_picture_is_a_mistake(cli: Callable, seeing: Path) -> None:
    ended = cli("generate", "See: ", "-m", seeing, "--pan-scan")
    assert ended.code == 2 and "--image" in ended.err


def test_a_text_model_says_that_it_sees_nothing(cli: Callable, tiny: Path, files: Path) -> None:
    ended = cli("generate", "See: ", "-m", tiny, "--image", files / "square.png")
    assert ended.code == 2 and "no vision tower" in ended.err and ended.out == ""


def test_a_file_that_is_no_picture_is_named(cli: Callable, seeing: Path, tmp_path: Path) -> None:
    (tmp_path / "note.png").write_text("not a picture")
    for file in (tmp_path / "note.png", tmp_path / "gone.png"):
        ended = cli("generate", "See: ", "-m", seeing, "--image", file)
        assert ended.code == 2 and file.name in ended.err


def test_chat_shows_a_picture_with_the_next_message_only(say: Callable, files: Path, tmp_path: Path) -> None:
    talk = tmp_path / "talk.json"
    ended = say(f"/image {files / 'square.png'}", "what is it", "and then", f"/save {talk}")
    assert "60 × 60 pixels" in ended.err and "error" not in ended.err
    first, _, third, _ = json.loads(talk.read_text())["messages"]
    assert [Path(image["path"]).name for image in first["images"]] == ["square.png"] and "images" not in third


def test_a_name_with_spaces_needs_quotes_only_beside_another(say: Callable, files: Path, tmp_path: Path) -> None:
    spaced = tmp_path / "Anna's cat.png"
    shutil.copy(files / "square.png", spaced)
    assert say(f"/image {spaced}", "/image").err.count("60 × 60 pixels") == 2
    assert say(f'/image "{spaced}" {spaced.parent}/none.png', "/image").err.count("error: ") == 2
    assert say(f'/image "{spaced}" {files / "square.png"}').err.count("60 × 60 pixels") == 2


def test_a_picture_given_with_the_command_goes_with_the_first_message(say: Callable, files: Path) -> None:
    early = say("what is it", words=("--image", str(files / "square.png")))
    assert early.out == say(f"/image {files / 'square.png'}", "what is it").out


def test_mistakes_with_pictures_lose_nothing(say: Callable, files: Path, tmp_path: Path) -> None:
    """Neither the conversation nor the pictures that wait."""
    (tmp_path / "note.png").write_text("not a picture")
    good = f"/image {files / 'square.png'}"
    bad = (f"/image {tmp_path / 'note.png'}", "/image gone.png", '/image "open', "<start_of_image><start_of_image>")
    ended = say(good, *bad, "/image", "what is it")
    assert ended.err.count("error: ") == 4 and ended.err.count("hint: ") == 4
    assert "with the next message" in ended.err
    assert ended.out == say(good, "what is it").out


def test_a_text_model_in_a_chat_refuses_a_picture_and_goes_on(say: Callable, tiny: Path, files: Path) -> None:
    ended = say(f"/image {files / 'square.png'}", "hello", model=tiny)
    assert ended.code == 0 and "no vision tower" in ended.err
    assert ended.out == say("hello", model=tiny).out


def test_a_saved_conversation_with_pictures_goes_on_as_if_never_left(
    say: Callable, files: Path, tmp_path: Path
) -> None:
    talk = tmp_path / "talk.json"
    lines = (f"/image {files / 'wide.png'}", "what is it", f"/image {files / 'other.png'}", "and this")
    cut = ("--pan-scan",)
    whole = say(*lines, "well", words=cut).out
    first = say(*lines, f"/save {talk}", words=cut).out
    assert first + say(f"/load {talk}", "well").out == whole


def test_a_picture_from_no_file_is_not_saved(seeing: Path, files: Path, tmp_path: Path) -> None:
    talk = Conversation(load(seeing).engine, sampling=Sampling(temperature=0, max_tokens=3))
    talk.say("what is it", images=[files / "square.png", numpy.zeros((30, 30, 3), dtype=numpy.uint8)])
    with pytest.raises(UserError, match="no file"):
        talk.write(tmp_path / "talk.json")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_wants_pan_and_scan_gets_it_unasked_and_by_its_own_rule(
    cli: Callable, seeing: Path, files: Path, tmp_path: Path
) -> None:
    words = ("generate", "See: ", *BRIEF, "--image", files / "wide.png", "--json", "-m")
    assert cli(*words, seeing).json["images"][0]["crops"] == 0
    model = tmp_path / "model"
    shutil.copytree(seeing, model)
    side = {"height": 56, "width": 56}
    for wants, smallest, crops in ((True, 256, 2), (True, 301, 0), (False, 256, 0)):
        settings = {"do_pan_and_scan": wants, "pan_and_scan_min_crop_size": smallest, "size": side}
        (model / "preprocessor_config.json").write_text(json.dumps(settings))
        assert cli(*words, model).json["images"][0]["crops"] == crops


def test_a_checkpoint_whose_tower_is_gone_says_so(cli: Callable, seeing: Path, files: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(seeing, model)
    tensors = load_file(model / "model.safetensors")
    left = {name: value for name, value in tensors.items() if "vision" not in name and "multi_modal" not in name}
    assert len(left) < len(tensors)
    save_file(left, model / "model.safetensors", metadata={"format": "pt"})
    words = ("generate", "See: ", "-m", model, *BRIEF)
    ended = cli(*words, "--image", files / "square.png")
    assert ended.code == 2 and "no vision tower" in ended.err
    assert cli(*words).code == 0  # text goes on


def saved(say: Callable, picture: Path, talk: Path) -> None:
    say(f"/image {picture}", "what is it", f"/save {talk}")


def test_a_picture_that_changed_or_went_is_missed(say: Callable, files: Path, tmp_path: Path) -> None:
    talk, mine = tmp_path / "talk.json", tmp_path / "mine.png"
    shutil.copy(files / "square.png", mine)
    saved(say, mine, talk)
    shutil.copy(files / "other.png", mine)
    changed = say(f"/load {talk}", "hello")
    assert "is not the picture" in changed.err and changed.out == say("hello").out
    mine.unlink()
    assert "no such file" in say(f"/load {talk}").err


@pytest.mark.parametrize(
    "change",
    [
        {"first": [0, 0]},
        {"first": []},
        {"first": [10**6]},
        {"count": -1},
        {"count": True},
        {"sha256": 5},
        {"path": None},
    ],
)
def test_a_saved_picture_that_makes_no_sense_is_refused(
    say: Callable, files: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    talk = tmp_path / "talk.json"
    saved(say, files / "square.png", talk)
    tree = json.loads(talk.read_text())
    tree["messages"][0]["images"][0] |= change
    talk.write_text(json.dumps(tree))
    ended = say(f"/load {talk}", "hello")
    assert "no saved conversation" in ended.err and ended.out == say("hello").out


def test_a_drawing_keeps_proportions_and_colours() -> None:
    """Left half red, right half blue, twice as wide as high."""
    pixels = numpy.zeros((100, 200, 3), dtype=numpy.uint8)
    pixels[:, :100, 0] = pixels[:, 100:, 2] = 255
    shown = show(pixels, 56, name="a\x1b[31m.png")
    text = drawing(shown, 20, 16)
    lines = text.plain.split("\n")
    assert len(lines) == 5 and {len(line) for line in lines} == {20}
    screen = Console(force_terminal=True, color_system="truecolor", no_color=False, width=40, file=io.StringIO())
    with screen.capture() as capture:
        screen.print(text)
    written = capture.get()
    assert "38;2;255;0;0" in written and "48;2;0;0;255" in written
    assert describe(shown) == "a\N{REPLACEMENT CHARACTER}[31m.png, 200 × 100 pixels"
