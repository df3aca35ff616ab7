"""Text to ids and back, the same from both file forms."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemwright.errors import UserError
from gemwright.text import sentencepiece_file
from gemwright.text.pieces import GEMMA_2, GEMMA_3, IMAGE_SOFT
from gemwright.text.tokenizer import Tokenizer

MARKS = ["<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>"]
# arbitrary text, seasoned with what tokenizers stumble over
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(
            [*MARKS, "<0x41>", "<unused1>", "▁", " " * 3, " " * 40, "\n" * 9, "\t\t", "\r\n", "def f(", "12"]
        ),
    ),
    max_size=8,
).map("".join)


@given(text=TEXTS)
def test_both_forms_give_the_same_ids(small_json: Tokenizer, small_model: Tokenizer, text: str):
    assert small_json.encode(text) == small_model.encode(text)
    assert small_json.encode(text, bos=True, special=True) == small_model.encode(text, bos=True, special=True)


@given(text=TEXTS)
def test_plain_text_never_yields_a_special_id(small_json: Tokenizer, text: str):
    assert not small_json.special_ids.intersection(small_json.encode(text))


@given(text=TEXTS)
def test_decoding_gives_the_text_back(small_json: Tokenizer, text: str):
    expected = text.replace("▁", " ")  # the one character that stands for another
    assert small_json.decode(small_json.encode(text)) == expected


@pytest.mark.parametrize("mark", MARKS)
def test_a_literal_mark_is_characters_unless_asked(small: Tokenizer, mark: str):
    assert len(small.encode(mark)) > 1
    assert small.encode(mark, special=True) == [small.id_of(mark)]


def test_text_around_a_mark_is_encoded_apart(small: Tokenizer):
    found = small.encode("a \n<end_of_turn>\n b", special=True)
    assert found == [*small.encode("a \n"), small.end_of_turn, *small.encode("\n b")]


def test_a_reserved_name_that_the_vocabulary_lacks_is_plain_text(small: Tokenizer):
    assert small.encode("<unused7>", special=True) == small.encode("<unused7>")


def test_bos_is_put_in_front_once(small: Tokenizer):
    assert small.encode("x", bos=True) == [small.bos, *small.encode("x")]
    assert small.encode("", bos=True) == [small.bos]


def test_lone_surrogates_become_the_replacement_character(small: Tokenizer):
    assert small.encode("a\ud800b") == small.encode("a\ufffdb")
    assert small.encode("\ud83d\ude00") == small.encode("\U0001f600")


def test_decode_leaves_marks_out_or_shows_them(small: Tokenizer):
    ids = small.encode("<bos>hi<end_of_turn>", special=True)
    assert small.decode(ids) == "hi"
    assert small.decode(ids, skip_special=False) == "<bos>hi<end_of_turn>"


def test_bytes_that_are_no_character_decode_to_the_replacement_character(small: Tokenizer):
    first = small.id_of("<0xE2>")
    assert first is not None
    assert small.decode([first, *small.encode("a")]) == "\ufffda"


def test_pieces_stand_for_bytes(small: Tokenizer):
    spaces, byte = small.id_of("▁▁▁"), small.id_of("<0xFF>")
    assert spaces is not None and byte is not None
    assert small.bytes_of(spaces) == b"   "
    assert small.bytes_of(byte) == b"\xff"
    assert small.piece(byte) == "<0xFF>"
    assert small.id_of("no such piece") is None


@pytest.mark.parametrize("token", [-1, 1200, 10**12])
def test_an_id_outside_the_vocabulary_is_a_misuse(small: Tokenizer, token: int):
    with pytest.raises(ValueError, match="1200 pieces"):
        small.bytes_of(token)


def test_properties_name_the_ids_of_the_file(small: Tokenizer):
    assert (small.pad, small.eos, small.bos, small.unk) == (0, 1, 2, 3)
    assert (small.start_of_turn, small.end_of_turn, small.start_of_image, small.end_of_image) == (5, 6, 7, 8)
    assert small.image_soft == 9
    assert small.special_ids == frozenset(range(10))
    assert small.vocab_size == 1200
    assert small.supports_turns


def test_whitespace_runs_are_pieces_and_not_special(small: Tokenizer):
    for run in ("\n\n", "▁▁", "\t"):
        token = small.id_of(run)
        assert token not in small.special_ids
        assert small.encode(run.replace("▁", " ")) == [token]


def test_the_fingerprint_is_that_of_the_vocabulary_not_of_the_form(small_json: Tokenizer, small_model: Tokenizer):
    assert small_json.fingerprint() == small_model.fingerprint()
    assert len(small_json.fingerprint()) == 64


def copy(small_folder: Path, target: Path, *names: str) -> Path:
    for name in names:
        shutil.copy(small_folder / name, target / name)
    return target


def test_a_folder_with_one_form_is_read_whatever_is_preferred(small_folder: Path, tmp_path: Path):
    folder = copy(small_folder, tmp_path, "tokenizer.model")
    assert Tokenizer.load(folder, prefer="json").source.name == "tokenizer.model"
    assert Tokenizer.load(folder / "tokenizer.model").vocab_size == 1200
    assert Tokenizer.load(small_folder).source.name == "tokenizer.json"


def test_the_fingerprint_changes_with_one_piece(small_folder: Path, tmp_path: Path, small_json: Tokenizer):
    edit(copy(small_folder, tmp_path, "tokenizer.json"), lambda tree: swap_last_two(tree["model"]["vocab"]))
    assert Tokenizer.load(tmp_path).fingerprint() != small_json.fingerprint()


def swap_last_two(vocab: dict[str, int]) -> None:
    names = sorted(vocab, key=lambda name: vocab[name])[-2:]
    vocab[names[0]], vocab[names[1]] = vocab[names[1]], vocab[names[0]]


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "tokenizer.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    change(tree)
    path.write_text(json.dumps(tree), encoding="utf-8")


def test_truncation_and_padding_in_the_file_do_not_touch_the_ids(
    small_folder: Path, tmp_path: Path, small_json: Tokenizer
):
    def cut_and_pad(tree: dict[str, Any]) -> None:
        tree["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
        tree["padding"] = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None}
        tree["padding"] |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}

    edit(copy(small_folder, tmp_path, "tokenizer.json"), cut_and_pad)
    text = "return the value of the argument"
    assert Tokenizer.load(tmp_path).encode(text) == small_json.encode(text)


def test_runs_of_spaces_match_as_in_the_sentencepiece_file_however_the_json_flags_them(
    small_folder: Path, tmp_path: Path, small_model: Tokenizer
):
    def flag(tree: dict[str, Any]) -> None:
        tree["added_tokens"] = [entry | {"normalized": False} for entry in tree["added_tokens"]]

    edit(copy(small_folder, tmp_path, "tokenizer.json"), flag)
    for text in ("a ▁▁b", "▁▁ ▁", "  ▁", " " * 70, "a  b"):
        assert Tokenizer.load(tmp_path).encode(text) == small_model.encode(text)


def test_merges_that_would_build_a_mark_are_ignored(small_folder: Path, tmp_path: Path, small_json: Tokenizer):
    def add(tree: dict[str, Any]) -> None:
        vocab = tree["model"]["vocab"]
        for name in ("<e", "<eo", "<eos"):
            vocab[name] = len(vocab)
        tree["model"]["merges"][:0] = [["<", "e"], ["<e", "o"], ["<eo", "s"], ["<eos", ">"]]

    edit(copy(small_folder, tmp_path, "tokenizer.json"), add)
    changed = Tokenizer.load(tmp_path)
    assert changed.eos not in changed.encode("<eos>")
    assert changed.decode(changed.encode("<eos>")) == "<eos>"


def test_added_tokens_keep_their_ids_when_the_ones_before_them_are_withdrawn(small_folder: Path, tmp_path: Path):
    def add(tree: dict[str, Any]) -> None:
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        tree["added_tokens"].append({"id": 1200, "content": IMAGE_SOFT, "special": True, **flags})
        tree["added_tokens"].append({"id": 1201, "content": "<table>", "special": False, **flags})

    edit(copy(small_folder, tmp_path, "tokenizer.json"), add)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("a<table>") == [*tokenizer.encode("a"), 1201]
    assert tokenizer.image_soft == 1200
    assert tokenizer.encode(IMAGE_SOFT, special=True) == [1200]


def test_the_image_placeholder_is_found_beside_a_sentencepiece_file(small_folder: Path, tmp_path: Path):
    copy(small_folder, tmp_path, "tokenizer.model")
    plain = Tokenizer.load(tmp_path)
    config = {"added_tokens_decoder": {"1200": {"content": IMAGE_SOFT, "special": True}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.image_soft == 1200
    assert 1200 in tokenizer.special_ids
    assert tokenizer.fingerprint() == plain.fingerprint()


def test_a_soft_token_among_the_pieces_makes_another_vocabulary(small_folder: Path, tmp_path: Path):
    """Without it every later piece has another id."""
    model = sentencepiece_file.parse((small_folder / "tokenizer.model").read_bytes())
    kept = [piece for piece in model.pieces if piece.text != IMAGE_SOFT]
    assert len(kept) == len(model.pieces) - 1
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_file.serialize(replace(model, pieces=kept)))
    assert Tokenizer.load(tmp_path).fingerprint() != Tokenizer.load(small_folder).fingerprint()


def test_an_older_placing_of_added_tokens_is_read_too(small_folder: Path, tmp_path: Path):
    copy(small_folder, tmp_path, "tokenizer.model")
    (tmp_path / "added_tokens.json").write_text(json.dumps({IMAGE_SOFT: 1200}))
    assert Tokenizer.load(tmp_path).image_soft == 1200


def test_a_tab_that_a_converter_put_in_its_bytes_place_counts_as_that_byte(small_folder: Path, tmp_path: Path):
    def convert(tree: dict[str, Any]) -> None:
        vocab = tree["model"]["vocab"]
        tab, byte = vocab.pop("\t"), vocab.pop("<0x09>")
        vocab |= {"\t": byte, "<filler>": tab}
        tree["added_tokens"] = [entry for entry in tree["added_tokens"] if entry["content"] != "\t"]

    edit(copy(small_folder, tmp_path, "tokenizer.json"), convert)
    tokenizer = Tokenizer.load(tmp_path)
    byte = tokenizer.id_of("<0x09>")
    assert byte is not None
    assert tokenizer.encode("\t") == [byte]
    assert tokenizer.bytes_of(byte) == b"\t"


def without(name: str) -> Callable[[dict[str, Any]], None]:
    def change(tree: dict[str, Any]) -> None:
        tree["model"]["vocab"]["<other>"] = tree["model"]["vocab"].pop(name)
        tree["added_tokens"] = [entry for entry in tree["added_tokens"] if entry["content"] != name]

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without("<bos>"), "no <bos>"),
        (without("<eos>"), "no <eos>"),
        (lambda tree: tree.pop("model"), "missing, not BPE"),
        (lambda tree: tree["model"].update(type="Unigram"), "Unigram, not BPE"),
        (lambda tree: tree["model"].update(byte_fallback=False), "without byte fallback"),
        (lambda tree: tree["model"].update(vocab=[1]), "does not map"),
        (lambda tree: tree["model"]["vocab"].update({"in": "one"}), "does not map"),
        (lambda tree: tree["model"]["vocab"].update({"far": 2**62}), "hole"),
        (lambda tree: tree["model"]["vocab"].update({"below": -4}), "hole"),
        (lambda tree: tree["model"].update(merges=[["never", "seen"]]), "refuses"),
        (lambda tree: tree.update(added_tokens="x"), "added_tokens"),
        (lambda tree: tree.update(added_tokens=[{"id": 5}]), "without id and content"),
        (lambda tree: tree.update(normalizer={"type": "Sideways"}), "refuses"),
    ],
)
def test_a_foreign_json_is_refused_by_name(
    small_folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], complaint: str
):
    edit(copy(small_folder, tmp_path, "tokenizer.json"), change)
    with pytest.raises(UserError, match=complaint) as caught:
        Tokenizer.load(tmp_path)
    assert "tokenizer.json" in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
@pytest.mark.parametrize("keep", [0, 1, 50, 5000])
def test_a_truncated_file_is_refused_by_name(small_folder: Path, tmp_path: Path, name: str, keep: int):
    (tmp_path / name).write_bytes((small_folder / name).read_bytes()[:keep])
    with pytest.raises(UserError, match=name):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize("data", [b"\x00" * 64, b"\xff" * 64, b"\x7fELF rubbish", b"[1, 2]", b"[" * 100_000])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_foreign_bytes_are_refused_by_name(tmp_path: Path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=name):
        Tokenizer.load(tmp_path)


def test_other_kinds_of_sentencepiece_models_are_refused(tmp_path: Path):
    import io

    import sentencepiece

    out = io.BytesIO()
    words = ["some words to train a small model on"] * 3
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(words), model_writer=out, vocab_size=30, hard_vocab_limit=False, minloglevel=2
    )
    (tmp_path / "tokenizer.model").write_bytes(out.getvalue())
    with pytest.raises(UserError, match="not BPE"):
        Tokenizer.load(tmp_path)


def test_missing_places_are_named(tmp_path: Path):
    with pytest.raises(UserError, match="holds no tokenizer"):
        Tokenizer.load(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        Tokenizer.load(tmp_path / "nowhere")
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(UserError, match=r"neither a \.json nor a \.model"):
        Tokenizer.load(tmp_path / "weights.bin")


def test_marks_of_the_published_vocabularies_have_their_ids(golden_loaded: dict[int, list[Tokenizer]]):
    for vocabulary in (GEMMA_2, GEMMA_3):
        for tokenizer in golden_loaded[vocabulary.newline]:
            assert tokenizer.start_of_turn == vocabulary.ids["<start_of_turn>"]
            assert tokenizer.end_of_turn == vocabulary.ids["<end_of_turn>"]
            assert tokenizer.encode("\n") == [vocabulary.newline]
            assert (tokenizer.pad, tokenizer.eos, tokenizer.bos, tokenizer.unk) == (0, 1, 2, 3)


def test_reserved_names_are_characters_unless_asked(golden_loaded: dict[int, list[Tokenizer]]):
    for tokenizer in golden_loaded[107]:
        unused = tokenizer.id_of("<unused5>")
        assert tokenizer.encode("<unused5>", special=True) == [unused]
        assert unused not in tokenizer.encode("<unused5>")
        assert unused not in tokenizer.special_ids


def test_the_image_placeholder_after_the_pieces_leaves_the_fingerprint(golden_loaded: dict[int, list[Tokenizer]]):
    json_form, model_form = golden_loaded[107]
    assert json_form.image_soft == model_form.vocab_size
    assert model_form.image_soft is None
    assert json_form.fingerprint() == model_form.fingerprint()
