"""GGUF's metadata ↔ `arch.spec.Model`.

The format states sizes and leaves the rest to its readers, so what llama.cpp takes for granted of each family is a
fact of the format: the scale of scores, the pattern of layers, RoPE's base in local layers, Gemma 2's caps. A model
that differs in one of them cannot be written: whoever reads the file would run another model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from gemwright.arch.gemma1 import gemma1
from gemwright.arch.gemma2 import gemma2
from gemwright.arch.gemma3 import SIZES, gemma3
from gemwright.arch.spec import Attention, Layer, Model, check
from gemwright.errors import UserError
from gemwright.weights.fields import Fields, shorten
from gemwright.weights.gguf.header import SCALARS, Array, Header
from gemwright.weights.gguf.names import ARCHITECTURES, CLIP, TABLE
from gemwright.weights.gguf.source import GgufSource
from gemwright.weights.hf_config import MAX_DEPTH, published_name

_MAX_SIZE = 1 << 24
_PERIODS = {"gemma2": 2, "gemma3": 6}  # every so manieth layer is global
_DEEP = {"gemma2": 46, "gemma3": 62}  # layers of the model whose scores are scaled by width / heads


def read_spec(source: GgufSource) -> Model:
    """The model that a file's metadata describe; the rows of its table are the vocabulary.

    Raises `UserError` naming the file and the key for another architecture and for values that contradict each other.
    """
    architecture = source.metadata.get("general.architecture")
    family = next((family for family, word in ARCHITECTURES.items() if word == architecture), None)
    if architecture == CLIP:
        raise UserError(
            f"{source.path} is the vision half of a model, without its text half",
            hint="give the text model's file; this one may lie beside it",
        )
    if family is None:
        raise UserError(
            f"{source.path} holds a model of the architecture {shorten(architecture)}",
            hint=f"Gemwright reads {', '.join(ARCHITECTURES.values())} from GGUF files",
        )
    if TABLE not in source.names() or len(source.shape(TABLE)) != 2:
        raise UserError(f"{source.path} holds no embedding table ({TABLE})", hint="is it a whole model?")
    name = source.metadata.get("general.name")
    return parse(
        family,
        _with_arrays(source.header, ARCHITECTURES[family] + "."),
        where=str(source.path),
        vocab=source.shape(TABLE)[0],
        name=name if isinstance(name, str) and name else source.header.path.stem,
    )


def _with_arrays(header: Header, prefix: str) -> dict[str, Any]:
    """The metadata, the architecture's own arrays (a value for each layer) as tuples."""
    tree = dict(header.metadata)
    for key, value in tree.items():
        if isinstance(value, Array) and key.startswith(prefix) and value.kind in SCALARS and value.count <= MAX_DEPTH:
            tree[key] = tuple(header.numbers(key, (value.kind,)))
    return tree


def parse(family: str, metadata: Mapping[str, Any], *, where: str, vocab: int, name: str) -> Model:
    """The model that plain metadata describe, with a table of `vocab` rows."""
    prefix = ARCHITECTURES[family] + "."
    own = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
    fields = Fields(own, where, prefix)
    model = replace(_READERS[family](fields, vocab), name=name)
    try:
        check(model)
    except ValueError as error:
        raise UserError(f"{where} describes no model: {error}", hint="the file is damaged") from error
    return replace(model, name=published_name(model) or name)


def _sizes(fields: Fields, vocab: int) -> dict[str, Any]:
    """What every family states in the same words."""
    width = fields.integer("embedding_length", high=_MAX_SIZE)
    heads = fields.integer("attention.head_count", high=_MAX_SIZE)
    head_dim = fields.integer("attention.key_length", width // heads, high=_MAX_SIZE)
    if fields.integer("attention.value_length", head_dim) != head_dim:
        raise fields.refuse("attention.value_length", f"and attention.key_length is {head_dim}; Gemma's are equal")
    if fields.integer("rope.dimension_count", head_dim) != head_dim:
        raise fields.refuse("rope.dimension_count", f"and a head has {head_dim} channels; Gemma turns all of them")
    if fields.integer("vocab_size", vocab) != vocab:
        raise fields.refuse("vocab_size", f"and {TABLE} has {vocab} rows")
    return {
        "name": "",
        "width": width,
        "depth": fields.integer("block_count", high=MAX_DEPTH),
        "heads": heads,
        "kv_heads": fields.integer("attention.head_count_kv", heads, high=_MAX_SIZE),
        "head_dim": head_dim,
        "hidden": fields.integer("feed_forward_length", high=_MAX_SIZE),
        "vocab": vocab,
        "context": fields.integer("context_length"),
        "norm_epsilon": fields.number("attention.layer_norm_rms_epsilon", high=1.0),
    }


def _query_scalar(family: str, sizes: Mapping[str, Any]) -> float:
    """The scale of scores is not stored: readers tell the 27B's by their depth."""
    deep = sizes["depth"] == _DEEP[family]
    return float(sizes["width"] // sizes["heads"] if deep else sizes["head_dim"])


def _factor(fields: Fields, default: float) -> float:
    """By what positions are divided."""
    kind = fields.choice("rope.scaling.type", "linear", ("none", "linear"), "a way to stretch positions no Gemma uses")
    key = "rope.scaling.factor" if fields.has("rope.scaling.factor") else "rope.scale_linear"
    if not fields.has(key):
        return 1.0 if fields.has("rope.scaling.type") else default
    factor = fields.number(key, low=-1e-9) or 1.0
    if kind == "none" and factor != 1.0:
        raise fields.refuse(key, "and rope.scaling.type is none", hint="say which of the two holds")
    return factor


def _base(fields: Fields, keys: tuple[str, ...], default: float) -> float:
    """RoPE's base under the first of these keys that is there (ollama has words of its own)."""
    return next((fields.number(key) for key in keys if fields.has(key)), default)


def _pattern(fields: Fields, family: str, depth: int) -> tuple[bool, ...]:
    """For each layer, whether it is local: stated one by one, or by the period, or the family's."""
    key = "attention.sliding_window_pattern"
    stated = fields.raw(key, _PERIODS[family])
    if not isinstance(stated, tuple):
        period = fields.integer(key, _PERIODS[family], low=0, high=MAX_DEPTH)
        return tuple(period == 0 or (index + 1) % period != 0 for index in range(depth))
    if len(stated) != depth or not all(isinstance(is_local, bool) for is_local in stated):
        raise fields.refuse(key, f"and block_count is {depth}")
    return stated


def _lined_up(model: Model, local: tuple[bool, ...]) -> Model:
    """`model` gives one local and one global layer; they are lined up."""
    return replace(model, layers=tuple(model.layers[0 if is_local else 1] for is_local in local))


def _gemma1(fields: Fields, vocab: int) -> Model:
    model = gemma1(**_sizes(fields, vocab), rope_base=_base(fields, ("rope.freq_base",), 1e4))
    return _stretched(model, _factor(fields, 1.0))


def _stretched(model: Model, factor: float) -> Model:
    """Every layer with positions divided by `factor`."""

    def layer(old: Layer) -> Layer:
        assert isinstance(old.mixer, Attention)
        return replace(old, mixer=replace(old.mixer, rope=replace(old.mixer.rope, factor=factor)))

    return replace(model, layers=tuple(layer(old) for old in model.layers))


def _gemma2(fields: Fields, vocab: int) -> Model:
    sizes = _sizes(fields, vocab)
    base = _base(fields, ("rope.freq_base",), 1e4)
    if _base(fields, ("rope.freq_base_swa",), base) != base:
        raise fields.refuse("rope.freq_base_swa", f"and rope.freq_base is {base:g}; Gemma 2 has one base")
    model = gemma2(
        **{**sizes, "depth": 2},
        window=fields.integer("attention.sliding_window", 4096),
        pattern=2,
        query_scalar=_query_scalar("gemma2", sizes),
        attention_cap=fields.number("attn_logit_softcapping", 50.0),
        final_cap=fields.number("final_logit_softcapping", 30.0),
        rope_base=base,
    )
    return _lined_up(_stretched(model, _factor(fields, 1.0)), _pattern(fields, "gemma2", sizes["depth"]))


def _gemma3(fields: Fields, vocab: int) -> Model:
    sizes = _sizes(fields, vocab)
    if fields.number("attn_logit_softcapping", 0.0, low=-1e-9):
        raise fields.refuse("attn_logit_softcapping", "and Gemma 3 caps no scores")
    window = fields.integer("attention.sliding_window", 0, low=0)
    local = _pattern(fields, "gemma3", sizes["depth"]) if window else (False,) * sizes["depth"]
    model = gemma3(
        **{**sizes, "depth": 2},
        window=window or 1,
        pattern=2,
        query_scalar=_query_scalar("gemma3", sizes),
        local_base=_base(fields, ("rope.freq_base_swa", "rope.local.freq_base"), 1e4),
        global_base=_base(fields, ("rope.freq_base", "rope.global.freq_base"), 1e6),
        global_factor=_factor(fields, _published_factor(sizes)),
        attention_cap=None,
        final_cap=fields.number("final_logit_softcapping", 0.0, low=-1e-9) or None,
        vision=None,
    )
    return _lined_up(model, local)


def _published_factor(sizes: Mapping[str, Any]) -> float:
    """The factor of the published model with these sizes, for files that state none (ollama's); else 1."""
    keys = ("width", "depth", "heads", "kv_heads", "head_dim", "hidden")
    same = (row for row in SIZES.values() if all(row[key] == sizes[key] for key in keys))
    return next((row["global_factor"] for row in same), 1.0)


_READERS: dict[str, Callable[[Fields, int], Model]] = {
    "gemma1": _gemma1,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
}


def write_spec(spec: Model) -> dict[str, Any]:
    """The metadata of a model: whole numbers, floats, and tuples of bools.

    They are read again before they are returned. Raises `UserError` for a family that the format does not have, and
    for a model that its readers would run as another.
    """
    if spec.family not in ARCHITECTURES:
        raise UserError(
            f"GGUF has no architecture for {spec.name}: llama.cpp runs no {spec.family}",
            hint="keep its Hugging Face folder",
        )
    first = spec.layers[0]
    mixer = first.mixer
    assert isinstance(mixer, Attention)
    tree: dict[str, Any] = {
        "context_length": spec.context,
        "embedding_length": spec.width,
        "block_count": len(spec.layers),
        "feed_forward_length": first.mlp.hidden,
        "attention.head_count": mixer.heads,
        "attention.head_count_kv": mixer.kv_heads,
        "attention.key_length": mixer.head_dim,
        "attention.value_length": mixer.head_dim,
        "attention.layer_norm_rms_epsilon": spec.norm_epsilon,
        "vocab_size": spec.vocab,
    }
    tree |= _rope(spec) | (_windows(spec) if spec.family in _PERIODS else {})
    if spec.family == "gemma2":
        tree["attn_logit_softcapping"] = mixer.cap
    if spec.final_cap is not None:
        tree["final_logit_softcapping"] = spec.final_cap
    prefix = ARCHITECTURES[spec.family] + "."
    named = {prefix + key: value for key, value in tree.items() if value is not None}
    _check_readable(spec, named)
    return named


def _kinds(spec: Model) -> dict[str, Attention]:
    """The first local and the first global layer's attention."""
    found: dict[str, Attention] = {}
    for layer in spec.layers:
        if isinstance(layer.mixer, Attention):
            found.setdefault(layer.kind, layer.mixer)
    return found


def _rope(spec: Model) -> dict[str, Any]:
    kinds = _kinds(spec)
    rope = (kinds.get("global") or kinds["local"]).rope
    tree: dict[str, Any] = {"rope.freq_base": rope.base}
    if spec.family == "gemma3":
        tree["rope.freq_base"] = rope.base if "global" in kinds else 1e6
        tree["rope.freq_base_swa"] = kinds["local"].rope.base if "local" in kinds else 1e4
    if rope.factor != 1.0:
        tree |= {"rope.scaling.type": "linear", "rope.scaling.factor": rope.factor}
    elif spec.family == "gemma3":
        tree["rope.scaling.type"] = "none"  # said aloud: readers may think of the published model's factor
    return tree


def _windows(spec: Model) -> dict[str, Any]:
    """The window, and the kinds of the layers where they are not in the family's order."""
    local = _kinds(spec).get("local")
    if local is None:
        return {} if spec.family == "gemma3" else {"attention.sliding_window_pattern": 1}
    listed = tuple(kind == "local" for kind in spec.kinds)
    period = _PERIODS[spec.family]
    usual = tuple((index + 1) % period != 0 for index in range(len(listed)))
    tree: dict[str, Any] = {"attention.sliding_window": local.window}
    return tree if listed == usual else tree | {"attention.sliding_window_pattern": listed}


def _check_readable(spec: Model, tree: Mapping[str, Any]) -> None:
    found = parse(spec.family, tree, where=spec.name, vocab=spec.vocab, name=spec.name)
    theirs = asdict(replace(found, name=spec.name, vision=spec.vision))
    for field, value in asdict(spec).items():
        if theirs[field] != value:
            raise UserError(
                f"{spec.name} cannot be stated in a GGUF file: its readers take other {field} for granted",
                hint="only models with their family's scale of scores, caps and RoPE of local layers can be written",
            )
