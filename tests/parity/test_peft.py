"""Adapters in PEFT's files, both ways, against PEFT on transformers' models: float32, awake checkpoints."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import awake
import passes
import pytest
import torch
from pairs import TOLERANCE, Pairs, difference
from torch import Tensor

from gemwright.arch.spec import Attention
from gemwright.errors import UserError
from gemwright.loading import attach_lora, hold_adapter, load_lora, load_model, save_lora
from gemwright.lora import Lora, adapter_of
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import Decoder
from gemwright.ops.span import span

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what PEFT says about other libraries while it is imported
    peft = pytest.importorskip("peft")

CASES = ("gemma1", "gemma2", "gemma3", "gemma3-multimodal", "recurrentgemma")
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
RECURRENCE = ["linear_x", "linear_y", "linear_out"]
MLP = ["gate_proj", "up_proj", "down_proj"]


def all_targets(case: str) -> list[str]:
    return ATTENTION + MLP + (RECURRENCE if case == "recurrentgemma" else [])


def moved(model: torch.nn.Module, size: float) -> None:
    """Draw every B (PEFT's and ours), so that the adapter says something."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            if "lora_B" in name or "lora_b" in name:
                parameter.normal_(0.0, size, generator=generator)


@pytest.fixture(autouse=True)
def quiet() -> Any:
    """PEFT's remarks are not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def made_by_peft(case: str, folder: Path, **config: object) -> tuple[Path, Tensor, Tensor]:
    """A folder that PEFT saved, a text, and the logits of PEFT's model for it."""
    settings = {"r": 4, "lora_alpha": 6, "target_modules": all_targets(case), "task_type": "CAUSAL_LM"} | config
    model = peft.get_peft_model(awake.build(case), peft.LoraConfig(**settings)).eval()
    moved(model, 0.05)
    model.save_pretrained(folder)
    ids = awake.text(0)
    return folder, ids, awake.oracle(model, ids)


def run(model: Decoder, ids: Tensor) -> Tensor:
    return passes.packed(model, [ids])[0]


@pytest.mark.parametrize("case", CASES)
def test_what_peft_wrote_gives_peft_s_logits_merged_on_the_way_in(pairs: Pairs, tmp_path: Path, case: str) -> None:
    folder, ids, expected = made_by_peft(case, tmp_path / "adapter")
    pair = pairs(case)
    assert difference(run(pair.ours, ids), expected) > 0.05, "the adapter must say something"
    loaded = load_model(pair.folder, dtype="float32", device="cpu", adapter=folder)
    assert difference(run(loaded.model, ids), expected) <= TOLERANCE
    mixers = {"full": 4, "recurrent": 3}
    count = sum(mixers["full" if isinstance(x.mixer, Attention) else "recurrent"] + 3 for x in loaded.spec.layers)
    assert loaded.notes[-1 if "vision" not in loaded.notes[-1] else -2].startswith(f"{count} matrices")


@pytest.mark.parametrize("case", CASES)
def test_what_peft_wrote_gives_peft_s_logits_attached(pairs: Pairs, tmp_path: Path, case: str) -> None:
    folder, ids, expected = made_by_peft(case, tmp_path / "adapter", use_rslora=True)
    model = load_model(pairs(case).folder, dtype="float32", device="cpu").model
    load_lora(model, folder, torch.Generator())
    assert difference(run(model, ids), expected) <= TOLERANCE


@pytest.mark.parametrize("case", CASES)
def test_two_that_peft_wrote_give_peft_s_logits_side_by_side(pairs: Pairs, tmp_path: Path, case: str) -> None:
    """In one step, beside a text without an adapter."""
    model = pairs(case).ours
    adapters = Adapters(model.spec, "cpu")
    expected = {None: run(model, awake.text(0))}
    for name, config in (("wide", {"r": 6, "use_rslora": True}), ("few", {"target_modules": ["down_proj"], "r": 2})):
        folder, _, expected[name] = made_by_peft(case, tmp_path / name, **config)
        hold_adapter(adapters, name, folder, model.spec)
    ids = awake.text(0)
    names = ["few", None, "wide"]
    chosen = adapters.chosen([adapters.find(name) for name in names], [len(ids)] * 3)
    with torch.no_grad():
        use = lambda hidden, head: head.logits(hidden)  # noqa: E731
        found = model(ids.repeat(3), span([len(ids)] * 3), use=use, adapters=chosen).chunk(3)
    for name, logits in zip(names, found, strict=True):
        assert difference(logits, expected[name]) <= TOLERANCE
    assert difference(found[0], found[1]) > 0.02 and difference(found[2], found[1]) > 0.02


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rslora", [False, True])
def test_what_we_wrote_gives_our_logits_in_peft(pairs: Pairs, tmp_path: Path, case: str, rslora: bool) -> None:
    model = load_model(pairs(case).folder, dtype="float32", device="cpu").model
    settings = Lora(rank=4, alpha=6.0, targets=("all-linear",), dropout=0.0, rslora=rslora)
    attach_lora(model, settings, torch.Generator().manual_seed(3))
    moved(model, 0.05)
    save_lora(model, tmp_path / "adapter", base=str(pairs(case).folder))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        theirs = peft.PeftModel.from_pretrained(awake.build(case), tmp_path / "adapter").eval()
    ids = awake.text(0)
    expected = awake.oracle(theirs, ids)
    assert difference(run(model, ids), expected) <= TOLERANCE
    assert difference(run(pairs(case).ours, ids), expected) > 0.05


@pytest.mark.parametrize(
    "targets", [("q_proj", "mlp.down_proj"), ("query", "layers.3.self_attn.o_proj"), ("model.layers.0.mlp.up_proj",)]
)
def test_some_modules_by_either_s_names_arrive_in_peft(pairs: Pairs, tmp_path: Path, targets: tuple[str, ...]) -> None:
    model = load_model(pairs("gemma3").folder, dtype="float32", device="cpu").model
    settings = Lora(rank=4, alpha=6.0, targets=targets, dropout=0.1, rslora=False)
    attached = attach_lora(model, settings, torch.Generator().manual_seed(3))
    moved(model, 0.2)
    save_lora(model, tmp_path / "adapter")
    theirs = peft.PeftModel.from_pretrained(awake.build("gemma3"), tmp_path / "adapter").eval()
    assert sum("lora_A" in name for name, _ in theirs.named_parameters()) == attached.count < 84
    ids = awake.text(0)
    assert difference(run(model.eval(), ids), awake.oracle(theirs, ids)) <= TOLERANCE
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["lora_dropout"] == 0.1


@pytest.mark.parametrize(
    "config",
    [
        {"rank_pattern": {"q_proj": 2, "layers.3.mlp.up_proj": 7}, "alpha_pattern": {"down_proj": 1.5}},
        {"target_modules": ["o_proj", "up_proj"], "layers_to_transform": [1, 4]},
        {"target_modules": ["o_proj", "up_proj"], "layers_to_transform": 2, "layers_pattern": "layers"},
        {"target_modules": r".*\.layers\.\d+\.(self_attn|mlp)\.(q|down)_proj"},
        {"target_modules": "all-linear"},
        {"exclude_modules": ["k_proj", "model.layers.0.mlp.up_proj"]},
        {"init_lora_weights": "gaussian", "lora_dropout": 0.2},
    ],
    ids=str,
)
def test_peft_s_ways_to_choose_modules_and_ranks(pairs: Pairs, tmp_path: Path, config: dict[str, object]) -> None:
    folder, ids, expected = made_by_peft("gemma2", tmp_path / "adapter", **config)
    loaded = load_model(pairs("gemma2").folder, dtype="float32", device="cpu", adapter=folder)
    assert difference(run(loaded.model, ids), expected) <= TOLERANCE


def test_ranks_and_alphas_of_single_modules_survive_a_round_trip(pairs: Pairs, tmp_path: Path) -> None:
    config = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.3.mlp.down_proj": 1.5}}
    folder, ids, expected = made_by_peft("gemma1", tmp_path / "adapter", **config)
    model = load_model(pairs("gemma1").folder, dtype="float32", device="cpu").model
    load_lora(model, folder, torch.Generator())
    save_lora(model, tmp_path / "again")
    theirs = peft.PeftModel.from_pretrained(awake.build("gemma1"), tmp_path / "again").eval()
    assert difference(awake.oracle(theirs, ids), expected) == 0
    written, first = (
        {path: (pair.rank, pair.alpha) for path, pair in adapter_of(model).modules.items()},
        json.loads((tmp_path / "again" / "adapter_config.json").read_text()),
    )
    assert written["layers.0.mixer.query"] == (2, 6.0) and written["layers.3.mlp.down"] == (4, 1.5)
    assert first["alpha_pattern"] == {"model.layers.3.mlp.down_proj": 1.5} and len(first["rank_pattern"]) == 6


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "use_dora is true, DoRA"),
        ({"bias": "all"}, 'bias is "all"'),
        ({"lora_bias": True}, "lora_bias is true"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"target_modules": ["embed_tokens", "q_proj"]}, "embed_tokens"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"rank_pattern": {r".*\.[02]\.mlp\.up_proj": 2}}, "rank_pattern"),
    ],
    ids=str,
)
def test_what_is_no_plain_adapter_is_refused_by_its_name(
    pairs: Pairs, tmp_path: Path, config: dict[str, object], said: str
) -> None:
    folder, _, _ = made_by_peft("gemma1", tmp_path / "adapter", **config)
    with pytest.raises(UserError) as caught:
        load_model(pairs("gemma1").folder, device="cpu", adapter=folder)
    assert said in caught.value.message and caught.value.hint


def test_another_kind_of_adapter_is_refused(pairs: Pairs, tmp_path: Path) -> None:
    model = peft.get_peft_model(
        awake.build("gemma1"), peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[])
    )
    model.save_pretrained(tmp_path / "ia3")
    with pytest.raises(UserError, match="IA3"):
        load_model(pairs("gemma1").folder, device="cpu", adapter=tmp_path / "ia3")
