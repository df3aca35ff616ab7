"""adapter_config.json: which modules an adapter is for, with which rank and scale, and whatever else must be refused.

The meaning of each key is that of PEFT 0.21; a key that is absent has PEFT's default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemwright.weights.fields import Fields, shorten

CONFIG = "adapter_config.json"
_ALL = "all-linear"
_REGEX_LIMIT = 4000  # characters; those of real adapters have a few hundred

# Keys that say nothing about the result: where it came from, how it was initialised.
_NEUTRAL = (
    *("task_type", "auto_mapping", "peft_version", "revision", "inference_mode", "megatron_core", "qalora_group_size"),
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config", "ensure_weight_tying"),
)
# Keys that must be absent, null, false or empty, and why.
_REFUSED = {
    "use_dora": "DoRA rescales each matrix; only plain LoRA is read",
    "modules_to_save": "whole modules were trained beside the adapter; only plain LoRA is read",
    "fan_in_fan_out": "no matrix of a Gemma is stored with its inputs first",
    "lora_bias": "biases were trained beside the adapter; only plain LoRA is read",
    "target_parameters": "parameters were adapted that no linear module holds; only plain LoRA is read",
    "trainable_token_indices": "rows of the embedding table were trained; only plain LoRA is read",
    "layer_replication": "layers were repeated; only plain LoRA is read",
    "alora_invocation_tokens": "it acts on some tokens only; only plain LoRA is read",
    "megatron_config": "it is for Megatron's modules; only plain LoRA is read",
    "use_qalora": "QALoRA pools the inputs; only plain LoRA is read",
    "use_bdlora": "its matrices are block-diagonal; only plain LoRA is read",
    "arrow_config": "it chooses among adapters for each token; only plain LoRA is read",
    "kasa_config": "KaSA changes the matrix itself; only plain LoRA is read",
    "monteclora_config": "its matrices are random; only plain LoRA is read",
    "velora_config": "VeLoRA is another way to train; only plain LoRA is read",
}
# Ways to begin that leave the matrix as it is. Others (PiSSA, OLoRA, CorDA, LoftQ, …) move a part of it into the
# adapter, which then fits only the matrix that is left.
_INITIAL = (True, False, None, "gaussian", "eva", "orthogonal")
_PLAIN_PATTERN = re.compile(r"[A-Za-z0-9_.]+")


@dataclass(frozen=True, kw_only=True)
class PeftConfig:
    """What matters of the file, with modules under their names in transformers.

    `targets`, `excluded`: names or their last parts, or one regular expression for whole names; `layers`: the only
    layers that are meant; `ranks`, `alphas`: those of single modules, by name or last parts.
    """

    rank: int
    alpha: float
    rslora: bool
    dropout: float
    targets: tuple[str, ...] | re.Pattern[str]
    excluded: tuple[str, ...] | re.Pattern[str]
    layers: frozenset[int] | None
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    base: str | None

    def wants(self, module: str) -> bool:
        """Whether a linear module is adapted."""
        if not _means(self.targets, module) or (self.excluded and _means(self.excluded, module)):
            return False
        if self.layers is None or isinstance(self.targets, re.Pattern) or module in self.targets:
            return True
        found = re.search(r"\.layers\.(\d+)\.", f".{module}")
        return found is not None and int(found[1]) in self.layers

    def idle(self, modules: Iterable[str]) -> list[str]:
        """Targets, and names of single modules, that mean none of these modules."""
        listed = list(modules)
        words = [*self.ranks, *self.alphas]
        if not isinstance(self.targets, re.Pattern):
            words = [*self.targets, *words]
        elif not any(_means(self.targets, module) for module in listed):
            words = [self.targets.pattern, *words]
        return [word for word in words if not any(_means((word,), module) for module in listed)]

    def rank_of(self, module: str) -> int:
        """The rank of a module."""
        return next((rank for word, rank in self.ranks.items() if _means((word,), module)), self.rank)

    def alpha_of(self, module: str) -> float:
        """The alpha of a module."""
        return next((alpha for word, alpha in self.alphas.items() if _means((word,), module)), self.alpha)


def _means(words: tuple[str, ...] | re.Pattern[str], module: str) -> bool:
    if isinstance(words, re.Pattern):
        return words.fullmatch(module) is not None
    return any(word == _ALL or module == word or module.endswith(f".{word}") for word in words)


def parse(tree: Mapping[str, Any], where: str) -> tuple[PeftConfig, list[str]]:
    """The config in a JSON tree, and remarks for people. Raises `UserError` naming `where`, the key and the reason for
    whatever is no plain LoRA."""
    fields = Fields(tree, where)
    fields.choice("peft_type", None, ("LORA",), "another kind of adapter")
    fields.choice("bias", "none", ("none",), "biases were trained beside the adapter")
    for key, reason in _REFUSED.items():
        if fields.raw(key, None):
            raise fields.refuse(key, reason, hint="merge it with PEFT, and load the merged folder")
    initial = fields.raw("init_lora_weights", True)
    if not any(initial is known or (isinstance(known, str) and initial == known) for known in _INITIAL):
        raise fields.refuse(
            "init_lora_weights",
            "a part of each matrix was moved into the adapter at the start",
            hint="save it with PEFT's path_initial_model_for_weight_conversion, or merge it with PEFT",
        )
    base = fields.raw("base_model_name_or_path", None)
    config = PeftConfig(
        rank=fields.integer("r", 8),
        alpha=fields.number("lora_alpha", 8),
        rslora=fields.flag("use_rslora", False),
        dropout=_dropout(fields),
        targets=_words(fields, "target_modules", required=True),
        excluded=_words(fields, "exclude_modules", required=False),
        layers=_layers(fields),
        ranks={word: int(value) for word, value in _pattern(fields, "rank_pattern", whole=True).items()},
        alphas=_pattern(fields, "alpha_pattern", whole=False),
        base=base if isinstance(base, str) else None,
    )
    return config, _unknown(fields)


def _dropout(fields: Fields) -> float:
    value = fields.raw("lora_dropout", 0.0)
    return 0.0 if value == 0 else fields.number("lora_dropout", high=1.0)


def _words(fields: Fields, key: str, *, required: bool) -> tuple[str, ...] | re.Pattern[str]:
    value = fields.raw(key, None)
    if not value and not required:
        return ()
    if value == _ALL:
        return (_ALL,)
    if isinstance(value, str) and 0 < len(value) <= _REGEX_LIMIT:
        try:
            return re.compile(value)
        except re.error as error:
            raise fields.refuse(key, f"no regular expression: {error}") from error
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        raise fields.refuse(key, "it must be a list of modules' names, or a regular expression")
    return tuple(value)


def _layers(fields: Fields) -> frozenset[int] | None:
    value = fields.raw("layers_to_transform", None)
    pattern = fields.raw("layers_pattern", None)
    if value is None or value == []:
        return None
    if pattern not in (None, "", [], "layers", ["layers"]):
        raise fields.refuse("layers_pattern", "the layers of a Gemma are called layers")
    listed = value if isinstance(value, list) else [value]
    if not all(type(item) is int and item >= 0 for item in listed):
        raise fields.refuse("layers_to_transform", "it must be a layer's number or a list of them")
    return frozenset(listed)


def _pattern(fields: Fields, key: str, *, whole: bool) -> dict[str, float]:
    """Numbers of single modules. PEFT takes the keys for regular expressions; plain names are all that is read."""
    value = fields.raw(key, None) or {}
    if not isinstance(value, Mapping):
        raise fields.refuse(key, "it must be an object")
    for word, number in value.items():
        if not _PLAIN_PATTERN.fullmatch(word):
            raise fields.refuse(key, f"{shorten(word)} is a regular expression; names of modules are read")
        if type(number) not in ((int,) if whole else (int, float)) or not 0 < number < 1e9:
            raise fields.refuse(key, f"{shorten(word)} must have a positive number")
    return {word: float(number) for word, number in value.items()}


def _unknown(fields: Fields) -> list[str]:
    """A note on keys that nobody here knows; a switch among them that is on is refused."""
    unknown = [key for key, value in fields.tree.items() if key not in fields.used and key not in _NEUTRAL and value]
    if switches := [key for key in unknown if fields.tree[key] is True]:
        raise fields.refuse(switches[0], "and what that does is not known here", hint="merge it with PEFT")
    return [f"{fields.where}: unknown keys were not used: {', '.join(map(shorten, unknown))}"] if unknown else []


def tree_of(config: PeftConfig) -> dict[str, Any]:
    """The JSON tree of a config, as PEFT reads it. Regular expressions and chosen layers are not written."""
    if isinstance(config.targets, re.Pattern) or config.excluded or config.layers is not None:
        raise ValueError("targets are written by name")
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": config.base,
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": _short(config.alpha),
        "lora_dropout": config.dropout,
        "use_rslora": config.rslora,
        "target_modules": list(config.targets),
        "rank_pattern": dict(config.ranks),
        "alpha_pattern": {module: _short(alpha) for module, alpha in config.alphas.items()},
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
    }


def _short(number: float) -> int | float:
    return int(number) if number == int(number) else number
