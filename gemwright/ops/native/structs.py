"""The kernels' structures and functions, as source/kernels.h declares them."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int64, c_uint64, c_void_p

FORMATS = {"bf16": 0, "q8_0": 1, "q4_0": 2, "int8": 3, "int4": 4}
"""The forms that there are kernels for, and their numbers in source/matrix.h."""


class Matrix(ctypes.Structure):
    """A packed matrix."""

    _fields_ = (
        ("format", c_int64),
        ("outputs", c_int64),
        ("columns", c_int64),
        ("data", c_void_p),
        ("scales", c_void_p),
        ("bias", c_void_p),
    )


class AttentionLayer(ctypes.Structure):
    """An attention layer up to its keys and queries."""

    _fields_ = (
        ("width", c_int64),
        ("heads", c_int64),
        ("kv_heads", c_int64),
        ("head_dim", c_int64),
        ("pairs", c_int64),
        ("query", Matrix),
        ("key", Matrix),
        ("value", Matrix),
        ("norm", c_void_p),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
        ("epsilon", c_float),
    )


class OutLayer(ctypes.Structure):
    """A block from its mixer's last projection on."""

    _fields_ = (
        ("width", c_int64),
        ("mixed", c_int64),
        ("hidden", c_int64),
        ("out", Matrix),
        ("gate", Matrix),
        ("up", Matrix),
        ("down", Matrix),
        ("post_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("mlp_post_norm", c_void_p),
        ("epsilon", c_float),
    )


class RecurrentLayer(ctypes.Structure):
    """Convolution and RG-LRU."""

    _fields_ = (
        ("width", c_int64),
        ("blocks", c_int64),
        ("taps", c_int64),
        ("conv", c_void_p),
        ("conv_bias", c_void_p),
        ("rate", c_void_p),
        ("decay", c_void_p),
        ("input", c_void_p),
    )


class RecurrentIn(ctypes.Structure):
    """A recurrent layer up to its last projection."""

    _fields_ = (
        ("width", c_int64),
        ("x", Matrix),
        ("y", Matrix),
        ("norm", c_void_p),
        ("epsilon", c_float),
        ("layer", RecurrentLayer),
    )


class Recurrence(ctypes.Structure):
    """One step's memory of a recurrent layer. The kernels fill in their scratch."""

    _fields_ = (
        ("x", c_void_p),
        ("gate", c_void_p),
        ("tail", c_void_p),
        ("state", c_void_p),
        ("starts", c_void_p),
        ("fresh", c_void_p),
        ("documents", c_int64),
        ("u", c_void_p),
        ("decays", c_void_p),
        ("inputs", c_void_p),
        ("rows", c_void_p),
        ("states", c_void_p),
        ("mixed", c_void_p),
    )


class Addend(ctypes.Structure):
    """What an adapter adds to a matrix."""

    _fields_ = (("rank", c_int64), ("stride", c_int64), ("a", c_void_p), ("b", c_void_p))


class Adapters(ctypes.Structure):
    """The adapters of a step's rows, for the matrices of one call."""

    _fields_ = (("count", c_int64), ("most", c_int64), ("rows", c_void_p), ("of", c_void_p))


# How both passes of attention begin.
_ATTENTION = (
    ("tokens", c_int64),
    ("heads", c_int64),
    ("kv_heads", c_int64),
    ("head_dim", c_int64),
    ("window", c_int64),
    ("scale", c_float),
    ("cap", c_float),
    ("query", c_void_p),
    ("key", c_void_p),
    ("value", c_void_p),
)


class Attend(ctypes.Structure):
    """One call of attention over memory."""

    _fields_ = (
        *_ATTENTION,
        ("keys", c_void_p),
        ("values", c_void_p),
        ("key_codes", c_void_p),
        ("value_codes", c_void_p),
        ("key_scales", c_void_p),
        ("value_scales", c_void_p),
        ("out", c_void_p),
        ("targets", c_void_p),
        ("write_first", c_int64),
        ("sequences", c_void_p),
        ("sequence_count", c_int64),
        ("runs", c_void_p),
        ("narrow_out", c_void_p),
        ("lse", c_void_p),
        ("ahead", c_void_p),
    )


class AttendAll(ctypes.Structure):
    """One call of attention of every token to all of its picture."""

    _fields_ = (
        ("pictures", c_int64),
        ("tokens", c_int64),
        ("heads", c_int64),
        ("head_dim", c_int64),
        ("scale", c_float),
        ("query", c_void_p),
        ("key", c_void_p),
        ("value", c_void_p),
        ("out", c_void_p),
        ("room", c_void_p),
    )


class AttendGrad(ctypes.Structure):
    """Attention's gradients over whole documents."""

    _fields_ = (
        *_ATTENTION,
        ("out", c_void_p),
        ("dout", c_void_p),
        ("lse", c_void_p),
        ("delta", c_void_p),
        ("dquery", c_void_p),
        ("dkey", c_void_p),
        ("dvalue", c_void_p),
        ("starts", c_void_p),
        ("documents", c_int64),
        ("ahead", c_void_p),
    )


class Scan(ctypes.Structure):
    """The gated recurrence in training, forwards or backwards."""

    _fields_ = (
        ("rows", c_int64),
        ("width", c_int64),
        ("kind", c_int64),
        ("u", c_void_p),
        ("decay", c_void_p),
        ("input", c_void_p),
        ("a_param", c_void_p),
        ("position", c_void_p),
        ("states", c_void_p),
        ("out", c_void_p),
        ("dout", c_void_p),
        ("du", c_void_p),
        ("ddecay", c_void_p),
        ("dinput", c_void_p),
        ("da_param", c_void_p),
    )


class SoftTargets(ctypes.Structure):
    """Rows of scores and the soft targets that they are to meet."""

    _fields_ = (
        ("rows", c_int64),
        ("vocab", c_int64),
        ("kind", c_int64),
        ("targets", c_int64),
        ("scores", c_void_p),
        ("ids", c_void_p),
        ("shares", c_void_p),
        ("weight", c_void_p),
        ("cap", c_float),
        ("temperature", c_float),
        ("z", c_float),
        ("loss", c_void_p),
        ("lse", c_void_p),
    )


class Draw(ctypes.Structure):
    """Rows of shares, and the ids that are drawn by them."""

    _fields_ = (
        ("rows", c_int64),
        ("vocab", c_int64),
        ("samples", c_int64),
        ("depth", c_int64),
        ("seed", c_uint64),
        ("shares", c_void_p),
        ("serial", c_void_p),
        ("position", c_void_p),
        ("found", c_void_p),
        ("total", c_void_p),
    )


_FUNCTIONS = {
    "gw_linear": "pnppffnppn",
    "gw_attention_in": "pnppppppppn",
    "gw_attend": "pn",
    "gw_attend_all": "pn",
    "gw_block_out": "pnppppn",
    "gw_recurrent_in": "pnpppppn",
    "gw_lookup": "pnpfp",
    "gw_pack": "pnnpnn",
    "gw_pack_bf16": "pnnpppn",
    "gw_unpack": "pnnp",
    "gw_quantise_rows": "nnpppp",
    "gw_quantise_blocks": "nnpnppn",
    "gw_norm": "nnnppfpnppn",
    "gw_norm_grad": "nnnpppnpppn",
    "gw_turn": "nnnnnppfpppn",
    "gw_turn_grad": "nnnnnppfpppppn",
    "gw_gated": "nnpppn",
    "gw_gated_grad": "nnpppppn",
    "gw_soft_targets": "pn",
    "gw_attend_grad": "pn",
    "gw_scan": "pn",
    "gw_scan_grad": "pn",
    "gw_conv": "nnnnpppppn",
    "gw_conv_grad": "nnnnppppppn",
    "gw_draw": "pn",
}
_TYPES = {"p": c_void_p, "n": c_int64, "f": c_float}


def declare(library: ctypes.CDLL) -> None:
    """Give the functions of a loaded library their types."""
    for name, types in _FUNCTIONS.items():
        function = getattr(library, name)
        function.argtypes = [_TYPES[kind] for kind in types]
        function.restype = None
    library.gw_name.argtypes = []
    library.gw_name.restype = ctypes.c_char_p
