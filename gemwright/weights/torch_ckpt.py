"""Checkpoints of google/gemma_pytorch: torch files with queries, keys and values in one matrix.

Surgery that a renaming cannot do is done here: the fused matrix is cut in three. The vision half and the tables of
angles are left; the int8 variants are refused. These files state no config, so the sizes are told from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gemwright.arch import presets
from gemwright.arch.spec import Attention, Model
from gemwright.errors import UserError
from gemwright.paths import probe
from gemwright.weights import folder as hf_folder
from gemwright.weights.fields import Fields, describe_foreign, read_json, shorten
from gemwright.weights.names import GEMMA_PYTORCH, Names, table

_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
INDEX = "pytorch_model.bin.index.json"
_FUSED = re.compile(r"model\.layers\.([0-9]+)\.self_attn\.qkv_proj\.weight")
_EMBEDDING = "model.embed_tokens.weight"  # what this reader calls the table, in both of the format's classes


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a torch file, or a folder that has nothing but torch files for weights."""
    if path.is_file():
        return path.suffix in _SUFFIXES
    if not path.is_dir() or (path / hf_folder.SINGLE).exists() or (path / hf_folder.INDEX).exists():
        return False
    return bool(list(path.glob("*.ckpt"))) or ((path / INDEX).exists() and not (path / "config.json").exists())


class TorchCheckpoint:
    """The text half of a gemma_pytorch checkpoint, cut into one tensor per parameter."""

    def __init__(self, path: Path, preset: str | Model | None = None) -> None:
        self.path = path
        tensors = _read_all(path)
        tables = [name for name in ("embedder.weight", "text_token_embedder.weight") if name in tensors]
        if len(tables) != 1:
            raise UserError(
                f"{path} holds no embedder.weight among {len(tensors)} tensors: it is no gemma_pytorch checkpoint",
                hint="give a Hugging Face folder with safetensors files",
            )
        tensors[_EMBEDDING] = tensors.pop(tables[0])
        self.spec = _spec(path, tensors, preset)
        self._tensors = _cut(path, tensors, self.spec)

    @property
    def table(self) -> Names:
        """The renaming to the model's names."""
        return table(self.spec.family, "model.", GEMMA_PYTORCH)

    def names(self) -> list[str]:
        """Every tensor's name after the cutting."""
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return tuple(self._tensors[name].shape)

    def dtype(self, name: str) -> torch.dtype:
        """A tensor's dtype in the file."""
        return self._tensors[name].dtype

    def view(self, name: str, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Rows of a tensor, as a view on the mapped file."""
        tensor = self._tensors[name]
        return tensor[start:stop] if tensor.dim() else tensor

    def release(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """Nothing: torch keeps its map to itself, and the system takes clean pages back when it needs them."""


def weight_files(path: Path) -> list[Path]:
    """The torch files of a checkpoint: itself, those that a folder's index names, or the folder's only .ckpt file.

    Raises `UserError` for a shard that is missing and for several .ckpt files.
    """
    if path.is_file():
        return [path]
    if (path / INDEX).exists():
        files = sorted({str(file) for file in _index(path).values()})
        for file in files:
            if Path(file).name != file or not probe(path / file).exists():
                raise UserError(f"shard {shorten(file)} is missing from {path}", hint="fetch the folder again")
        return [path / file for file in files]
    found = sorted(path.glob("*.ckpt"))
    if len(found) != 1:
        raise UserError(f"{path} has {len(found)} .ckpt files", hint="give the file that you mean")
    return found


def _index(folder: Path) -> Mapping[str, Any]:
    """Which shard holds which tensor; empty where there is no index."""
    path = folder / INDEX
    return Fields(read_json(path), str(path)).section("weight_map").tree if path.exists() else {}


def _read_all(path: Path) -> dict[str, torch.Tensor]:
    tensors = {name: tensor for file in weight_files(path) for name, tensor in _read_file(file).items()}
    for name in _index(path):
        if name not in tensors:
            raise UserError(f"{path / INDEX} names {shorten(name)}, which no shard holds", hint="fetch it again")
    return tensors


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        with path.open("rb") as file:
            start = file.read(64)
        foreign = describe_foreign(start)
        if foreign and not start.startswith(b"PK"):
            raise UserError(f"{path} {foreign[0]}", hint=foreign[1])
        if not start.startswith(b"PK"):
            raise UserError(
                f"{path} is no torch file of the zip form", hint="save it again with a torch of this decade"
            )
        tree: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise anything, and a hostile one is refused by weights_only
        raise UserError(
            f"{path} cannot be read as a torch checkpoint of plain tensors: {str(error).splitlines()[0]}",
            hint="it is damaged, or it holds code; fetch it again or give a safetensors version",
        ) from error
    if isinstance(tree, Mapping) and isinstance(tree.get("model_state_dict"), Mapping):
        tree = tree["model_state_dict"]
    if not isinstance(tree, Mapping):
        raise UserError(f"{path} holds a {type(tree).__name__}, not a table of tensors", hint="give the state dict")
    for name, value in tree.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise UserError(f"{path}: {shorten(name)} is a {type(value).__name__}, not a tensor", hint="is it a Gemma?")
        if name.endswith("weight_scaler") or value.dtype == torch.int8:
            raise UserError(
                f"{path} is a quantised checkpoint ({shorten(name)}); only float checkpoints are read",
                hint="give the variant whose name lacks -quant",
            )
    return dict(tree)


def _spec(path: Path, tensors: Mapping[str, torch.Tensor], preset: str | Model | None) -> Model:
    if isinstance(preset, Model):
        return preset
    embedding = tensors[_EMBEDDING]
    rows = embedding.shape[0] if embedding.dim() == 2 else 0
    if preset is not None:
        return presets.preset(preset, vocab=rows)
    for name in presets.names():
        model = presets.preset(name, vocab=max(rows, 1))
        if model.family in GEMMA_PYTORCH and _fits(model, tensors):
            return model
    raise UserError(f"{path}: its shapes are those of no published Gemma", hint="say which it is: --preset NAME")


def _fits(model: Model, tensors: Mapping[str, torch.Tensor]) -> bool:
    mixer, depth = model.layers[0].mixer, len(model.layers)
    assert isinstance(mixer, Attention)
    expected = {
        _EMBEDDING: (model.vocab, model.width),
        "model.layers.0.self_attn.qkv_proj.weight": (_rows(mixer), model.width),
        "model.layers.0.self_attn.o_proj.weight": (model.width, mixer.heads * mixer.head_dim),
        "model.layers.0.mlp.gate_proj.weight": (model.layers[0].mlp.hidden, model.width),
        f"model.layers.{depth - 1}.input_layernorm.weight": (model.width,),
    }
    if any(name not in tensors or tuple(tensors[name].shape) != shape for name, shape in expected.items()):
        return False
    norms = "model.layers.0.pre_feedforward_layernorm.weight" in tensors
    qk_norm = "model.layers.0.self_attn.query_norm.weight" in tensors
    deeper = f"model.layers.{depth}.input_layernorm.weight" in tensors
    return norms == model.layers[0].post_norms and qk_norm == mixer.qk_norm and not deeper


def _rows(mixer: Attention) -> int:
    return (mixer.heads + 2 * mixer.kv_heads) * mixer.head_dim


def _cut(path: Path, tensors: dict[str, torch.Tensor], spec: Model) -> dict[str, torch.Tensor]:
    """The fused matrices in three: the rows are all queries, then keys, then values."""
    cut: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        found = _FUSED.fullmatch(name)
        if not found:
            cut[name] = tensor
            continue
        index = int(found[1])
        mixer = spec.layers[index].mixer if index < len(spec.layers) else None
        if not isinstance(mixer, Attention) or tensor.shape[0] != _rows(mixer):
            expected = _rows(mixer) if isinstance(mixer, Attention) else "no"
            raise UserError(
                f"{path}: {name} has {tensor.shape[0]} rows, {spec.name} has {expected}", hint="is the preset right?"
            )
        sizes = [mixer.heads * mixer.head_dim] + [mixer.kv_heads * mixer.head_dim] * 2
        for part, rows in zip("qkv", tensor.split(sizes), strict=True):
            cut[name.replace("qkv_proj", f"{part}_proj")] = rows
    return cut
