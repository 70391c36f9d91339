"""The ten families of part. One file is one part: class, Config, registration line, source."""
