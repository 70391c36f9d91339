"""UCF-Crime as multiple choice: which of 13 crimes a video of a surveillance camera shows, or none.

Lists of videos (Anomaly_Train.txt, Anomaly_Test.txt, train_001.txt, …), a line each: CLASS/NAME.mp4; and the temporal
annotation of the test videos: NAME.mp4  CLASS  start end  start end, in frames, -1 where there is none. The letters are
the same in every record.
"""

from __future__ import annotations

from pathlib import Path

from reelm.data.convert.entries import Entries, Format, Left, Work, lettered, lines, told

#: What the published classes are called in the question, in the order of their letters.
CLASSES = {
    "Abuse": "Abuse", "Arrest": "Arrest", "Arson": "Arson", "Assault": "Assault", "Burglary": "Burglary",
    "Explosion": "Explosion", "Fighting": "Fighting", "RoadAccidents": "Road accident", "Robbery": "Robbery",
    "Shooting": "Shooting", "Shoplifting": "Shoplifting", "Stealing": "Stealing", "Vandalism": "Vandalism",
    "Normal": "Nothing unusual"}
#: Folders of videos in which nothing happens.
_NORMAL = {"Training_Normal_Videos_Anomaly", "Training-Normal-Videos", "Testing_Normal_Videos_Anomaly",
           "Normal_Videos_event", "Normal_Videos_for_Event_Recognition", "Normal"}
ASK = "A surveillance camera recorded this. What does it show?"


def entries(path: Path) -> Entries:
    """(video, class, whether frames are given)."""
    for number, line in lines(path):
        words = line.split()
        if len(words) == 1 and "/" in line:
            yield number, (line, line.split("/")[-2], False)
        elif len(words) == 6:
            yield number, (words[0], words[1], words[2] != "-1")
        else:
            yield number, Left("cannot be read", line[:200])


def class_of(video: str, given: str) -> str:
    """The key in `CLASSES` of a video listed under `given`. Raises: Left."""
    name = "Normal" if given in _NORMAL else given
    if name not in CLASSES:
        raise Left("an unknown class", f"{given} of {video}")
    return name


def record(entry: tuple[str, str, bool], work: Work) -> dict[str, object]:
    video, given, framed = entry
    name = class_of(video, given)
    work.notes["frames of the event not used: the question is about the whole video"] += framed
    turn = lettered(ASK, list(CLASSES.values()), list(CLASSES).index(name))
    return {"id": Path(video).stem} | told("video", work.find(video, "video"), [turn])


FORMAT = Format("Anomaly_Train.txt, Anomaly_Test.txt or Temporal_Anomaly_Annotation.txt: 13 crimes and none, by letter",
                "UCF-Crime, arXiv:1801.04264; AnomalyDetectionCVPR2018", record, entries)
