"""RecurrentGemma's and Griffin's layers against the published tables."""

from __future__ import annotations

import pytest

from gemwright.arch.presets import preset, sizes
from gemwright.arch.recurrentgemma import recurrentgemma
from gemwright.arch.spec import Attention, Model, Recurrent
from gemwright.errors import UserError


def attentions(spec: Model) -> list[Attention]:
    return [layer.mixer for layer in spec.layers if isinstance(layer.mixer, Attention)]


@pytest.mark.parametrize(("name", "depth", "attention"), [("recurrentgemma-2b", 26, 8), ("recurrentgemma-9b", 38, 12)])
def test_every_third_layer_attends_and_the_last_two_recur(name: str, depth: int, attention: int) -> None:
    kinds = preset(name).kinds
    assert [index for index, kind in enumerate(kinds) if kind == "local"] == list(range(2, depth, 3))
    assert kinds.count("local") == attention and kinds[-2:] == ("recurrent", "recurrent")


def test_the_window_counts_the_token_itself_unless_told_otherwise() -> None:
    windows = {
        edge: {mixer.window for mixer in attentions(preset("recurrentgemma-2b", window_edge=edge))}
        for edge in ("inside", "beyond")
    }
    assert windows == {"inside": {2048}, "beyond": {2049}}
    assert preset("recurrentgemma-2b") == preset("recurrentgemma-2b", window_edge="inside")


def test_a_window_edge_by_another_name_is_refused() -> None:
    with pytest.raises(UserError, match="window_edge is 'outside'"):
        preset("recurrentgemma-2b", window_edge="outside")
    row = sizes("recurrentgemma-2b") | {"window_edge": "Inside"}
    with pytest.raises(ValueError, match="'Inside'"):
        recurrentgemma(name="mine", **row)


def test_half_of_each_head_is_turned() -> None:
    assert {(mixer.rope.channels, mixer.head_dim) for mixer in attentions(preset("recurrentgemma-2b"))} == {(128, 256)}


@pytest.mark.parametrize(
    ("name", "width", "blocks"), [("recurrentgemma-2b", 2560, 10), ("recurrentgemma-9b", 4096, 16)]
)
def test_gates_are_in_blocks_of_256(name: str, width: int, blocks: int) -> None:
    mixers = {layer.mixer for layer in preset(name).layers if isinstance(layer.mixer, Recurrent)}
    assert mixers == {Recurrent(width=width, blocks=blocks, conv=4)} and width // blocks == 256


def test_embeddings_are_scaled_by_a_constant_that_bfloat16_holds_whatever_is_computed_in() -> None:
    assert preset("recurrentgemma-2b").embed_rounding == "bfloat16"
    assert preset("gemma-3-1b").embed_rounding == "activation"


def test_griffins_of_the_paper_neither_scale_nor_cap_and_see_1024_tokens() -> None:
    spec = preset("griffin-7b")
    assert spec.embed_scale == 1.0 and spec.final_cap is None and len(spec.layers) == 32
    assert {mixer.window for mixer in attentions(spec)} == {1024}


def test_no_length_is_too_long() -> None:
    assert preset("recurrentgemma-9b").context is None
