"""Swaps on a built model: matrices in other forms, in place of the originals."""
