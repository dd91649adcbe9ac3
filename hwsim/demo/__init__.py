"""The embedded default: a small network for handwritten digits, and the main job run on it."""
