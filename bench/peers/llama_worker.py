"""llama.cpp as a contestant, through the low-level functions of llama-cpp-python.

Ids go in, the likeliest id of each row goes in again: no tokenizer and no sampler costs time. Its matrices are repacked
for the CPU where llama.cpp can, local layers keep their window only, keys and values are float16.
Speaks `gemwright.bench.protocol`, of which it takes the file from this checkout and nothing else of the package.
"""

from __future__ import annotations

import ctypes
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import llama_cpp as c
import numpy

from gemwright.bench.protocol import SHORT, crowd_seeds, prompt, serve

_STEP = 512  # tokens that are computed at once, where nothing else is said


class _Context:
    """One llama.cpp context of some sequences, each of at most `tokens` tokens."""

    def __init__(self, model: Any, *, tokens: int, sequences: int, threads: int, flash: bool, step: int) -> None:
        each = -(-tokens // 256) * 256  # llama.cpp wants whole blocks
        settings = c.llama_context_default_params()
        settings.n_ctx = each * sequences
        settings.n_batch = max(each, step)
        settings.n_ubatch = step
        settings.n_seq_max = sequences
        settings.n_threads = settings.n_threads_batch = threads
        settings.flash_attn_type = 1 if flash else 0
        settings.swa_full = False
        settings.kv_unified = False
        self._context: Any = c.llama_init_from_model(model, settings)
        if not self._context:
            raise MemoryError(f"llama.cpp made no context of {sequences} × {each} tokens")
        self._memory = c.llama_get_memory(self._context)
        self._batch = c.llama_batch_init(settings.n_batch, 0, 1)
        self._vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(model))
        self._lengths = [0] * sequences

    def clear(self) -> None:
        """Forgets all sequences."""
        c.llama_memory_clear(self._memory, False)
        self._lengths = [0] * len(self._lengths)

    def run(self, parts: list[list[int]]) -> list[int]:
        """New ids of each sequence, in one call; the likeliest next id of each that has any."""
        batch, rows, at = self._batch, [], 0
        for sequence, ids in enumerate(parts):
            if not ids:
                continue
            for id in ids:
                batch.token[at] = id
                batch.pos[at] = self._lengths[sequence]
                batch.n_seq_id[at] = 1
                batch.seq_id[at][0] = sequence
                batch.logits[at] = 0
                self._lengths[sequence] += 1
                at += 1
            batch.logits[at - 1] = 1
            rows.append(at - 1)
        batch.n_tokens = at
        if code := c.llama_decode(self._context, batch):
            raise RuntimeError(f"llama_decode gave {code}")
        return [self._likeliest(row) for row in rows]

    def _likeliest(self, row: int) -> int:
        logits = c.llama_get_logits_ith(self._context, row)
        address = ctypes.cast(logits, ctypes.POINTER(ctypes.c_float * self._vocab))
        return int(numpy.frombuffer(address.contents, dtype=numpy.float32).argmax())


class Llama:
    """A GGUF file; flash attention on or off. `step`: tokens that are computed at once."""

    def __init__(self, path: str, threads: int, context: int, flash: bool = True, step: int = _STEP) -> None:
        c.llama_backend_init()
        settings = c.llama_model_default_params()
        settings.use_extra_bufts = True  # repacked matrices
        self._model: Any = c.llama_model_load_from_file(path.encode(), settings)
        if not self._model:
            raise OSError(f"llama.cpp cannot load {path}")
        self._settings = {"threads": threads, "flash": flash, "step": step}
        self._step = step
        self._vocab = c.llama_vocab_n_tokens(c.llama_model_get_vocab(self._model))
        self._single = _Context(self._model, tokens=context, sequences=1, **self._settings)
        self._batch: tuple[tuple[int, int], _Context] | None = None
        self.weights = c.llama_model_size(self._model)

    def _start(self, tokens: int, seed: int) -> list[int]:
        self._single.clear()
        return self._single.run([prompt(tokens, self._vocab, seed)])

    def prefill(self, tokens: int, seed: int) -> float:
        start = time.perf_counter()
        self._start(tokens, seed)
        return time.perf_counter() - start

    def decode(self, tokens: int, context: int, seed: int) -> float:
        last = self._start(context, seed)
        start = time.perf_counter()
        for _ in range(tokens):
            last = self._single.run([last])
        return time.perf_counter() - start

    def batch(self, tokens: int, sequences: int, seed: int) -> float:
        context = self._several(2 * (SHORT + sequences) + tokens, sequences)
        last = context.run([prompt(SHORT + at, self._vocab, seed + at) for at in range(sequences)])
        start = time.perf_counter()
        for _ in range(tokens):
            last = context.run([[id] for id in last])
        return time.perf_counter() - start

    def crowd(self, context: int, tokens: int, sequences: int, seed: int) -> dict[str, float]:
        several = self._several(context + tokens, sequences)
        prompts = [prompt(context, self._vocab, own) for own in crowd_seeds(sequences, seed)]
        together = max(1, self._step // context)  # whole prompts, as many as are computed at once
        start = time.perf_counter()
        last: list[int] = []
        for first in range(0, sequences, together):
            last += several.run([ids if 0 <= at - first < together else [] for at, ids in enumerate(prompts)])
        read = time.perf_counter()
        for _ in range(tokens - 1):
            last = several.run([[id] for id in last])
        end = time.perf_counter()
        return {"seconds": end - start, "step": (end - read) / (tokens - 1)}

    def _several(self, tokens: int, sequences: int) -> _Context:
        """A cleared context for sequences that run together; made when one is asked for."""
        size = (tokens, sequences)
        if self._batch is None or self._batch[0] != size:
            self._batch = size, _Context(self._model, tokens=tokens, sequences=sequences, **self._settings)
        self._batch[1].clear()
        return self._batch[1]


if __name__ == "__main__":
    serve(Llama)
