"""Modules: one device, no files, no quantisation flags. Parameters stay one per checkpoint tensor."""
