"""Batches become weights: one loop, driven by a typed `Run`, whatever the objective."""
