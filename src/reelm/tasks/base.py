"""What every benchmark is: items to ask about, a way to ask, a way to score; found by itself, like a part.

A task lives in `reelm/tasks/<name>.py`, or in another package under the entry-point group `reelm.tasks`. Nothing here
opens a medium or loads torch, so tasks can be listed and their data checked before a model is thought of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, TypeVar

from reelm.errors import UsageError
from reelm.registry import discover
from reelm.types import Clip, Image, Message, Part


@dataclass(frozen=True)
class Item:
    """One question of a benchmark.

    `id`: unique within the task. `video`: what it is about; items of one video are not independent, so intervals are
    clustered by it. `media`: clips and pictures, not opened yet. `text`: the whole prompt. `options`: the choices,
    without letters; empty for an open question. `answer`: what is right (the letter of a choice, else the words); ""
    where only a server knows it. `facts`: what a result may be split by (category, length), or a scorer needs.
    """

    id: str
    video: str
    media: tuple[Clip | Image, ...]
    text: str
    options: tuple[str, ...] = ()
    answer: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    def blind(self) -> Item:
        """The same question without its media: what can be guessed from the words alone."""
        return replace(self, media=())


@dataclass(frozen=True)
class Scored:
    """An item with a reply to it and what the task made of that reply."""

    item: Item
    reply: str
    scores: Mapping[str, float]


#: Told how many of how many files are made.
Tell = Callable[[int, int], object]


@dataclass(frozen=True)
class Wish:
    """What a generated benchmark is to be made of.

    `each`: questions (or pairs) of every kind, None for as many as the task thinks right. `clips`, `needles`: folders
    of one's own videos and pictures, for the tasks whose `takes` names them.
    """

    seed: int = 0
    each: int | None = None
    clips: Path | None = None
    needles: Path | None = None


@dataclass(frozen=True)
class Made:
    """A generated benchmark: `root` is what `items` reads, `notes` what there is to say about its making."""

    root: Path
    videos: int
    notes: tuple[str, ...] = ()


class Task(ABC):
    """A benchmark.

    `headline`: the score that stands for the task. `splits`: the facts by which results are split. `judged`: whether a
    judge's verdict is needed; then `verdict_prompt` and `read_verdict` take the place of `score`.
    `answers_with_server`: whether the right answers are not in the data set, but with a server that takes `submission`.
    A task with a `make` of its own is generated and needs no data set; `takes`: the folders of a `Wish` it is made of.
    """

    name: ClassVar[str] = ""
    headline: ClassVar[str] = "accuracy"
    splits: ClassVar[tuple[str, ...]] = ()
    judged: ClassVar[bool] = False
    answers_with_server: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def items(self, root: Path) -> Iterator[Item]:
        """The items of the data set in the folder `root`, in the order of its files.

        Media need not be there: `missing` says which are not. Raises: UsageError if an annotation file is absent or is
        not of the official form, with the file and the entry.
        """

    @abstractmethod
    def annotations(self, root: Path) -> tuple[Path, ...]:
        """The files that `items` reads besides media; their checksums belong to a result."""

    @abstractmethod
    def chance(self, item: Item) -> float:
        """The expected headline score of a guess that sees nothing: 1 / options, or 0 where guessing is hopeless."""

    def make(self, out: Path, wish: Wish, tell: Tell = lambda done, total: None) -> Made:
        """Makes the data in a new folder inside `out`, or finds it there; what was interrupted goes on.

        The same wish gives the same files, byte for byte.
        """
        raise UsageError(f"task {self.name!r} is not generated", remedy="Give its data set: --data DIR")

    @property
    def generated(self) -> bool:
        """Whether the data can be made here."""
        return type(self).make is not Task.make

    def ask(self, item: Item) -> tuple[Part, ...]:
        """What goes to the model: the media in their order, then the text."""
        return (*item.media, item.text)

    def score(self, item: Item, text: str) -> dict[str, float]:
        """Scores of the reply `text`; a score that is absent leaves the item out of that mean."""
        raise UsageError(f"task {self.name!r} is scored by a judge", remedy="Use verdict_prompt and read_verdict")

    def verdict_prompt(self, item: Item, text: str) -> tuple[Message, ...]:
        """What a judge is asked about the reply `text`."""
        raise UsageError(f"task {self.name!r} needs no judge", remedy="Use score")

    def read_verdict(self, reply: str) -> dict[str, float]:
        """The scores in a judge's reply. Raises: ReelmError if it is not of the demanded form."""
        raise UsageError(f"task {self.name!r} needs no judge", remedy="Use score")

    def oracle(self, item: Item) -> str:
        """A reply that is entirely right, for the control that must reach the top; "" where nobody here knows it."""
        return item.answer

    def rotations(self, item: Item) -> tuple[Item, ...]:
        """The item with every option in every place once, itself first; alone where there is nothing to rotate."""
        return (item,)

    def summary(self, rows: Sequence[Scored]) -> dict[str, float]:
        """Figures that are not plain means over items, by name; most tasks have none."""
        return {}

    def submission(self, rows: Sequence[Scored], folder: Path) -> tuple[Path, ...]:
        """Writes the files an evaluation server wants into `folder`; most tasks have none."""
        return ()

    def missing(self, root: Path) -> list[str]:
        """Every medium the items name that is not on the disk, once each, in order."""
        clips = (part for item in self.items(root) for part in item.media if isinstance(part, Clip))
        paths = dict.fromkeys(clip.source for clip in clips if isinstance(clip.source, str | Path))
        return [str(path) for path in paths if not str(path).startswith("data:") and not Path(path).exists()]


_tasks: dict[str, type[Task]] = {}
T = TypeVar("T", bound=type[Task])


def task(name: str) -> Callable[[T], T]:
    """Registers a class as the task `name`. Raises: UsageError when another class already has this name."""

    def register(cls: T) -> T:
        known = _tasks.setdefault(name, cls)
        if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise UsageError(f"task {name!r} is already {known.__module__}.{known.__qualname__}")
        cls.name = name
        return cls

    return register


def tasks() -> dict[str, type[Task]]:
    """Every registered task by name, sorted."""
    discover("reelm.tasks")
    return dict(sorted(_tasks.items()))


def find(name: str) -> Task:
    """The task called `name`. Raises: UsageError that lists the known ones."""
    known = tasks()
    if name not in known:
        raise UsageError(f"no task {name!r}", remedy=f"Known: {', '.join(known) or 'none'}")
    return known[name]()
