"""Media files: what they hold, which picture is shown when, their sound, and how to write them."""

from reelm.media.limits import Limits
from reelm.media.reader import Reader, open
from reelm.media.sheet import contact_sheet
from reelm.media.write import Written, write_video

__all__ = ["Limits", "Reader", "Written", "contact_sheet", "open", "write_video"]
