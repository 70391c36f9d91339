"""Pure functions that several rooms share: no state, no files, no models."""
