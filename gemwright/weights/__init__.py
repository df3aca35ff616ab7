"""Files ↔ tensors: checkpoints in every published layout, read into an empty model and written back as they were."""
