"""Documents become batches: text is streamed, tokenised once into a mapped file, and packed into flat rows."""
