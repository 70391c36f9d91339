"""Benchmarks: one file each, found by themselves."""
