"""This project as a contestant: the public `load` and `Engine`, as any program would use them.

python -m gemwright.bench.worker
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

import gemwright as gw
from gemwright.bench.protocol import SHORT, crowd_seeds, prompt, serve
from gemwright.engine.engine import Engine
from gemwright.engine.request import Request, Sampling
from gemwright.errors import UserError
from gemwright.nn.decoder import Decoder
from gemwright.ops.matmul import Matrix


class Gemwright:
    """A loaded model with an engine for one sequence and, from the first batch on, an engine for several."""

    def __init__(
        self, path: str, threads: int, context: int, quant: str | None = None, int8_cache: bool = False
    ) -> None:
        """`context`: tokens of the longest single sequence. `quant`: how `load` is to store the matrices. `int8_cache`:
        see `Engine`."""
        torch.set_num_threads(threads)
        more: dict[str, Any] = {} if quant is None else {"quant": quant}
        lm = gw.load(path, context=context, **more)
        self._lm = lm
        self._int8_cache = int8_cache
        self._engine = self._make(context, 1)
        self._batch: Engine | None = None
        self._size = (0, 0)
        self.weights = weight_bytes(lm.model)

    def _request(self, tokens: int, drawn: int | None, seed: int) -> Request:
        ids = prompt(tokens, self._lm.spec.vocab, seed)
        return Request(ids=tuple(ids), sampling=Sampling(max_tokens=drawn, temperature=0, ignore_eos=True))

    def prefill(self, tokens: int, seed: int) -> float:
        """See `protocol.Player`."""
        request = self._request(tokens, 1, seed)
        start = time.perf_counter()
        self._engine.generate(request)
        return time.perf_counter() - start

    def decode(self, tokens: int, context: int, seed: int) -> float:
        """See `protocol.Player`."""
        request = self._request(context, tokens + 1, seed)
        times = [time.perf_counter() for _ in self._engine.stream(request)]
        return times[tokens] - times[0]

    def batch(self, tokens: int, sequences: int, seed: int) -> float:
        """See `protocol.Player`."""
        engine = self._batch_engine(2 * (SHORT + sequences) + tokens, sequences)
        keys = [engine.submit(self._request(SHORT + at, None, seed + at)) for at in range(sequences)]
        started: set[int] = set()
        while len(started) < sequences:
            started |= {event.request for event in engine.step()}
        start = time.perf_counter()
        drawn = sum(len(engine.step()) for _ in range(tokens))
        seconds = time.perf_counter() - start
        for key in keys:
            engine.cancel(key)
        assert drawn == tokens * sequences, "every sequence draws in every step"
        return seconds

    def crowd(self, context: int, tokens: int, sequences: int, seed: int) -> dict[str, float]:
        """See `protocol.Host`."""
        engine = self._batch_engine(context + tokens, sequences)
        requests = [self._request(context, tokens, own) for own in crowd_seeds(sequences, seed)]
        start = last = time.perf_counter()
        for request in requests:
            engine.submit(request)
        steps: list[float] = []  # those after the one in which the last of them began, while all draw
        begun: set[int] = set()
        while engine.busy:
            all_draw = len(begun) == sequences
            events = engine.step()
            now = time.perf_counter()
            if all_draw and len(events) == sequences:
                steps.append(now - last)
            begun |= {event.request for event in events}
            last = now
        if not steps:
            raise UserError("the sequences did not overlap", hint="draw more tokens of each")
        return {"seconds": last - start, "step": sum(steps) / len(steps)}

    def _batch_engine(self, room: int, sequences: int) -> Engine:
        """The engine for batches, with room for that many tokens of each sequence; made when one is asked for."""
        if self._batch is None or self._size != (room, sequences):
            self._batch = self._make(room, sequences)
            self._size = (room, sequences)
        return self._batch

    def _make(self, context: int, sequences: int) -> Engine:
        lm = self._lm
        return Engine(lm.model, lm.tokenizer, context=context, sequences=sequences, int8_cache=self._int8_cache)


def weight_bytes(model: Decoder) -> int:
    """Bytes of all weights as they are held, packed ones included: what drawing a token reads. The table counts once:
    the head reads all of it."""
    held: dict[int, int] = {}
    for module in model.modules():
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        own += [value for value in vars(module).values() if isinstance(value, Tensor)]
        held |= {id(tensor): tensor.nbytes for tensor in own}
        held |= {id(value): value.nbytes for value in vars(module).values() if isinstance(value, Matrix)}
    return sum(held.values())


if __name__ == "__main__":
    serve(Gemwright)
