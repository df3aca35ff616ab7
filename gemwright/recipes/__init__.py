"""One function per run: each returns a typed `Run`, and says what becomes of the trained model."""
