"""GGUF files: one file that holds a model's sizes, its tokenizer and its tensors, plain or in blocks."""
