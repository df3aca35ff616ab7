"""Fresh weights have the statistics that their sources state."""

import math

import pytest
import torch
from torch import nn

from gemwright.arch.presets import preset
from gemwright.nn.decoder import Decoder
from gemwright.nn.init import initialise
from gemwright.ops.span import span


def _fresh(name: str, seed: int = 0, **sizes: int) -> Decoder:
    model = Decoder(preset(name, **sizes))
    initialise(model, torch.Generator().manual_seed(seed))
    return model


@pytest.fixture(scope="module")
def griffin() -> Decoder:
    return _fresh(
        "recurrentgemma-2b",
        width=256,
        depth=6,
        recurrent_width=320,
        gate_blocks=4,
        heads=4,
        head_dim=64,
        hidden=512,
        vocab=900,
    )


def _parameters(model: Decoder) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters())


@pytest.mark.parametrize(
    "name, deviation",
    [
        ("embed.weight", 256**-0.5),
        ("layers.0.mixer.linear_x.weight", 256**-0.5),
        ("layers.0.mixer.linear_y.weight", 256**-0.5),
        ("layers.0.mixer.linear_out.weight", math.sqrt(2 / 6 / 320)),
        ("layers.0.mixer.conv.weight", math.sqrt(0.01 / 4)),
        ("layers.0.mixer.rg_lru.a_gate.weight", 80**-0.5),
        ("layers.0.mixer.rg_lru.input_gate.weight", 80**-0.5),
        ("layers.2.mixer.query.weight", 256**-0.5),
        ("layers.2.mixer.key.weight", 256**-0.5),
        ("layers.2.mixer.out.weight", math.sqrt(2 / 6 / 256)),
        ("layers.0.mlp.gate.weight", 256**-0.5),
        ("layers.0.mlp.down.weight", math.sqrt(2 / 6 / 512)),
    ],
)
def test_griffins_deviations(griffin: Decoder, name: str, deviation: float) -> None:
    weight = _parameters(griffin)[name]
    assert weight.std().item() == pytest.approx(deviation, rel=4 / weight.numel() ** 0.5)
    assert abs(weight.mean().item()) < 5 * deviation / weight.numel() ** 0.5


def test_griffins_decays_lie_between_nine_tenths_and_nearly_one(griffin: Decoder) -> None:
    p = torch.cat([value for name, value in _parameters(griffin).items() if name.endswith("a_param")])
    decay = torch.exp(-nn.functional.softplus(p.double()))
    assert decay.min() >= 0.9 - 1e-6 and decay.max() <= 0.999 + 1e-6
    # Its square is uniform: the middle of the range is its mean.
    assert decay.square().mean().item() == pytest.approx((0.9**2 + 0.999**2) / 2, abs=0.006)


@pytest.mark.parametrize("ending", ["bias", "norm.weight"])
def test_biases_and_norms_start_at_zero(griffin: Decoder, ending: str) -> None:
    found = [value for name, value in _parameters(griffin).items() if name.endswith(ending)]
    assert found and not any(value.any() for value in found)


def test_gemmas_matrices() -> None:
    model = _fresh("gemma-3-1b", width=128, depth=6, heads=2, head_dim=64, hidden=256, vocab=800)
    for name, weight in _parameters(model).items():
        if "post_norm" in name:
            torch.testing.assert_close(1 + weight, torch.full_like(weight, 12**-0.5), msg=name)
        elif weight.ndim == 1:
            assert not weight.any(), name
        else:
            deviation = 128**-0.5 if name == "embed.weight" else 0.02
            assert weight.std().item() == pytest.approx(deviation, rel=5 / weight.numel() ** 0.5), name


def test_without_post_norms_gemmas_table_is_drawn_as_the_matrices_are() -> None:
    embed = _parameters(_fresh("gemma-2b", width=64, depth=2, heads=2, head_dim=32, hidden=64, vocab=400))[
        "embed.weight"
    ]
    assert embed.std().item() == pytest.approx(0.02, rel=5 / embed.numel() ** 0.5)


def test_all_fresh_sublayers_together_are_as_loud_as_a_token() -> None:
    model = _fresh("gemma-3-1b", width=128, depth=6, heads=2, head_dim=64, hidden=256, vocab=800)
    streams: list[torch.Tensor] = []
    for layer in model.layers:
        layer.register_forward_pre_hook(lambda _, given: streams.append(given[0]))
        layer.register_forward_hook(lambda _, __, out: streams.append(out))
    with torch.no_grad():
        model(torch.randint(0, 800, (200,), generator=torch.Generator().manual_seed(1)), span([200]))
    first, last = streams[0], streams[-1]
    assert first.square().mean().item() == pytest.approx(1.0, rel=0.05)
    assert (last - first).square().mean().item() == pytest.approx(1.0, rel=0.6)


def test_a_seed_decides_every_weight() -> None:
    sizes = {"width": 32, "depth": 3, "heads": 2, "head_dim": 16, "hidden": 48, "vocab": 60}
    first, again, other = (_fresh("gemma-3-1b", seed, **sizes).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed.weight"], other["embed.weight"])
