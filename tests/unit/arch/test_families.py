"""What each family's layers are, layer by layer, against the published tables."""

from __future__ import annotations

import pytest

from gemwright.arch.presets import preset
from gemwright.arch.spec import Attention, Recurrent, Rope
from gemwright.ops.rope import inverse_frequencies

GLOBAL_LAYERS = {
    "gemma-3-270m": (18, [5, 11, 17]),
    "gemma-3-1b": (26, [5, 11, 17, 23]),
    "gemma-3-4b": (34, [5, 11, 17, 23, 29]),
    "gemma-3-12b": (48, [5, 11, 17, 23, 29, 35, 41, 47]),
    "gemma-3-27b": (62, [5, 11, 17, 23, 29, 35, 41, 47, 53, 59]),
}


def mixers(name: str) -> list[Attention | Recurrent]:
    return [layer.mixer for layer in preset(name).layers]


def attentions(name: str) -> list[Attention]:
    return [mixer for mixer in mixers(name) if isinstance(mixer, Attention)]


@pytest.mark.parametrize("name", GLOBAL_LAYERS)
def test_every_sixth_layer_of_gemma_3_is_global_and_trailing_ones_are_local(name: str) -> None:
    depth, indices = GLOBAL_LAYERS[name]
    kinds = preset(name).kinds
    assert len(kinds) == depth
    assert [index for index, kind in enumerate(kinds) if kind == "global"] == indices
    assert set(kinds) == {"local", "global"}


@pytest.mark.parametrize(("name", "depth"), [("gemma-2-2b", 26), ("gemma-2-9b", 42), ("gemma-2-27b", 46)])
def test_gemma_2_alternates_and_begins_locally(name: str, depth: int) -> None:
    assert preset(name).kinds == ("local", "global") * (depth // 2)


@pytest.mark.parametrize(("name", "depth"), [("gemma-2b", 18), ("gemma-7b", 28)])
def test_gemma_1_is_global_throughout(name: str, depth: int) -> None:
    assert preset(name).kinds == ("global",) * depth


@pytest.mark.parametrize(
    ("name", "window"),
    [("gemma-3-270m", 512), ("gemma-3-1b", 512), ("gemma-3-4b", 1024), ("gemma-3-27b", 1024), ("gemma-2-9b", 4096)],
)
def test_local_windows(name: str, window: int) -> None:
    assert {mixer.window for mixer in attentions(name)} == {None, window}


@pytest.mark.parametrize(("name", "scalar"), [("gemma-2-27b", 144), ("gemma-3-27b", 168), ("gemma-3-4b", 256)])
def test_the_27b_models_scale_by_width_over_heads(name: str, scalar: int) -> None:
    assert {mixer.query_scalar for mixer in attentions(name)} == {scalar}


def test_only_gemma_2_caps_its_scores_and_only_gemma_3_norms_its_queries() -> None:
    caps = {name: {mixer.cap for mixer in attentions(name)} for name in ("gemma-2b", "gemma-2-2b", "gemma-3-1b")}
    assert caps == {"gemma-2b": {None}, "gemma-2-2b": {50.0}, "gemma-3-1b": {None}}
    norms = {name: {mixer.qk_norm for mixer in attentions(name)} for name in caps}
    assert norms == {"gemma-2b": {False}, "gemma-2-2b": {False}, "gemma-3-1b": {True}}
    finals = {name: preset(name).final_cap for name in (*caps, "recurrentgemma-2b")}
    assert finals == {"gemma-2b": None, "gemma-2-2b": 30.0, "gemma-3-1b": None, "recurrentgemma-2b": 30.0}


@pytest.mark.parametrize(
    ("name", "factor"), [("gemma-3-270m", 1.0), ("gemma-3-1b", 1.0), ("gemma-3-4b", 8.0), ("gemma-3-27b", 8.0)]
)
def test_only_global_layers_from_4b_up_stretch_positions(name: str, factor: float) -> None:
    ropes = {(mixer.window is None, mixer.rope.base, mixer.rope.factor) for mixer in attentions(name)}
    assert ropes == {(True, 1_000_000.0, factor), (False, 10_000.0, 1.0)}


@pytest.mark.parametrize(
    ("base", "channels", "second", "last"),
    [
        (1e4, 256, 0.930572, 1.07461e-4),
        (1e6, 256, 0.897687, 1.11397e-6),
        (1e4, 128, 0.865964, 1.15478e-4),
        (1e6, 128, 0.805842, 1.24094e-6),
    ],
)
def test_rope_frequencies(base: float, channels: int, second: float, last: float) -> None:
    for factor in (1.0, 8.0):
        table = inverse_frequencies(Rope(base=base, factor=factor, channels=channels)).double()
        assert len(table) == channels // 2
        assert table[0] == pytest.approx(1 / factor)
        assert table[1] * factor == pytest.approx(second, abs=1e-6)
        assert table[-1] * factor == pytest.approx(last, rel=1e-5)


@pytest.mark.parametrize("name", ["gemma-3-4b", "gemma-3-12b", "gemma-3-27b"])
def test_models_that_see_have_siglip(name: str) -> None:
    vision = preset(name).vision
    assert vision is not None and vision.tokens == 256
    assert (vision.tower.image // vision.tower.patch) ** 2 == 4096


@pytest.mark.parametrize("name", ["gemma-3-270m", "gemma-3-1b", "gemma-2-9b", "recurrentgemma-9b"])
def test_the_others_are_blind(name: str) -> None:
    assert preset(name).vision is None
