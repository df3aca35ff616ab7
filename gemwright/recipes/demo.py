"""The picture that ships with the package, for `make demo`: drawn by the picture world, and never trained on."""

from __future__ import annotations

from pathlib import Path

from gemwright.tasks.pictures.scene import Scene, Thing

FILE = Path(__file__).with_suffix(".png")
SCENE = Scene(
    width=320,
    height=240,
    background="white",
    things=(
        Thing(shape="circle", colour="red", size="large", x=80, y=90, radius=44),
        Thing(shape="star", colour="blue", size="large", x=240, y=70, radius=44),
        Thing(shape="heart", colour="green", size="small", x=130, y=190, radius=22),
        Thing(shape="heart", colour="grey", size="small", x=250, y=180, radius=22),
    ),
)
