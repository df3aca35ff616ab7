"""The vision tower: shapes, what sees what, and what its pieces compute."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gemwright.arch.gemma3 import SIGLIP
from gemwright.arch.presets import preset
from gemwright.arch.spec import Tower as Encoder
from gemwright.arch.spec import Vision
from gemwright.nn import gemma, siglip
from gemwright.nn.gemma import Projector, Tower, pool, splice
from gemwright.nn.siglip import LayerNorm, Patches, Siglip
from gemwright.planner.count import vision_parameters

SPEC = Vision(
    tower=Encoder(image=24, patch=4, width=12, hidden=20, heads=3, depth=2, norm_epsilon=1e-6),
    tokens=9,
)
WIDTH = 10


def awake(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data.normal_(0.0, 0.4, generator=generator)


@pytest.fixture
def tower() -> Tower:
    made = Tower(SPEC, WIDTH).eval().requires_grad_(False)
    awake(made)
    return made


def pictures(count: int) -> Tensor:
    return torch.rand(count, 3, SPEC.tower.image, SPEC.tower.image) * 2 - 1


def close(ours: Tensor, theirs: Tensor) -> bool:
    return bool((ours - theirs).abs().max() <= 2e-5 * theirs.std())


@pytest.mark.parametrize("name, tower, whole", [("gemma-3-4b", 416_866_032, 419_816_304)])
def test_parameters_are_counted_right(name: str, tower: int, whole: int) -> None:
    """The report's 417M. On the meta device nothing is allocated, and nothing is computed."""
    spec = preset(name)
    assert spec.vision is not None
    with torch.device("meta"):
        made = Tower(spec.vision, spec.width)
    count = {id(part): sum(parameter.numel() for parameter in part.parameters()) for part in (made, made.encoder)}
    assert count[id(made.encoder)] == tower
    assert count[id(made)] == whole == vision_parameters(spec.vision, spec.width)
    assert not list(made.buffers())


@pytest.mark.parametrize("image", [24, 27])
def test_patches_are_a_convolution(image: int) -> None:
    """Pixels beyond the last whole patch count for neither."""
    patches = Patches(4, 12)
    awake(patches)
    pixels = torch.randn(2, 3, image, image)
    theirs = F.conv2d(pixels, patches.weight, patches.bias, stride=4).flatten(2).mT
    assert close(patches(pixels), theirs)


def test_pooling_is_the_mean_of_squares() -> None:
    patches = torch.randn(2, 144, 5)
    theirs = F.avg_pool2d(patches.mT.unflatten(2, (12, 12)), 4).flatten(2).mT
    assert torch.allclose(pool(patches, 3), theirs, atol=1e-6)


def test_layer_norm_is_taken_and_given_in_float32() -> None:
    norm = LayerNorm(16, 1e-6)
    awake(norm)
    x = torch.randn(5, 16)
    low = norm.bfloat16()
    assert low.weight.dtype == torch.bfloat16
    theirs = F.layer_norm(x, (16,), low.weight.float(), low.bias.float(), 1e-6)
    assert low(x).dtype == torch.float32 and torch.equal(low(x), theirs)


def test_soft_tokens_have_the_decoder_s_width(tower: Tower) -> None:
    pixels = pictures(2)
    assert tower.encoder(pixels).shape == (2, 36, 12)
    assert tower.encode(pixels).shape == (2, 9, WIDTH)


def test_a_picture_alone_gives_what_it_gives_among_others(tower: Tower) -> None:
    pixels = pictures(4)
    together = tower.encode(pixels)
    alone = torch.cat([tower.encode(one[None]) for one in pixels])
    assert close(together, alone)


def test_many_pictures_go_a_few_at_a_time(tower: Tower, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pictures(5)
    whole, seen = tower.encode(pixels), []
    monkeypatch.setattr(gemma, "PATCHES", 80)  # two pictures of 36
    tower.encoder.register_forward_pre_hook(lambda module, arguments: seen.append(len(arguments[0])))
    assert close(tower.encode(pixels), whole) and seen == [2, 2, 1]


def test_mlps_take_some_rows_at_a_time_where_no_gradient_is_wanted(
    tower: Tower, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, seen = pictures(2), []
    whole = tower.encode(pixels)
    monkeypatch.setattr(siglip, "ROWS", 30)  # of 72
    mlp = tower.encoder.get_submodule("layers.0.mlp")
    mlp.register_forward_pre_hook(lambda module, arguments: seen.append(len(arguments[0])))
    with torch.no_grad():
        assert close(tower.encode(pixels), whole) and seen == [30, 30, 12]


@pytest.mark.parametrize("blocks", [1, 2, 3, 7])
def test_some_blocks_at_a_time_give_what_all_at_once_give(blocks: int) -> None:
    deep = Siglip(replace(SPEC.tower, depth=7)).requires_grad_(False)
    awake(deep)
    pixels, left = pictures(2), []
    encoding = deep.begin(pixels)
    while encoding.left:
        left.append(encoding.left)
        encoding.advance(blocks)
    assert left == list(range(7, 0, -blocks))
    assert torch.equal(encoding.patches(), deep(pixels))


def test_a_block_that_fails_leaves_an_encoding_as_it_was(tower: Tower, monkeypatch: pytest.MonkeyPatch) -> None:
    """The MLP writes its rows in place; it fails at the second ones."""
    monkeypatch.setattr(siglip, "ROWS", 30)  # of 72
    pixels = pictures(2)
    with torch.no_grad():
        whole, encoding = tower.encoder(pixels), tower.encoder.begin(pixels)
    mlp, calls = tower.encoder.get_submodule("layers.1.mlp"), []

    def stop(*_: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    hook = mlp.register_forward_pre_hook(stop)
    with torch.no_grad(), pytest.raises(KeyboardInterrupt):
        encoding.advance(2)
    hook.remove()
    assert encoding.left == 1
    with torch.no_grad():
        encoding.advance()
    assert torch.equal(encoding.patches(), whole)


def test_an_encoding_that_is_not_done_has_no_patches(tower: Tower) -> None:
    encoding = tower.encoder.begin(pictures(1))
    encoding.advance()
    with pytest.raises(ValueError, match="1 blocks of this encoding"):
        encoding.patches()


def test_one_picture_goes_however_large_it_is(tower: Tower, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pictures(2)
    monkeypatch.setattr(gemma, "PATCHES", 1)
    assert tower.encode(pixels).shape == (2, 9, WIDTH)


def test_no_picture_gives_no_soft_token(tower: Tower) -> None:
    assert tower.encode(pictures(0)).shape == (0, 9, WIDTH)


def test_every_patch_reaches_every_soft_token(tower: Tower) -> None:
    pixels = pictures(1)
    other = pixels.clone()
    other[..., -1, -1] += 1.0  # in the last patch
    assert ((tower.encode(pixels) - tower.encode(other)).abs().amax(-1) > 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_soft_tokens_have_the_tower_s_dtype(tower: Tower, dtype: torch.dtype) -> None:
    tower = tower.to(dtype)
    assert tower.dtype == tower.encode(pictures(1)).dtype == dtype


def test_float32_is_close_to_float64(tower: Tower) -> None:
    pixels = pictures(2)
    single = tower.encode(pixels)
    assert close(single.double(), tower.double().encode(pixels.double()))


def test_gradients_reach_every_parameter_that_can_have_one(tower: Tower) -> None:
    tower.double().requires_grad_(True)
    tower.encode(pictures(2).double()).square().sum().backward()
    still = [name for name, p in tower.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-9]
    # Softmax does not see what is added to all scores of a query.
    assert still == [f"encoder.layers.{layer}.mixer.key.bias" for layer in range(2)]


def test_one_encoder_serves_two_decoders(tower: Tower) -> None:
    wider = Tower(SPEC, 14, encoder=tower.encoder)
    awake(wider.projector)
    pixels = pictures(1)
    assert wider.encoder is tower.encoder and wider.encode(pixels).shape == (1, 9, 14)
    assert torch.equal(wider.encode(pixels), wider.projector(tower.encoder(pixels)))


def test_an_encoder_of_another_shape_is_not_shared(tower: Tower) -> None:
    other = replace(SPEC, tower=replace(SPEC.tower, depth=3))
    with pytest.raises(ValueError, match="depth=2"):
        Tower(other, WIDTH, encoder=tower.encoder)


@pytest.mark.parametrize("height, width", [(20, 24), (24, 28), (28, 28)])
def test_pictures_of_another_size_are_refused(tower: Tower, height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"24 × 24 pixels, not {height} × {width}"):
        tower.encode(torch.zeros(1, 3, height, width))


def test_float16_is_refused(tower: Tower) -> None:
    with pytest.raises(ValueError, match="float16"):
        tower.half().encode(pictures(1))


def test_the_projection_s_orientation_is_the_file_s() -> None:
    with torch.device("meta"):
        assert Projector(SIGLIP, 2560).weight.shape == (1152, 2560)


# ---------------------------------------------------------------------------------------------------------------------
# Into the decoder's tokens


def table(ids: Tensor) -> Tensor:
    return F.embedding(ids, torch.arange(60.0).view(12, 5))


def test_soft_tokens_stand_at_their_rows_and_embeddings_elsewhere() -> None:
    ids, soft = torch.tensor([3, 99, 99, 4, 99]), torch.randn(3, 5)
    x = splice(table, ids, soft, torch.tensor([1, 2, 4]))
    assert torch.equal(x[[0, 3]], table(torch.tensor([3, 4]))) and torch.equal(x[[1, 2, 4]], soft)


def test_soft_tokens_are_cast_to_the_embeddings_dtype() -> None:
    x = splice(table, torch.tensor([1, 2]), torch.ones(1, 5).bfloat16(), torch.tensor([1]))
    assert x.dtype == torch.float32


def test_a_text_without_pictures_is_left_as_it_is() -> None:
    ids = torch.tensor([3, 4])
    x = splice(table, ids, torch.empty(0, 5), torch.empty(0, dtype=torch.int64))
    assert torch.equal(x, table(ids))


def test_gradients_flow_into_soft_tokens() -> None:
    soft = torch.randn(1, 5, requires_grad=True)
    splice(table, torch.tensor([1, 2]), soft, torch.tensor([1])).sum().backward()
    assert soft.grad is not None and torch.equal(soft.grad, torch.ones(1, 5))


@pytest.mark.parametrize("tokens", [1, 3])
def test_more_or_fewer_soft_tokens_than_places_are_refused(tokens: int) -> None:
    with pytest.raises(ValueError, match=f"{tokens} soft tokens do not fit 2 places"):
        splice(table, torch.tensor([1, 2, 3]), torch.zeros(tokens, 5), torch.tensor([0, 2]))


def test_an_encoder_is_built_without_its_values() -> None:
    with torch.device("meta"):
        made = Siglip(SIGLIP.tower)
    assert all(parameter.is_meta for parameter in made.parameters()) and made.device.type == "meta"
