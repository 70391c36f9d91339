"""Measuring quality: runs, scores, intervals."""
