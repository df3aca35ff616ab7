"""Which beginnings are found, and which give way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy
import pytest
from sight import noise

from gemwright.engine.prefix import Prefixes, path, shared, usable
from gemwright.engine.request import PromptImage
from gemwright.image.picture import picture

CAT, DOG = (picture(noise(seed), "") for seed in (1, 2))
LONG = list(range(100))
Pictures = Sequence[PromptImage]


def image(first: int, which: object = CAT, count: int = 5) -> PromptImage:
    return PromptImage(first=first, count=count, picture=which)  # type: ignore[arg-type]


class Memory:
    """Snapshots are names; a name's tokens can be taken back up to `slack`."""

    def __init__(self, most: int, slack: int = 2) -> None:
        self.freed: list[str] = []
        self.prefixes = Prefixes(most, back=lambda _, count: count <= slack, free=self.freed.append)

    def add(self, name: str, ids: list[int], *, turn: bool = False) -> None:
        self.prefixes.add(name, path(ids, ()), turn=turn)

    def find(self, ids: list[int]) -> tuple[str, int]:
        return self.prefixes.find(path(ids, ()))


def test_paths_tell_pictures_apart_whose_ids_are_alike() -> None:
    ids = [2, 5, *[9] * 5, 6]
    cat, again, dog, text = (path(ids, images) for images in ([image(2)], [image(2)], [image(2, DOG)], []))
    assert shared(cat, again) == 8
    assert shared(cat, dog) == shared(cat, text) == 2
    assert (cat[2:7] < 0).all() and numpy.array_equal(cat[[0, 1, 7]], [2, 5, 6])


def saved(ids: list[int], known: Pictures, prompt: list[int], images: Pictures) -> int:
    return usable(path(ids, known), path(prompt, images), (*known, *images))


@pytest.mark.parametrize(
    ("images", "count"),
    [
        ((image(2, count=4), image(7, DOG, count=4)), 12),
        ((image(2, count=4), image(7, count=4)), 7),  # another second picture
        ((image(2, DOG, count=4), image(7, count=4)), 2),  # another first one
        ((image(2, count=4),), 7),  # the second place is text now
        ((), 2),
        ((image(2, count=3), image(7, DOG, count=4)), 2),
        ((image(2, count=4), image(7, DOG, count=4), image(12, count=4)), 12),
    ],
)
def test_pictures_count_where_ids_are_alike(images: Pictures, count: int) -> None:
    ids = [2, 5, 9, 9, 9, 9, 6, 9, 9, 9, 9, 7]  # pictures at 2 and at 7
    assert saved(ids, (image(2, count=4), image(7, DOG, count=4)), [*ids, 9, 9, 9, 9, 8], images) == count


def test_a_picture_where_text_of_equal_ids_was_is_read_anew() -> None:
    ids = [2, 5, 9, 9, 9, 9, 6]
    assert saved(ids, (), [*ids, 8], [image(2, count=4)]) == 2


def test_no_picture_is_saved_in_part() -> None:
    """Its last token is the prompt's last one, which must be run again."""
    cat = (image(1, count=4),)
    assert saved([2, 9, 9, 9, 9], cat, [2, 9, 9, 9, 9], cat) == 1
    assert saved([2, 9, 9, 9, 9, 3], cat, [2, 9, 9, 9, 9, 3], cat) == 5


def test_of_plain_prompts_their_beginning_is_saved_but_for_the_last_token() -> None:
    assert saved([1, 2, 3], (), [1, 2, 4, 5], ()) == 2
    assert saved([1, 2, 3], (), [1, 2, 3], ()) == 2
    assert saved([], (), [1], ()) == 0


def test_nothing_is_saved_under_another_adapter() -> None:
    one, other, none = (path([1, 2, 3], (), adapter) for adapter in ("one", "other", ""))
    assert usable(one, path([1, 2, 3, 4], (), "one")) == 3
    assert usable(one, other) == usable(one, none) == usable(none, one) == 0


def test_the_path_of_no_token_is_empty_under_an_adapter_too() -> None:
    assert len(path([], (), "one")) == 0


@pytest.mark.parametrize(("ids", "found"), [(LONG, ("c", 60)), (LONG[:60], ("c", 59)), (LONG[:40], ("b", 30))])
def test_the_longest_usable_beginning_is_found(ids: list[int], found: tuple[str, int]) -> None:
    """The last token is left to run; further back than the slack nothing goes."""
    memory = Memory(most=4)
    for name, end in (("a", 10), ("c", 60), ("b", 30)):
        memory.add(name, LONG[:end])
    assert memory.find(ids) == found


def test_nothing_is_found_for_a_prompt_that_begins_otherwise() -> None:
    memory = Memory(most=4)
    memory.add("a", LONG[:50])
    assert memory.find([7, *LONG]) == (None, 0)


def test_no_picture_is_cut() -> None:
    """All but the last token of the picture is known: its first is where to go on, if the slack lets it."""
    ids, images = [2, 5, *[9] * 5], (image(2),)
    for slack, most in ((4, 0), (5, 2)):
        prefixes = Prefixes(2, back=lambda _, count, slack=slack: count <= slack, free=lambda _: None)
        prefixes.add("a", path(ids, images), turn=True)
        assert prefixes.find(path(ids, images), images)[1] == most


def test_the_same_tokens_are_kept_once() -> None:
    memory = Memory(most=4)
    memory.add("a", LONG[:50])
    memory.add("b", LONG[:50])
    assert memory.freed == ["b"] and memory.prefixes.handles == ["a"]


def test_what_saves_least_given_the_others_gives_way() -> None:
    """80 stands in for 82 within the slack; 50 saves 30 tokens more than 20."""
    memory = Memory(most=3)
    for name, end in (("a", 20), ("b", 50), ("c", 80)):
        memory.add(name, LONG[:end])
    memory.add("d", LONG[:55])
    assert memory.freed == ["d"]  # 5 tokens more than b
    memory.add("e", [7] * 25)
    assert memory.freed == ["d", "a"]


def test_an_old_beginning_gives_way_to_a_newer_one_that_saves_less() -> None:
    memory = Memory(most=1)
    memory.add("old", LONG[:50])
    for _ in range(3):
        memory.find([7, 8, 9])
    memory.add("new", [7] * 25)
    assert memory.freed == ["old"]


def test_one_that_is_used_stays() -> None:
    memory = Memory(most=1)
    memory.add("old", LONG[:50])
    for _ in range(3):
        memory.find(LONG)
    memory.add("new", [7] * 25)
    assert memory.freed == ["new"]


def test_the_end_of_a_turn_counts_more_than_a_longer_middle() -> None:
    memory = Memory(most=1)
    memory.add("turn", LONG[:20], turn=True)
    memory.add("middle", [7] * 100)
    assert memory.freed == ["middle"]


def test_clearing_frees_all_and_dropping_frees_one() -> None:
    memory = Memory(most=3)
    assert not memory.prefixes.drop()
    for name, end in (("a", 20), ("b", 50), ("c", 80)):
        memory.add(name, LONG[:end])
    assert memory.prefixes.drop() and memory.freed == ["a"]
    memory.prefixes.clear()
    assert sorted(memory.freed) == ["a", "b", "c"] and len(memory.prefixes) == 0


def test_what_a_request_waits_for_gives_way_last_until_it_ends() -> None:
    memory = Memory(most=2)
    memory.prefixes.add("waits", path(LONG[:10], ()), turn=True, awaited=True)
    memory.add("a", [7] * 90, turn=True)
    memory.add("b", [8] * 80, turn=True)
    assert memory.freed == ["b"]
    memory.prefixes.end(path(LONG[:12], ()))  # it has drawn two tokens more
    memory.add("b", [8] * 80, turn=True)
    assert memory.freed == ["b", "waits"]


def test_what_gives_way_is_heard_of_before_it_is_freed() -> None:
    told: list[str] = []
    prefixes = Prefixes(
        1,
        back=lambda *_: True,
        free=lambda one: told.append(f"{one} freed"),
        last=lambda kept: told.append(kept.handle),
    )
    prefixes.add("a", path(LONG[:9], ()), turn=True)
    prefixes.add("b", path([7] * 50, ()), turn=True)
    prefixes.clear()
    assert told == ["a", "a freed", "b freed"]


def test_no_more_is_kept_than_has_room() -> None:
    freed: list[str] = []
    prefixes = Prefixes(9, back=lambda *_: False, free=freed.append, fits=lambda handles: len(handles) <= 2)
    for name, end in (("a", 20), ("b", 50), ("c", 80)):
        prefixes.add(name, path([end] * end, ()), turn=False)
    assert freed == ["a"] and len(prefixes) == 2
