"""A generated world of pictures, with questions in six languages whose answers can be verified; no torch.

`scene` says what is in a picture, `draw` and `alphabet` draw it, `compose` draws scenes from a seed, `wording` knows
how they are asked about, and `questions` joins these into items.
"""

from gemwright.tasks.pictures.draw import draw, picture
from gemwright.tasks.pictures.questions import SKILL, TASKS, judge, written
from gemwright.tasks.pictures.scene import Scene

__all__ = ["SKILL", "TASKS", "Scene", "draw", "judge", "picture", "written"]
