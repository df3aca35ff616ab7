"""What may be asked, and what an unset wish means."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from gemwright.engine.request import Sampling, Usage, defaults_of
from gemwright.errors import UserError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("top_k", -1),
        ("top_p", 0),
        ("top_p", 1.01),
        ("min_p", 2),
        ("repetition_penalty", 0),
        ("repetition_penalty", -1.0),
        ("logit_bias", {5: math.nan}),
        ("logit_bias", {5: math.inf}),
        ("logit_bias", {-1: 1.0}),
        ("seed", 1.0),
        ("stop", "word"),
        ("stop", ("",)),
        ("stop_ids", (-3,)),
        ("logprobs", -1),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        Sampling(**{name: value})
    assert name.replace("_", " ").split()[0] in caught.value.message.replace("_", " ") or "token id" in str(
        caught.value
    )
    assert caught.value.hint


def test_own_values_come_before_the_checkpoints_and_those_before_gemmas() -> None:
    defaults = defaults_of({"temperature": 0.7, "top_k": 40})
    resolved = Sampling(temperature=0.2).resolve(defaults)
    assert (resolved.temperature, resolved.top_k, resolved.top_p) == (0.2, 40, 0.95)
    assert (resolved.min_p, resolved.repetition_penalty, resolved.max_tokens) == (0.0, 1.0, None)


def test_zero_is_a_value_and_not_an_unset_wish() -> None:
    resolved = Sampling(temperature=0, top_k=0, min_p=0).resolve(Sampling(temperature=0.7, top_k=40, min_p=0.1))
    assert (resolved.temperature, resolved.top_k, resolved.min_p) == (0, 0, 0)


def test_an_empty_generation_config_gives_gemmas_own_sampling() -> None:
    resolved = Sampling().resolve(defaults_of({}))
    assert (resolved.temperature, resolved.top_k, resolved.top_p) == (1.0, 64, 0.95)


def test_do_sample_false_is_greedy_and_can_be_overruled() -> None:
    defaults = defaults_of({"do_sample": False, "temperature": 0.9})
    assert Sampling().resolve(defaults).temperature == 0
    assert Sampling(temperature=0.5).resolve(defaults).temperature == 0.5


def test_stop_ids_join_the_checkpoints_unless_those_are_ignored() -> None:
    defaults = defaults_of({}, stop_ids=(1, 106))
    assert Sampling(stop_ids=(7, 106)).resolve(defaults).stop_ids == (7, 106, 1)
    assert Sampling(stop_ids=(7,), ignore_eos=True).resolve(defaults).stop_ids == (7,)


def test_resolving_twice_changes_nothing() -> None:
    defaults = defaults_of({"temperature": 0.7, "top_p": 0.5}, stop_ids=(1,))
    once = Sampling(stop_ids=(9,), top_k=3).resolve(defaults)
    assert once.resolve(defaults) == once


def test_speeds_count_read_tokens_and_drawn_intervals() -> None:
    usage = Usage(prompt=30, cached=10, completion=11, prefill_seconds=2.0, decode_seconds=5.0)
    assert (usage.prefill_speed, usage.decode_speed) == (10.0, 2.0)


def test_requests_and_schedules_need_no_torch() -> None:
    code = "import sys, gemwright.engine.request, gemwright.engine.schedule; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 3.5e38}, {"repetition_penalty": 1e-39}, {"repetition_penalty": 1e39}, {"logit_bias": {0: 1e39}}],
)
def test_numbers_that_would_leave_float32_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong)).replace("_", "[_ ]")):
        Sampling(**wrong)
