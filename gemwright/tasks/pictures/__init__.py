"""A generated world of pictures, with questions in six languages whose answers can be verified; no torch.

`questions` is the skill: its tasks and their judge. `scene` says what is in a picture, `draw` and `alphabet` draw it,
`compose` draws scenes from a seed, `wording` knows how they are asked about.
"""
