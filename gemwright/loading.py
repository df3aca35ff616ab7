"""The composition root: name → folder → spec → an empty model on the meta device → its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gemwright import lora
from gemwright.arch.spec import Model, Vision
from gemwright.errors import UserError
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import NO_FLOAT16, Decoder
from gemwright.nn.gemma import Tower
from gemwright.ops.matmul import FORMS, Form, Matrix
from gemwright.ops.native import library
from gemwright.ops.native import matrix as native
from gemwright.quant import swap
from gemwright.quant.scheme import SCHEMES, Scheme, scheme
from gemwright.text.template import ChatTemplate, choose_template, load_chat_template, template_text
from gemwright.text.tokenizer import FILES, Tokenizer
from gemwright.weights import generation, hf_config, hub, peft, processor, remarks, torch_ckpt, vision
from gemwright.weights.adapted import adapted
from gemwright.weights.folder import Folder
from gemwright.weights.gguf import config as gguf_config
from gemwright.weights.gguf import generation as gguf_generation
from gemwright.weights.gguf import mmproj
from gemwright.weights.gguf.names import names_of
from gemwright.weights.gguf.source import GgufSource, is_gguf
from gemwright.weights.gguf.tokenizer import read_vocabulary
from gemwright.weights.layout import Layout
from gemwright.weights.names import Names
from gemwright.weights.quantised import QuantisedFolder, read_forms
from gemwright.weights.stream import (
    PackedSource,
    Place,
    Source,
    is_packed,
    load_into,
    main_dtype,
    names_for,
)

_DTYPES = {
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float32": torch.float32,
    "fp32": torch.float32,
    "f32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "half": torch.float16,
}


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model in memory and where it came from.

    `folder` is a folder or a GGUF file. `layout` is what an export needs to give back the same files (None for a format
    that is not written). `notes` are remarks for people; `left` lists the file's tensors that were not used, by reason.
    """

    model: Decoder
    spec: Model
    layout: Layout | None
    folder: Path
    dtype: torch.dtype
    device: torch.device
    notes: tuple[str, ...]
    left: dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A checkpoint whose headers have been read and checked; `layout` is None for any but a plain Hugging Face folder,
    and `folder` is the file itself where all is in a GGUF file."""

    spec: Model
    source: Source
    names: Names
    layout: Layout | None
    folder: Path

    @property
    def stored(self) -> torch.dtype:
        """The dtype of most of the bytes that the model takes from the files: what "auto" goes by. Packed tensors count
        as bfloat16, however many plain floats there are beside them."""
        used = [name for name in self.source.names() if self.names.ours(name)]
        if any(is_packed(self.source, name) for name in used):
            return torch.bfloat16
        return main_dtype(self.source, used)

    @property
    def forms(self) -> dict[str, Form]:
        """The forms in which the files hold matrices, where they are ours too, by the model's names."""
        source = self.source
        if not isinstance(source, PackedSource):
            return {}
        kinds = {self.names.ours(name): source.kind(name).lower() for name in source.names()}
        return {
            ours: form for ours, kind in kinds.items() for form in FORMS if ours and form == kind and form != "bf16"
        }

    @property
    def exact(self) -> frozenset[str]:
        """Norms that the files keep in float32 beside packed tensors, by the model's names. So does a packed model:
        they are small, and its kernels read them so."""
        source = self.source
        if not isinstance(source, PackedSource):
            return frozenset()
        ours = (self.names.ours(name) for name in source.names() if source.kind(name) == "F32")
        return frozenset(name for name in ours if name and name.endswith("norm.weight"))

    @property
    def has_tokenizer(self) -> bool:
        """Whether a vocabulary comes along."""
        if isinstance(self.source, GgufSource):
            return "tokenizer.ggml.tokens" in self.source.metadata
        return any((self.folder / file).is_file() for file in FILES.values())


def open_checkpoint(path: Path, preset: str | Model | None = None) -> Opened:
    """Read what a folder, a .gguf or a .ckpt file says about itself, without its weights. `preset`: see `load_model`.

    Raises `UserError` for files that are damaged, missing or of another kind.
    """
    if torch_ckpt.is_checkpoint(path):
        source, layout = torch_ckpt.TorchCheckpoint(path, preset), None
        spec, names, folder = source.spec, source.table, path if path.is_dir() else path.parent
    elif is_gguf(path):
        source, layout, folder = GgufSource(path), None, path
        spec = gguf_config.read_spec(source)
        names = names_of(spec.family)
    else:
        spec, layout = hf_config.read(path)
        source, folder = Folder(path), path
        if forms := read_forms(layout.config, str(path / "config.json")):
            source, layout = QuantisedFolder(path, forms), None  # its files cannot be given back from plain weights
        names = names_for(spec, source)
    return Opened(spec=spec, source=source, names=names, layout=layout, folder=folder)


@dataclass(frozen=True, kw_only=True)
class Companions:
    """What belongs to a model beside its weights: its vocabulary, its chat template's source, and how it wants to be
    sampled (see `weights.generation`)."""

    tokenizer: Tokenizer | None
    template_text: str | None
    template: ChatTemplate | None  # where the text differs from the built-in layout
    generation: dict[str, Any]


def companions(path: Path) -> Companions:
    """What a folder or a GGUF file holds beside weights. Raises `UserError` for what is damaged."""
    if is_gguf(path) and not torch_ckpt.is_checkpoint(path):
        header = GgufSource(path).header
        vocabulary = read_vocabulary(header)
        defaults = gguf_generation.read_generation(header, vocabulary)
        if vocabulary is None:
            return Companions(tokenizer=None, template_text=None, template=None, generation=defaults)
        tokenizer, text = vocabulary.tokenizer(header.path), vocabulary.template
        template = None if text is None else choose_template(text, tokenizer, vocabulary.tokens())
        return Companions(tokenizer=tokenizer, template_text=text, template=template, generation=defaults)
    defaults = generation.read_generation(path)
    if not any((path / file).exists() for file in FILES.values()):
        return Companions(tokenizer=None, template_text=None, template=None, generation=defaults)
    tokenizer = Tokenizer.load(path)
    return Companions(
        tokenizer=tokenizer,
        template_text=template_text(path),
        template=load_chat_template(path, tokenizer),
        generation=defaults,
    )


def load_model(
    name: str | Path | None = None,
    *,
    dtype: torch.dtype | str = "auto",
    device: torch.device | str = "auto",
    preset: str | Model | None = None,
    place: Place | None = None,
    quant: str | Scheme | None = None,
    packed: bool = False,
    adapter: str | Path | None = None,
) -> Loaded:
    """Load a model by folder, .gguf or .ckpt file, or name (None: the model that ships with the package).

    `dtype` "auto" keeps the file's, except float16: that becomes float32 on a CPU and bfloat16 elsewhere. `device`
    "auto" is CUDA where there is one. Packed tensors are taken apart, into bfloat16 by "auto". `preset` names (or
    is) the model of a gemma_pytorch file whose shapes are not those of a published one. `packed`: for inference only,
    in the layout that the kernels here read fastest, if there are such; what a file holds packed stays as it is.
    `quant` names (or is) a scheme: the same, and its forms instead of the file's. `adapter`: a folder that PEFT or
    `save_lora` wrote; it is added to the matrices as they are read, before they are rounded or packed.
    Raises `UserError` for everything that a person can mend.
    """
    where = choose_device(device)
    wanted = None if quant is None else scheme(quant)
    opened = open_checkpoint(hub.resolve(name), preset)
    notes = [*opened.layout.notes] if opened.layout else []
    if adapter is not None:
        opened = _with_adapter(opened, adapter, notes)
    chosen = choose_dtype(dtype, opened.stored, where, notes, wanted)
    with torch.device("meta"):
        model = Decoder(opened.spec)
    matrices = packing(model, opened.forms, chosen, where, wanted) if packed or wanted else {}
    if matrices and place is None:
        place = _exact_room(opened.exact, chosen, where)
    paired = load_into(
        model, opened.source, device=where, dtype=chosen, names=opened.names, place=place, matrices=matrices
    )
    notes += remarks.rounded(model, opened.source, paired, matrices)
    swap.install(model, matrices)
    notes += _slow(matrices)
    if packed and where.type == "cpu" and chosen == torch.bfloat16 and not swap.has_kernels():
        notes.append(library.describe())
    return Loaded(
        model=model.eval(),
        spec=opened.spec,
        layout=opened.layout,
        folder=opened.folder,
        dtype=chosen,
        device=where,
        notes=tuple(notes),
        left=paired.left,
    )


def load_tower(
    name: str | Path | None = None,
    *,
    dtype: torch.dtype | str = "auto",
    device: torch.device | str = "auto",
    notes: list[str] | None = None,
) -> Tower:
    """The vision tower of a multimodal Hugging Face folder, of an mmproj file, or of the one that lies beside a text
    model in GGUF; no text half is read. `dtype` and `device` as in `load_model`; remarks for people are appended to
    `notes`. Raises `UserError` for everything that a person can mend, and for settings of pictures that are not run.
    """
    notes = [] if notes is None else notes
    where, eyes = choose_device(device), open_eyes(hub.resolve(name), notes)
    tower = eyes.empty()
    chosen = choose_dtype(dtype, eyes.stored, where, notes)
    paired = vision.load_tower_into(tower, eyes, device=where, dtype=chosen)
    notes += remarks.rounded(tower, eyes.source, paired)
    return tower.eval()


def open_eyes(path: Path, notes: list[str] | None = None) -> vision.Eyes:
    """What a folder or a GGUF file says about its vision half, without the weights; of a text model in GGUF, the one
    that lies beside it. Remarks are appended to `notes`. Raises `UserError` where there is none that can be read."""
    if is_gguf(path) and not torch_ckpt.is_checkpoint(path):
        if mmproj.is_projector(GgufSource(path)):
            return mmproj.open_projector(path)
        return mmproj.projector_beside(path, open_checkpoint(path).spec.width)
    opened = open_checkpoint(path)
    eyes = vision.eyes_of(opened.spec, opened.source)
    settings = processor.read_processor(opened.folder)
    processor.check(settings, eyes.vision, opened.folder)
    if notes is not None:
        notes += settings.notes
    return eyes


def sight(opened: Opened) -> Vision | None:
    """How an open checkpoint sees: what its config says, or the vision half beside a GGUF file; None for a text model
    alone."""
    if opened.spec.vision is not None or not isinstance(opened.source, GgufSource):
        return opened.spec.vision
    try:
        return mmproj.projector_beside(opened.folder, opened.spec.width).vision
    except UserError:  # nothing that fits lies there: the text model is whole without it
        return None


def _slow(matrices: dict[str, Matrix]) -> list[str]:
    """A note on forms that the kernels of this machine do not know."""
    forms = {matrix.form for matrix in matrices.values()} - set(native.FORMS)
    return [f"there are no kernels for {form}: torch runs it, many times slower than q8_0" for form in sorted(forms)]


def _with_adapter(opened: Opened, folder: str | Path, notes: list[str]) -> Opened:
    """The checkpoint with an adapter's addends in its matrices; says how many."""
    found = peft.read(folder, opened.spec)
    notes += [f"{len(found.adapter.modules)} matrices have the adapter of {folder} in them", *found.notes]
    return replace(opened, source=adapted(opened.source, opened.names, found.adapter))


def attach_lora(model: Decoder, settings: lora.Lora, generator: torch.Generator) -> lora.Attached:
    """As `lora.attach`, with targets that may be names of transformers ("q_proj") too."""
    targets = tuple(peft.our_target(model.spec.family, target) for target in settings.targets)
    return lora.attach(model, replace(settings, targets=targets), generator)


def load_lora(model: Decoder, folder: str | Path, generator: torch.Generator) -> lora.Attached:
    """Attach the adapter of a folder that PEFT or `save_lora` wrote, to be trained further or merged.

    Raises `UserError` where folder and model do not match one to one.
    """
    return lora.adopt(model, peft.read(folder, model.spec).adapter, generator)


def hold_adapter(adapters: Adapters, name: str, folder: str | Path, spec: Model) -> list[str]:
    """Read the adapter of a folder that PEFT or `save_lora` wrote, to be held beside the weights of a model under a
    name. Returns remarks for people. Raises `UserError` where folder and model do not match one to one, and for a name
    that is empty or taken."""
    found = peft.read(folder, spec)
    adapters.add(name, found.adapter)
    return [f"{name}: {len(found.adapter.modules)} matrices have the adapter of {folder} beside them", *found.notes]


def save_lora(model: Decoder, folder: str | Path, base: str | None = None) -> Path:
    """Write the attached adapter as PEFT does, in a new folder; `base` names the model that it is for."""
    return peft.write(folder, model.spec, lora.adapter_of(model, base))


def _exact_room(exact: frozenset[str], dtype: torch.dtype, device: torch.device) -> Place:
    """Where a packed model's other parameters go: in float32 those that are `exact`."""
    return lambda name, meta: torch.empty(meta.shape, dtype=torch.float32 if name in exact else dtype, device=device)


def packing(
    model: Decoder,
    stored: dict[str, Form],
    dtype: torch.dtype,
    device: torch.device,
    wanted: Scheme | None,
    room: torch.device | str = "cpu",
) -> dict[str, Matrix]:
    """Empty matrices, on `room`, to pack a model's weights into for inference; none where it is to stay plain.

    `stored`: the forms of its files (see `Opened.forms`); `wanted`: a scheme to take instead. Raises `UserError` for a
    scheme where no packed model runs.
    """
    if wanted is not None:
        if device.type != "cpu":
            raise UserError(f"quantised models do not run on {device.type} yet", hint="use --device cpu, or no --quant")
        return swap.empty_matrices(model, wanted, room)
    if dtype != torch.bfloat16 or device.type != "cpu" or not swap.packable(model):
        return {}
    if not stored and not swap.has_kernels():
        return {}
    return swap.empty_matrices(model, SCHEMES["bf16"], room, forms=stored)


def choose_device(device: torch.device | str) -> torch.device:
    """The device meant by a word; "auto" is CUDA where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"no device is called {str(device)!r}", hint="use auto, cpu or cuda") from error
    if chosen.type not in ("cpu", "cuda"):
        raise UserError(f"models do not run on {chosen.type} yet", hint="use auto, cpu or cuda")
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UserError("this machine has no CUDA device that torch can use", hint="use --device cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"there is no {chosen}: this machine has {torch.cuda.device_count()}", hint="use cuda:0")
    return chosen


def choose_dtype(
    wanted: torch.dtype | str,
    stored: torch.dtype,
    device: torch.device,
    notes: list[str],
    quant: Scheme | None = None,
) -> torch.dtype:
    """The dtype to compute in; says in `notes` when it is not the file's although "auto" was asked. `quant`: the scheme
    that the weights are packed by."""
    if quant is not None:
        chosen = torch.bfloat16 if wanted == "auto" else choose_dtype(wanted, stored, device, notes)
        if chosen != torch.bfloat16:
            raise UserError(
                f"a quantised model remembers in bfloat16, not in {remarks.word(chosen)}",
                hint="leave the dtype to it: bfloat16",
            )
        return chosen
    if wanted == "auto":
        if stored == torch.float16:
            chosen = torch.float32 if device.type == "cpu" else torch.bfloat16
            notes.append(f"the file is float16, which Gemma 3 overflows: loaded as {remarks.word(chosen)}")
            return chosen
        return torch.float32 if stored == torch.float64 else stored
    chosen = _DTYPES.get(wanted.removeprefix("torch.").lower()) if isinstance(wanted, str) else wanted
    if chosen == torch.float16:
        raise UserError(NO_FLOAT16.partition(";")[0], hint="use bfloat16, which is as small, or float32")
    if chosen not in (torch.bfloat16, torch.float32):
        raise UserError(f"a model cannot run in {wanted}", hint="use auto, bfloat16 or float32")
    return chosen
