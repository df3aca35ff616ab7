"""What a layer remembers: one pooled store for each kind of layer, handles for the sequences that live in them."""
