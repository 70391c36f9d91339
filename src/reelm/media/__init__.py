"""Media files: what they hold, which picture is shown when, their sound and subtitles, and how to write them."""

from reelm.media.content import identity, spool
from reelm.media.limits import Limits
from reelm.media.reader import Reader, open
from reelm.media.sheet import contact_sheet
from reelm.media.write import Written, write_sound, write_video

__all__ = ["Limits", "Reader", "Written", "contact_sheet", "identity", "open", "spool", "write_sound",
           "write_video"]
