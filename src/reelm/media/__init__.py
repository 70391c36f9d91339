"""Media files: what they hold, which picture is shown when, their sound, and how to write them."""

from reelm.media.write import Written, write_video

__all__ = ["Written", "write_video"]
