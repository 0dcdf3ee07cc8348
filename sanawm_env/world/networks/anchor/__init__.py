"""The given image as memory: its depth, warped along each chunk's poses."""
