"""What fits in how much memory: the real modules and stores, built on the meta device and counted."""
