"""Camera poses recovered from a video alone."""
