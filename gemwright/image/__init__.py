"""Pictures become pixels: decoding with limits, resizing, pan and scan. No torch."""
