"""Runs a tower ahead of training: every different picture of some texts is encoded once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from gemwright.data.documents import Conversation, Document
from gemwright.data.pictures import Shown
from gemwright.nn.gemma import Tower
from gemwright.train.embeddings import Embeddings, create, facts_of

SHARD = 64  # pictures of a file: what is lost at most where the work is interrupted


@torch.no_grad()
def look(tower: Tower, shown: Shown) -> Tensor:
    """`[tokens, width]` of one picture, in the tower's dtype, whatever autocast is around it. A picture goes through
    the tower alone, so that nothing else decides its last bits: encoded ahead or on the way, it is the same."""
    pixels = torch.from_numpy(shown.pixels(tower.spec.tower.image))
    with torch.autocast(tower.device.type, enabled=False):
        return tower.encode(pixels[None])[0]


def encode(
    entries: Iterable[Document | Conversation],
    tower: Tower,
    folder: str | Path,
    *,
    shard: int = SHARD,
    progress: Callable[[int], None] | None = None,
    note: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> tuple[Embeddings, bool]:
    """Makes or completes the embeddings in `folder`; `shard`: pictures of a file.

    `progress(pictures)` is called after each picture that is encoded; `note` is told what is damaged and made again.
    `stop()` is asked after each picture; a true answer keeps what is done. Returns the embeddings, and whether all of
    the pictures are there. Raises `UserError` where `folder` holds another tower's.
    """
    found = create(folder, facts_of(tower))
    for number in found.damaged():
        found.drop(number)
        if note is not None:
            note(f"shard {number} is damaged; it is made again")
    done: dict[str, Tensor] = {}
    count, stopped = 0, False
    for one in _different(entries):
        if one.sha256 in found:
            continue
        if stopped := bool(stop and stop()):
            break
        done[one.sha256] = look(tower, one)
        count += 1
        if len(done) == shard:
            found.add(list(done), list(done.values()))
            done.clear()
        if progress is not None:
            progress(count)
    if done:
        found.add(list(done), list(done.values()))
    return found, not stopped


def _different(entries: Iterable[Document | Conversation]) -> Iterable[Shown]:
    """What the entries show, each picture once."""
    seen: set[str] = set()
    for entry in entries:
        for message in () if isinstance(entry, Document) else entry.messages:
            for one in message.images:
                if one.sha256 not in seen:
                    seen.add(one.sha256)
                    yield one
