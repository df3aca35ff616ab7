"""Pictures become pixels: no torch anywhere in this folder.

`decode` reads a file within `limits` and yields a `picture`; `pan_scan` cuts a wide or tall one; `resize` makes the
encoder's square of numbers. Below them, `formats` tells files apart, `header` reads what they declare, `exif` which way
up they are, and `flatten` brings every kind of pixel to RGB.
"""
