"""Adapters on a built model: what they compute, what they train, and how they come off again."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gemwright.errors import UserError
from gemwright.lora import Lora, LoraLinear, adapter_of, adopt, attach, detach, merge, unmerge
from gemwright.nn.decoder import Decoder
from gemwright.ops.span import span
from gemwright.quant.scheme import SCHEMES
from gemwright.quant.swap import swap
from gemwright.weights.save import save

IDS = torch.arange(20) * 7 % 300 + 3
TARGETS = {"recurrentgemma-2b": ("linear_x", "linear_y", "out")}

Fresh = Callable[[str], Decoder]


@pytest.fixture
def fresh(tiny: Fresh) -> Fresh:
    """The tiny model of a family, for the test alone."""
    return lambda name: copy.deepcopy(tiny(name))


def settings(**changes: object) -> Lora:
    return Lora(**{"rank": 4, "alpha": 8.0, "targets": ("all-linear",), "dropout": 0.0, "rslora": False} | changes)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def awake(model: Decoder, **changes: object) -> Decoder:
    """Adapters on every linear module, none of them 0."""
    attach(model, settings(**changes), generator())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("lora_b"):
                parameter.normal_(0.0, 0.1, generator=generator(2))
    return model


def logits(model: Decoder) -> Tensor:
    return model(IDS, span([12, 8]), use=lambda hidden, head: head.logits(hidden))


def loss(model: Decoder) -> Tensor:
    weight = torch.ones(len(IDS))
    return model(IDS, span([12, 8]), use=lambda hidden, head: head.cross_entropy(hidden, IDS.roll(-1), weight))


def bits(model: Decoder) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def adapted(model: Decoder) -> dict[str, LoraLinear]:
    return {path: module for path, module in model.named_modules() if isinstance(module, LoraLinear)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_fresh_adapter_changes_no_bit_of_the_logits(fresh: Fresh, family: str, dtype: torch.dtype) -> None:
    model = fresh(family).to(dtype)
    with torch.no_grad():  # a pass with gradients takes other routes
        before = logits(model)
        attached = attach(model, settings(), generator())
        assert attached.count == len(adapted(model)) > 0
        assert torch.equal(logits(model), before)


def test_targets_are_last_parts_of_paths(fresh: Fresh, family: str) -> None:
    model = fresh(family)
    targets = TARGETS.get(family, ("query", "mlp.down"))
    attached = attach(model, settings(targets=targets), generator())
    for path in attached.modules:
        assert any(path.endswith(f".{target}") for target in targets)
    assert all(any(path.endswith(f".{target}") for path in attached.modules) for target in targets)
    assert attached.parameters == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_a_target_may_be_one_module(fresh: Fresh, family: str) -> None:
    attached = attach(fresh(family), settings(targets=("layers.2.mlp.up",)), generator())
    assert attached.modules == ("layers.2.mlp.up",)


@pytest.mark.parametrize(("target", "near"), [("qeury", "query"), ("down_proj", "down"), ("mixer_norm", "linear")])
def test_a_target_that_is_no_module_is_refused_with_its_neighbour(fresh: Fresh, target: str, near: str) -> None:
    model = fresh("gemma-2b")
    with pytest.raises(UserError, match=target) as caught:
        attach(model, settings(targets=("value", target)), generator())
    assert near in str(caught.value) and not adapted(model)


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"alpha": 0.0}, {"alpha": float("nan")}, {"dropout": 1.0}])
def test_impossible_numbers_are_refused(fresh: Fresh, wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        attach(fresh("gemma-2b"), settings(**wrong), generator())


def test_no_target_and_a_second_adapter_are_refused(fresh: Fresh) -> None:
    model = fresh("gemma-2b")
    with pytest.raises(UserError, match="no targets"):
        attach(model, settings(targets=()), generator())
    attach(model, settings(), generator())
    with pytest.raises(ValueError, match="already"):
        attach(model, settings(), generator())
    merge(model)
    with pytest.raises(ValueError, match="already"):
        attach(model, settings(), generator())


def test_the_originals_keep_their_names_and_their_memory(fresh: Fresh, family: str) -> None:
    model = fresh(family)
    before = dict(model.named_parameters())
    attach(model, settings(), generator())
    after = dict(model.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert all(name.endswith((".lora_a", ".lora_b")) for name in after.keys() - before.keys())


def test_only_the_adapters_get_a_gradient(fresh: Fresh, family: str) -> None:
    model = awake(fresh(family))
    loss(model).backward()
    for name, parameter in model.named_parameters():
        is_adapter = name.endswith((".lora_a", ".lora_b"))
        assert parameter.requires_grad == is_adapter
        assert (parameter.grad is not None and bool(parameter.grad.any())) == is_adapter, name


@pytest.mark.parametrize("rslora", [False, True])
def test_gradients_are_those_of_the_sums_weight_in_float64(fresh: Fresh, family: str, rslora: bool) -> None:
    """dA = s Bᵀ dW and dB = s dW Aᵀ, with dW from a plain model that holds W + s·BA."""
    model = awake(fresh(family), rslora=rslora).double()
    loss(model).backward()
    scale = 8.0 / (2.0 if rslora else 4.0)
    plain = fresh(family).double()
    with torch.no_grad():
        for path, module in adapted(model).items():
            plain.get_submodule(path).weight.add_(scale * module.lora_b @ module.lora_a)
    loss(plain).backward()
    for path, module in adapted(model).items():
        dense = plain.get_submodule(path).weight.grad
        for mine, exact in ((module.lora_a, scale * module.lora_b.T @ dense),
                            (module.lora_b, scale * dense @ module.lora_a.T)):  # fmt: skip
            assert (mine.grad - exact).norm() <= 1e-5 * exact.norm(), path  # the model has islands of float32


def test_float32_gradients_are_those_of_float64(fresh: Fresh, family: str) -> None:
    model = awake(fresh(family))
    exact = copy.deepcopy(model).double()
    loss(model).backward()
    loss(exact).backward()
    for path, module in adapted(model).items():
        for half in ("lora_a", "lora_b"):
            expected = getattr(exact.get_submodule(path), half).grad
            assert (getattr(module, half).grad - expected).norm() <= 2e-4 * expected.norm(), path


def test_a_gradient_is_the_slope(fresh: Fresh, family: str) -> None:
    """Against finite differences, along a random direction of all adapters."""
    model = awake(fresh(family))
    loss(model).backward()
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    steps = [torch.randn(parameter.shape, generator=generator(3)) for parameter in wanted]
    slope = sum(float((parameter.grad * step).sum()) for parameter, step in zip(wanted, steps, strict=True))
    losses = []
    for sign in (1, -1):
        moved = copy.deepcopy(model).double()
        free = [parameter for parameter in moved.parameters() if parameter.requires_grad]
        with torch.no_grad():
            for parameter, step in zip(free, steps, strict=True):
                parameter.add_(step.double(), alpha=sign * 1e-4)
            losses.append(float(loss(moved)))
    assert (losses[0] - losses[1]) / 2e-4 == pytest.approx(slope, rel=1e-2, abs=1e-2)


def test_merged_computes_what_attached_does(fresh: Fresh, family: str) -> None:
    model = awake(fresh(family))
    attached = logits(model)
    plain = logits(fresh(family))
    merge(model)
    assert not adapted(model)
    merged = logits(model)
    assert (merged - attached).abs().max() <= 2e-5 * attached.std()
    assert (plain - attached).abs().max() > 0.05 * attached.std()


def test_a_merged_weight_is_the_float64_sum_rounded_once(fresh: Fresh) -> None:
    model = awake(fresh("gemma-3-1b").to(torch.bfloat16))
    pairs = adapter_of(model).modules
    before = bits(model)
    merge(model)
    for path, pair in pairs.items():
        exact = before[f"{path}.weight"].double() + pair.scale * pair.b.double() @ pair.a.double()
        merged = model.get_parameter(f"{path}.weight")
        assert merged.dtype == torch.bfloat16
        # Half a step of bfloat16, and a hair for the float32 sum that was rounded.
        assert ((merged.double() - exact).abs() <= exact.abs() * (2.0**-8 + 1e-5) + 1e-7).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_unmerging_gives_back_the_very_bits(fresh: Fresh, family: str, dtype: torch.dtype) -> None:
    model = awake(fresh(family).to(dtype))
    before, answers = bits(model), logits(model)
    merge(model)
    unmerge(model)
    after = bits(model)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(logits(model), answers)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        name for name in before if name.endswith(("lora_a", "lora_b"))
    ]


@pytest.mark.parametrize("merged", [False, True])
def test_detaching_gives_back_the_plain_model(fresh: Fresh, family: str, merged: bool) -> None:
    model = awake(fresh(family), dropout=0.1)
    if merged:
        merge(model)
    detach(model)
    plain = fresh(family)
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert bits(model).keys() == bits(plain).keys() and torch.equal(logits(model), logits(plain))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model._forward_pre_hooks


def test_a_merge_that_keeps_nothing_leaves_a_plain_model(fresh: Fresh, family: str) -> None:
    kept, bare = (awake(fresh(family)) for _ in range(2))
    merge(kept)
    merge(bare, keep=False)
    assert all(torch.equal(kept.get_parameter(name), parameter) for name, parameter in bare.named_parameters())
    assert [type(module) for module in bare.modules()] == [type(module) for module in fresh(family).modules()]
    with pytest.raises(ValueError, match="no adapters"):
        unmerge(bare)


def test_merging_twice_and_unmerging_what_is_not_merged_are_refused(fresh: Fresh) -> None:
    model = awake(fresh("gemma-2b"))
    with pytest.raises(ValueError, match="not merged"):
        unmerge(model)
    merge(model)
    with pytest.raises(ValueError, match="already"):
        merge(model)
    detach(model)
    for act in (merge, unmerge, detach, adapter_of):
        with pytest.raises(ValueError, match="no adapters"):
            act(model)


def test_a_merged_model_is_exported_and_an_attached_one_is_not(fresh: Fresh, tmp_path) -> None:
    model = awake(fresh("gemma-3-1b"))
    with pytest.raises((KeyError, ValueError)):
        save(model, tmp_path / "attached")
    merge(model)
    save(model, tmp_path / "merged")
    assert (tmp_path / "merged" / "model.safetensors").exists() and not (tmp_path / "attached").exists()


@pytest.mark.parametrize("family", ["gemma-2b", "gemma-2-2b", "gemma-3-1b"])  # their rows are whole groups
def test_packing_an_attached_model_forgets_no_adapter(fresh: Fresh, family: str) -> None:
    model, merged = awake(fresh(family)), awake(fresh(family))
    merge(merged)
    with torch.no_grad():
        expected, plain = logits(model), logits(fresh(family))
        for one in (model, merged):
            swap(one, SCHEMES["q8_0"])
            assert (logits(one) - expected).abs().mean() < 0.2 * (plain - expected).abs().mean()
    assert len(adapted(model)) == len(adapted(awake(fresh(family)))) and not adapted(merged)


def test_a_copy_is_whole_and_apart(fresh: Fresh) -> None:
    model, _ = trained(fresh)
    twin = copy.deepcopy(model)
    assert torch.equal(logits(model), logits(twin)), "it draws from a copy of the generator"
    detach(twin)
    assert adapted(model) and model._forward_pre_hooks


def test_an_adapter_moves_to_another_model(fresh: Fresh, family: str) -> None:
    model, other = awake(fresh(family)), fresh(family)
    attached = adopt(other, adapter_of(model), generator())
    assert attached.modules == tuple(adapted(model)) and torch.equal(logits(other), logits(model))
    with torch.no_grad():
        next(iter(adapted(other).values())).lora_b.zero_()
    assert not torch.equal(logits(other), logits(model)), "its tensors are its own"


@pytest.mark.parametrize("path", ["layers.1.mlp.down", "layers.9.mlp.up"])
def test_an_adapter_for_another_shape_or_module_is_refused(fresh: Fresh, path: str) -> None:
    adapter = adapter_of(awake(fresh("gemma-2b")))
    pair = adapter.modules["layers.1.mlp.up"]
    with pytest.raises(ValueError, match=path):
        adopt(fresh("gemma-2b"), replace(adapter, modules={path: pair}), generator())


def test_a_bfloat16_model_learns_through_a_float32_adapter(fresh: Fresh) -> None:
    model = fresh("gemma-3-1b").to(torch.bfloat16)
    attach(model, settings(), generator())
    free = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in free} == {torch.float32}
    optimizer = torch.optim.AdamW(free, lr=1e-2)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        total = loss(model)
        total.backward()
        losses.append(total.item())
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_an_adapter_learns_under_autocast(fresh: Fresh) -> None:
    model = awake(fresh("gemma-3-1b"))
    expected = logits(model)
    with torch.autocast("cpu", torch.bfloat16):
        computed = logits(model)
        loss(model).backward()
    assert 0 < (computed - expected).abs().max() < 0.5 * expected.std()
    assert all(module.lora_a.grad.dtype == torch.float32 for module in adapted(model).values())


def test_the_digest_tells_adapters_apart(fresh: Fresh) -> None:
    model = awake(fresh("gemma-2b"))
    attached = model.digest()
    merge(model)
    assert len({attached, model.digest(), fresh("gemma-2b").digest()}) == 3


# ------------------------------------------------------------------------------------------------------------ dropout


def trained(fresh: Fresh, seed: int = 5) -> tuple[Decoder, torch.Generator]:
    model, chance = fresh("gemma-3-1b"), generator(seed)
    adopt(model, replace(adapter_of(awake(fresh("gemma-3-1b"))), dropout=0.3), chance)
    return model.train(), chance


def test_dropout_acts_in_training_only_and_draws_from_the_given_generator(fresh: Fresh) -> None:
    model, chance = trained(fresh)
    state = chance.get_state()
    first, second = logits(model), logits(model)
    assert not torch.equal(first, second)
    chance.set_state(state)
    torch.rand(3)  # the global generator has no say
    assert torch.equal(logits(model), first) and torch.equal(logits(model), second)
    state = chance.get_state()
    model.eval()
    assert torch.equal(logits(model), logits(awake(fresh("gemma-3-1b"))))
    assert torch.equal(chance.get_state(), state), "an evaluation draws nothing"


def test_dropout_keeps_the_mean_of_its_inputs(fresh: Fresh) -> None:
    model, _ = trained(fresh)
    module = adapted(model)["layers.0.mlp.up"]
    x = torch.ones(4000, 64)
    dropped = module._noise.drop(x, 0)
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert not torch.equal(dropped, module._noise.drop(x, 1)), "each module has its own mask"


def test_a_recomputed_block_meets_the_mask_that_it_had(fresh: Fresh) -> None:
    gradients = []
    for recomputed in (False, True):
        model, _ = trained(fresh)
        if recomputed:
            for block in model.layers:
                plain = block.forward
                block.forward = lambda *inputs, plain=plain: checkpoint(plain, *inputs, use_reentrant=False)
        loss(model).backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
