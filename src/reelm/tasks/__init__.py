"""Benchmarks. One file is one task: how its annotation files are read, what is asked, how replies are scored."""
