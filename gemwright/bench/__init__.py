"""Measured tables: this project beside its peers, on one machine in one run."""
