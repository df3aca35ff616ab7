"""Strings to tokens and back, conversations to ids: no torch anywhere in this folder.

`tokenizer` reads a checkpoint's vocabulary, `turns` and `template` render conversations straight to ids, `stream`
turns ids into text as they arrive, `train` makes a new vocabulary, `pieces` holds the family's special pieces.
"""
