"""Controlled comparisons: the same data, steps and seeds for every arm, small enough for a laptop."""
