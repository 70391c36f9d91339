"""Compressors: fewer tokens of the same width, before or after the connector."""
