"""The handle that `gemwright.load` returns: a model with its tokenizer, ready to answer, to talk and to score."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gemwright.arch.spec import Model
from gemwright.cache.allocate import allocate
from gemwright.engine.chat import Chat
from gemwright.engine.door import check_ids, encode
from gemwright.engine.draft import check_vocabularies
from gemwright.engine.engine import Engine
from gemwright.engine.eyes import Eyes
from gemwright.engine.pictures import Source, placed
from gemwright.engine.request import Completion, Request, Sampling, defaults_of
from gemwright.engine.shelf import DISK_BYTES
from gemwright.engine.speculate import chosen
from gemwright.errors import UserError
from gemwright.image.pan_scan import PAN_SCAN, PanScan
from gemwright.loading import Loaded, companions, hold_adapter, load_model, load_tower
from gemwright.nn.adapters import Adapters
from gemwright.nn.decoder import Decoder
from gemwright.nn.head import Head
from gemwright.ops.span import span
from gemwright.planner import guesses
from gemwright.quant.linear import PackedEmbedding
from gemwright.quant.pack import can_pack, pack
from gemwright.quant.scheme import Scheme
from gemwright.text.template import ChatTemplate
from gemwright.text.tokenizer import Tokenizer
from gemwright.text.turns import render_text, stop_ids
from gemwright.weights.gguf.mmproj import projectors
from gemwright.weights.processor import read_processor
from gemwright.weights.stream import LOSSLESS, VISION

_CHUNK = 512  # tokens that logits and scores run at once


@dataclass(frozen=True, kw_only=True)
class Score:
    """How likely a text is. `logprobs[i]` is the natural log-probability of `ids[i + 1]` after the ids before it."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]

    @property
    def tokens(self) -> int:
        """Tokens that were scored: all but the first."""
        return len(self.logprobs)

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability; infinite where it leaves the numbers."""
        mean = -math.fsum(self.logprobs) / len(self.logprobs)
        return math.exp(mean) if mean < 700 else math.inf


class LM:
    """A language model. Its engine, and the engine's cache, come into being when text is first generated."""

    def __init__(
        self,
        model: Decoder,
        tokenizer: Tokenizer | None = None,
        *,
        template: ChatTemplate | None = None,
        folder: Path | None = None,
        notes: Sequence[str] = (),
        eyes: Eyes | None = None,
        adapters: Adapters | None = None,
        speculate: str = "auto",
        draft: Decoder | None = None,
        **settings: Any,
    ) -> None:
        """`eyes`, `adapters` and `settings` (`context`, `sequences`, `defaults`, `int8_cache`, `reuse` and what else
        there is): see `Engine`. `template`: see `Chat`. `folder`: where the model came from. `notes`: what loading had
        to say. `speculate`, `draft`: see `load`."""
        self.model = model
        self.tokenizer = tokenizer
        self.folder = folder
        self.notes = tuple(notes)
        self.adapters = Adapters(model.spec, model.device) if adapters is None else adapters
        self._template = template
        self._eyes = eyes
        self._guesses = speculate, draft
        self._settings: dict[str, Any] = {"sequences": None, "reuse": 0, **settings}
        self._int8_cache: bool = self._settings.get("int8_cache", False)
        self._engine: Engine | None = None

    @property
    def spec(self) -> Model:
        """What the model is."""
        return self.model.spec

    @property
    def template(self) -> ChatTemplate | None:
        """The checkpoint's own chat layout, where it is not the family's."""
        return self._template

    @property
    def eyes(self) -> Eyes | None:
        """What pictures are seen with; None for a model that only reads."""
        return self._eyes

    @property
    def engine(self) -> Engine:
        """The engine that `generate`, `stream` and chats share."""
        return self.start(self._settings["reuse"])

    def start(self, reuse: int | None) -> Engine:
        """The engine; one that had to be made keeps that many beginnings of prompts (see `Engine`)."""
        if self._engine is None:
            speculate, draft = self._guesses
            beside = {"eyes": self._eyes, "adapters": self.adapters, "speculate": chosen(speculate, self.model, draft)}
            self._engine = Engine(self.model, self.tokenizer, **{**self._settings, **beside, "reuse": reuse})
        return self._engine

    def add_adapter(self, name: str, folder: str | Path) -> None:
        """Holds one more adapter, of a folder that PEFT wrote, for requests to name; `adapters.remove` gives it up.
        Raises `UserError` where it does not fit the model, and for a name that is empty or taken."""
        self.notes = (*self.notes, *hold_adapter(self.adapters, name, folder, self.spec))

    # ------------------------------------------------------------------------------------------------------ drawing

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling | None = None,
        *,
        images: Sequence[Source] = (),
        pan_scan: bool | None = None,
        adapter: str | None = None,
    ) -> Completion:
        """Goes on from a prompt: text (`<bos>` is put before it) or ids (taken as they are).

        `images`: pictures for a text, each a path, the bytes of a file, a Pillow image or a uint8 array `[H, W, 3]`.
        They stand before the text, or where it says `<start_of_image>`, once for each. `pan_scan`: wide and tall ones
        are shown whole and in crops (None: if the model's makers want it). `adapter`: the name of one that is held.

        Raises `UserError` for an empty prompt, one longer than the context, an id that the model does not have, a
        picture that cannot be read, for any picture where the model sees none, and for an unknown adapter.
        """
        request = self.request(prompt, sampling, images=images, pan_scan=pan_scan, adapter=adapter)
        return self.engine.generate(request)

    def stream(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling | None = None,
        *,
        images: Sequence[Source] = (),
        pan_scan: bool | None = None,
        adapter: str | None = None,
    ) -> Iterator[str]:
        """The same in parts, as they come. Joined, they are the completion's text."""
        request = self.request(prompt, sampling, images=images, pan_scan=pan_scan, adapter=adapter)
        yield from (event.text for event in self.engine.stream(request) if event.text)

    def chat(self, system: str | None = None, sampling: Sampling | None = None, *, adapter: str | None = None) -> Chat:
        """A new conversation. Raises `UserError` for a model without a tokenizer and for an unknown adapter."""
        return Chat(self.engine, system=system, sampling=sampling, template=self._template, adapter=adapter)

    def restore(self, path: str | Path, sampling: Sampling | None = None, *, adapter: str | None = None) -> Chat:
        """The conversation that `Chat.save` wrote, as it was left: what the cache remembered is not read again. Raises
        and warns as `Chat.open`."""
        chat = self.chat(sampling=sampling, adapter=adapter)
        chat.open(path)
        return chat

    def request(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling | None = None,
        *,
        images: Sequence[Source] = (),
        pan_scan: bool | None = None,
        adapter: str | None = None,
    ) -> Request:
        """What `generate` asks of the engine. Raises as it does for pictures and for text without a tokenizer."""
        sampling = sampling or Sampling()
        if not images:
            return Request(ids=self.engine.encode(prompt), sampling=sampling, adapter=adapter)
        eyes = self.engine.eyes
        shown = [eyes.show(image, pan_scan=pan_scan) for image in images]
        if not isinstance(prompt, str):
            raise UserError("pictures need a prompt that is text", hint="or place them: Request(ids=…, images=…)")
        if self.tokenizer is None:
            raise UserError("this model has no tokenizer", hint="give token ids, and Request(ids=…, images=…)")
        found = render_text(prompt, shown, self.tokenizer, eyes.soft)
        shown_at = placed(found.images, eyes.soft)
        return Request(ids=tuple(found.ids), sampling=sampling, images=shown_at, adapter=adapter)

    # ------------------------------------------------------------------------------------------------------ scoring

    def logits(self, ids: Sequence[int], *, adapter: str | None = None) -> Tensor:
        """float32 `[N, V]`, row i the logits of the token after `ids[i]`. Ids are taken as they are. `adapter`: the
        name of one that is held.

        Runs in chunks, so that only the result is large. Raises `UserError` for no ids, more than the model was made
        for, ids out of range, or an unknown adapter.
        """
        ids = self._checked(ids)
        if self.spec.context is not None and len(ids) > self.spec.context:
            raise UserError(
                f"{len(ids)} tokens are more than the {self.spec.context} that {self.spec.name} was made for",
                hint="give fewer ids",
            )
        logits = torch.empty(len(ids), self.spec.vocab)

        def work(begin: int, hidden: Tensor, head: Head) -> Tensor:
            logits[begin : begin + len(hidden)] = head.logits(hidden)
            return hidden[:0]

        self._read(ids, work, adapter)
        return logits

    def score(
        self,
        text: str | Sequence[int],
        window: int | None = None,
        stride: int | None = None,
        *,
        adapter: str | None = None,
    ) -> Score:
        """Log-probability of every token but the first.

        A text longer than `window` tokens (default: the model's context) is read in windows that begin `stride` tokens
        apart (default: half a window); each scores what the one before did not, so every token but those of the first
        window has at least `window - stride` tokens before it. If the text begins with `<bos>`, every window does.
        `adapter`: the name of one that is held. Raises `UserError` for fewer than two tokens and an unknown adapter.
        """
        ids = self._checked(text)
        if len(ids) < 2:
            raise UserError("one token has nothing before it to be scored by", hint="give a longer text")
        window = (self.spec.context or len(ids)) if window is None else window
        stride = max(1, window // 2) if stride is None else stride
        lead = ids[:1] if self.tokenizer and ids[0] == self.tokenizer.bos else []
        if window < 2 + len(lead) or not 1 <= stride < window - len(lead):
            raise UserError(
                f"a window of {window} tokens cannot move by {stride}", hint="give 1 ≤ stride < window, window ≥ 3"
            )
        logprobs = self._score(ids[: min(window, len(ids))], 1, adapter)
        while (done := len(logprobs) + 1) < len(ids):
            end = min(done + stride, len(ids))
            begin = end - (window - len(lead))
            logprobs += self._score(lead + ids[begin:end], len(lead) + done - begin, adapter)
        return Score(ids=tuple(ids), logprobs=tuple(logprobs))

    def _score(self, ids: list[int], first: int, adapter: str | None) -> list[float]:
        """Log-probabilities of `ids[first:]`."""

        def work(begin: int, hidden: Tensor, head: Head) -> Tensor:
            # Row i of the chunk foretells ids[begin + i + 1].
            skip = max(0, first - 1 - begin)
            targets = ids[begin + skip + 1 : begin + len(hidden) + 1]
            if not targets:
                return hidden.new_empty(0, dtype=torch.float32)
            rows = hidden[skip : skip + len(targets)]
            return head.log_probs(rows, torch.tensor(targets, dtype=torch.int64, device=hidden.device))

        return torch.cat(self._read(ids, work, adapter)).tolist()

    def _checked(self, prompt: str | Sequence[int]) -> list[int]:
        ids = list(encode(prompt, self.tokenizer))
        check_ids(ids, self.spec.vocab)
        return ids

    def _read(self, ids: list[int], work: Callable[[int, Tensor, Head], Tensor], adapter: str | None) -> list[Tensor]:
        """Runs one sequence in chunks; `work(begin, hidden [n, D], head)` makes of each chunk what is kept."""
        model, held = self.model, self.adapters.find(adapter)
        parts: list[Tensor] = []
        memory = handle = None
        if len(ids) > _CHUNK or self._int8_cache:  # what is remembered in bytes is read so from the first token on
            place = {"dtype": model.dtype, "device": model.device}
            memory = allocate(self.spec, sequences=1, tokens=len(ids), int8=self._int8_cache, **place)
            handle = memory.open()
        with torch.no_grad():
            for begin in range(0, len(ids), _CHUNK):
                tokens = torch.tensor(ids[begin : begin + _CHUNK], dtype=torch.int64, device=model.device)
                step = memory.prepare([handle], [len(tokens)]) if memory is not None and handle is not None else None
                where = step.span if step is not None else span([len(tokens)], device=model.device)

                def use(hidden: Tensor, head: Head, begin: int = begin) -> Tensor:
                    return work(begin, hidden, head)

                rows = self.adapters.chosen([held], [len(tokens)])
                parts.append(self.model(tokens, where, memory=step, use=use, adapters=rows))
                if step is not None:
                    step.commit()
        return parts


def load(
    name: str | Path | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    context: int | None = None,
    quant: str | Scheme | None = None,
    int8_cache: bool = False,
    adapter: str | Path | None = None,
    sequences: int | None = None,
    reuse: int | None = 0,
    adapters: Mapping[str, str | Path] | None = None,
    speculate: str = "auto",
    draft: str | Path | None = None,
    reuse_bytes: int | None = None,
    disk: str | Path | None = None,
    disk_bytes: int = DISK_BYTES,
) -> LM:
    """Loads a model: a folder, a .gguf file, a name in the Hugging Face cache, or (None, "pocket") the embedded model.

    `context`: tokens that a conversation may have (default: what the model was made for); it sizes the cache. `quant`:
    a scheme that rounds the weights on the way in (`quant.scheme.SCHEMES`); default: as the files have them. `adapter`:
    a folder that PEFT wrote, added to the weights before they are rounded; `adapters`: such folders by names, which
    stay beside the weights, for each request to choose one. `reuse`: beginnings of prompts that are kept in the cache,
    so that a later prompt that begins alike reads only what is new (None: 8, if memory allows); `reuse_bytes`: what
    they may keep together. `disk`: a folder for those that leave the cache, which later processes find again;
    `disk_bytes`: what it may hold. `sequences`: requests and idle conversations that share the cache (None: 4, fewer
    where memory is short).

    `speculate`: run ahead what may come next, and keep what comes true. "lookup" guesses from the text so far; "off"
    never; "auto" looks up where that cannot change a text, on the native kernels: it costs microseconds a token, and
    runs a guess only where measured times say that it gains. `draft`: a smaller model of the same tokenizer, named as
    `name`, that guesses instead.

    A folder without tokenizer files gives a model that takes ids. Its `notes` tell what loading rounded and what it
    left in the files. Raises `UserError` for whatever is wrong with the files, for an unknown scheme, and for a draft
    model of another tokenizer.
    """
    guesses.check(speculate)
    loaded = _packed(load_model(name, dtype=dtype, device=device, quant=quant, packed=True, adapter=adapter))
    folder = loaded.folder
    eyes = _eyes(folder, loaded.spec, dtype, loaded.device)
    expected = LOSSLESS if eyes is None else (*LOSSLESS, VISION)  # which eyes read when the first picture comes
    left = [
        f"{len(names)} tensors stay in the file: {why}" for why, names in loaded.left.items() if why not in expected
    ]
    beside = companions(folder)
    tokenizer, generation = beside.tokenizer, beside.generation
    given = generation.get("eos_token_id", ())
    ends = stop_ids(tokenizer, given) if tokenizer is not None else given
    lm = LM(
        loaded.model,
        tokenizer,
        context=context,
        defaults=defaults_of(generation, ends),
        template=beside.template,
        folder=folder,
        notes=(*loaded.notes, *left),
        int8_cache=int8_cache,
        eyes=eyes,
        sequences=sequences,
        reuse=reuse,
        speculate=speculate,
        draft=None if draft is None else _draft(draft, tokenizer, dtype, device),
        reuse_bytes=reuse_bytes,
        disk=disk,
        disk_bytes=disk_bytes,
    )
    for called, where in (adapters or {}).items():
        lm.add_adapter(called, where)
    return lm


def _packed(loaded: Loaded) -> Loaded:
    """A model as it runs fastest here."""
    if not isinstance(loaded.model.embed, PackedEmbedding) and can_pack(loaded.model):
        pack(loaded.model)
    return loaded


def _draft(
    name: str | Path, tokenizer: Tokenizer | None, dtype: str | torch.dtype, device: str | torch.device
) -> Decoder:
    """A model that guesses for one with this tokenizer."""
    loaded = _packed(load_model(name, dtype=dtype, device=device, packed=True))
    check_vocabularies(tokenizer, companions(loaded.folder).tokenizer)
    return loaded.model


def _eyes(folder: Path, spec: Model, dtype: str | torch.dtype, device: torch.device) -> Eyes | None:
    """What the model of a folder or a GGUF file sees with; None for a text model."""
    if spec.vision is None and not (folder.is_file() and projectors(folder)):
        return None

    def rule() -> tuple[PanScan, bool]:
        if not folder.is_dir():
            return PAN_SCAN, False
        found = read_processor(folder)
        return found.rule, found.pan_scan is not None

    return Eyes(lambda: load_tower(folder, dtype=dtype, device=device), rule=rule)
