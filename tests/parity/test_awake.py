"""The oracle itself: an awake model is as loud as the parity tests need it, and still precise enough to be one."""

from __future__ import annotations

import copy

import awake
import pytest
import torch

TEXTS = range(3)


def raw(capped: torch.Tensor, cap: float | None) -> torch.Tensor:
    """What stood before the cap."""
    return capped if cap is None else cap * torch.atanh(capped.double() / cap)


@pytest.mark.parametrize("case", awake.CASES)
def test_every_norm_and_bias_is_random(case: str) -> None:
    small = [
        name
        for name, parameter in awake.build(case).named_parameters()
        if (parameter.dim() == 1 or name.endswith("bias")) and parameter.std() < 0.25  # 16 draws of std 0.4 or 0.5
    ]
    assert not small


def test_scores_reach_60_in_every_capped_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    model, highest = awake.build("gemma2"), []
    softmax = torch.nn.functional.softmax

    def spy(scores: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        seen = scores[scores > -1e30]
        highest.append(raw(seen, model.config.attn_logit_softcapping).abs().max().item())
        return softmax(scores, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "softmax", spy)
    awake.oracle(model, awake.text(0))
    assert len(highest) == model.config.num_hidden_layers
    assert min(highest) >= 60


@pytest.mark.parametrize("case", awake.CASES)
def test_logits_reach_40(case: str) -> None:
    model = awake.build(case)
    config = model.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None) or getattr(config, "logits_soft_cap", None)
    highest = max(raw(awake.oracle(model, awake.text(seed)), cap).abs().max().item() for seed in TEXTS)
    assert highest >= 40


@pytest.mark.parametrize("case", awake.CASES)
def test_the_oracle_is_twice_as_precise_as_the_tolerance(case: str) -> None:
    """transformers in float32 against itself in float64 (its norms stay float32 there)."""
    model = awake.build(case)
    exact = copy.deepcopy(model).double()
    for seed in TEXTS:
        logits = awake.oracle(model, awake.text(seed))
        assert (logits - awake.oracle(exact, awake.text(seed))).abs().max() <= 1e-5 * logits.std()
