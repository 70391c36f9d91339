"""Training samples: a record becomes the tensors that `ReelmModel.forward` takes, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from reelm.data.collate import MEDIA, QUESTIONS, REPLIES, Bad
from reelm.data.records import Record, examined
from reelm.data.rows import RecordError, file_of, is_shards
from reelm.data.shards import Shards
from reelm.errors import BudgetError, ReelmError, UsageError
from reelm.model.processing import ReelmProcessor
from reelm.model.sensing import Choice, Senses
from reelm.parts.layouts.chat import IGNORED
from reelm.parts.layouts.turns import Cells, Laid, Turn
from reelm.types import Audio, AudioVideo, Clip

#: What a form changes in the layout of the model; None puts another in its place.
FORMS: dict[str, dict[str, Any]] = {"chat": {}, "bare": {"media_alone": True}, "plain": {"kind": "plain"}}
#: The tensors of one medium (see `collate.MEDIA`), made some other way than by decoding it now: from a store.
Prepare = Callable[[Clip], Mapping[str, Any]]


class Samples(Dataset[dict[str, Any] | Bad]):
    """Sample i is record i, laid out and decoded: input_ids, labels, mm_token_type_ids int64 [S], `id`, `notes`, and
    where it has media, pixel_values_videos [T,3,S,S] with video_frames, input_features [K,128] with audio_frames.

    `form`: "chat", as the model is asked later, where what the assistant says learns, closing mark included; "plain",
    the official pre-training on video, media and words without a template, where all words learn; "bare", the official
    pre-training on sound, media alone and then the reply, which learns. A preference gives `chosen` and `rejected`,
    each input_ids, labels (of the reply alone) and mm_token_type_ids, beside the media they share.

    `choice`: frames or fps in place of the model's sampler, and whether the sound of a video is heard. `max_tokens`: a
    longer sample is a bad one; nothing is cut. `prepare`: tensors of a medium from elsewhere, a store.

    A sample that cannot be made raises where `on_bad` is "fail", and is a `Bad` where it is "skip": never another one.
    """

    def __init__(self, records: Sequence[Record] | Shards, processor: ReelmProcessor, *, form: str = "chat",
                 on_bad: Literal["fail", "skip"] = "fail", choice: Choice | None = None, max_tokens: int | None = None,
                 prepare: Prepare | None = None, name: str = "record") -> None:
        if form not in FORMS or on_bad not in ("fail", "skip"):
            raise UsageError(f"form {form!r}, on_bad {on_bad!r}",
                             remedy=f"Forms are {', '.join(FORMS)}; on_bad is fail or skip")
        changes = FORMS[form]
        layout = changes if "kind" in changes else {**processor.layout, **changes}
        self.records, self.on_bad, self.name, self.max_tokens = records, on_bad, name, max_tokens
        self.processor = ReelmProcessor(processor.tokenizer, processor.vision, processor.audio, layout)
        self.choice, self._senses, self._prepare = choice or Choice(), Senses(self.processor), prepare
        #: What stood in the file and never became a record; see `read`.
        self.bad: tuple[Bad, ...] = ()
        self._cells: dict[tuple[str, float, float | None], Cells] = {}
        self._length: dict[int, int] = {}

    @classmethod
    def read(cls, path: str | Path, processor: ReelmProcessor, *, media: str | Path | None = None,
             **settings: Any) -> Samples:
        """The samples of a file of records (see `data.records`).

        Raises: RecordError at the first row that is no record, unless `on_bad` is "skip": it is then listed in `bad`.
        """
        file = file_of(path)
        if is_shards(file):
            if media is not None:
                raise UsageError("shards hold their media", where=str(file), remedy="Leave the folder of media out")
            return cls(Shards(file), processor, **settings)
        found, bad = [], []
        for one in examined(file, media):
            if one.record is not None:
                found.append(one.record)
            else:
                bad += [Bad(-1, said.id, f"{file}:{said.line}", said.said, "RecordError") for said in one.findings]
        if bad and settings.get("on_bad", "fail") == "fail":
            raise RecordError(bad[0].why, where=bad[0].where,
                              remedy="`reelm data check` lists everything that is wrong with the file")
        samples = cls(found, processor, name=str(file), **settings)
        samples.bad = tuple(bad)
        return samples

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, at: int) -> dict[str, Any] | Bad:
        try:
            return self._sample(at)
        except ReelmError as error:
            return self._refused(at, error)

    def length(self, at: int) -> int:
        """Tokens of sample `at`, of a preference's longer reply; 0 for a bad one where they are skipped.

        Cost: the first call opens each file once; a sound is decoded only where its own length decides and its header
        does not settle it.
        """
        if at not in self._length:
            try:
                record = self.records[at]
                laid = self._laid(record, [self._counted(clip) for clip in record.clips])
                self._length[at] = max(len(one.ids) for one in laid.values())
            except ReelmError as error:
                self._refused(at, error)
                self._length[at] = 0
        return self._length[at]

    @property
    def lengths(self) -> LengthsOf:
        """`length` as a sequence, for `order.GlobalBatches`."""
        return LengthsOf(self)

    # --- inside ------------------------------------------------------------------------------------------------

    def _sample(self, at: int) -> dict[str, Any]:
        record = self.records[at]
        made = [self._decoded(clip, kind) if self._prepare is None else dict(self._prepare(clip))
                for clip, kind in zip(record.clips, record.kinds, strict=True)]
        laid = self._laid(record, [self._cells_of(one) for one in made])
        rows = {name: _tensors(one) for name, one in laid.items()}
        for name, row in rows.items():
            if not bool((row["labels"][1:] != IGNORED).any()):
                raise UsageError(f"the {name or 'sample'} has nothing to learn: no token with a label")
        sample: dict[str, Any] = {"id": record.id, "notes": [note for one in made for note in one.pop("notes", ())]}
        sample |= rows.get("", rows)
        for tensor, counts in MEDIA.items():
            given = [one for one in made if tensor in one]
            if given:
                sample[tensor] = torch.cat([one[tensor] for one in given])
                sample[counts] = [int(count) for one in given for count in one[counts]]
        if self.processor.vision is not None and self.processor.way.guided:
            said = [message.words for message in record.messages for part in message.parts if isinstance(part, Clip)]
            sample[QUESTIONS] = [words for words, one in zip(said, made, strict=True) if "video_frames" in one]
        return sample

    def _laid(self, record: Record, cells: Sequence[Cells]) -> dict[str, Laid]:
        """The record laid out: under "", or under `chosen` and `rejected`."""
        places = iter(cells)
        turns = [Turn(message.role, tuple(piece if isinstance(piece, str) else next(places)
                                          for piece in message.parts)) for message in record.messages]
        if record.chosen is None or record.rejected is None:
            laid = {"": self._lay_out(turns)}
        else:
            asked = self._lay_out(turns, labels=False).ids
            laid = {name: _reply_only(self._lay_out([*turns, Turn("assistant", (reply,))]), asked)
                    for name, reply in zip(REPLIES, (record.chosen, record.rejected), strict=True)}
        longest = max(len(one.ids) for one in laid.values())
        if self.max_tokens is not None and longest > self.max_tokens:
            raise BudgetError(f"{longest:,} tokens, at most {self.max_tokens:,} are allowed",
                              remedy="Shorten it, take fewer frames, or raise max_tokens")
        return laid

    def _lay_out(self, turns: Sequence[Turn], labels: bool = True) -> Laid:
        return self.processor.chat_layout.lay_out(self.processor.tokenizer, turns, add_generation_prompt=not labels,
                                                  labels=labels)

    def _decoded(self, clip: Clip, kind: str) -> dict[str, Any]:
        with ExitStack() as stack:
            look = self._senses.look(clip, self.choice, stack)
            medium, notes = self._senses.take_in(look)
            found = look.reader.info().kind
        if kind not in (found, "file"):
            notes.append(f"{clip.name}: the record calls it {kind}, it is {found}")
        made: dict[str, Any] = {"notes": notes}
        frames = medium.frames if isinstance(medium, AudioVideo) else None if isinstance(medium, Audio) else medium
        sound = medium.audio if isinstance(medium, AudioVideo) else medium if isinstance(medium, Audio) else None
        if frames is not None:
            pixels = self.processor.pixels(frames)
            made |= {"pixel_values_videos": pixels, "video_frames": [len(pixels)]}
        if sound is not None:
            bank = self.processor.filter_bank(sound, of_video=frames is not None)
            made |= {"input_features": bank, "audio_frames": [len(bank)]}
        return made

    def _counted(self, clip: Clip) -> Cells:
        """The cells of a medium before it is decoded, exact."""
        key = (str(clip.source), clip.start_s, clip.end_s) if isinstance(clip.source, str | Path) else None
        if key is not None and key in self._cells:
            return self._cells[key]
        with ExitStack() as stack:
            look = self._senses.look(clip, self.choice, stack)
            sure = look.sketch if self._senses.counts_exactly(look) else self._senses.take_in(look)[0]
            cells = Cells(**self.processor.counts(sure))
        if key is not None:
            self._cells[key] = cells  # many records ask about one file
        return cells

    def _cells_of(self, made: Mapping[str, Any]) -> Cells:
        frames, rows = (sum(map(int, made.get(name, ()))) for name in ("video_frames", "audio_frames"))
        return Cells(self.processor.vision_count(frames) if frames else 0,
                     prod(self.processor.audio_grid(rows)) if rows else 0)

    def _refused(self, at: int, error: ReelmError) -> Bad:
        if isinstance(self.records, Shards):
            id, where = self.records.told(at)
        else:
            id, where = self.records[at].id, f"{self.name}:{self.records[at].line}"
        if self.on_bad == "fail":
            inside = f"{error.where}: " if error.where else ""
            raise type(error)(f"{inside}{error.what}", where=f"{where} [{id}]", remedy=error.remedy) from error
        return Bad(at, id, where, str(error), type(error).__name__)


class LengthsOf:
    """The lengths of samples, each asked for when it is read."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, at: int) -> int:
        return self._samples.length(at)


def _tensors(laid: Laid) -> dict[str, Tensor]:
    return {"input_ids": torch.tensor(laid.ids), "labels": torch.tensor(laid.labels),
            "mm_token_type_ids": torch.tensor(laid.kinds)}


def _reply_only(laid: Laid, asked: Sequence[int]) -> Laid:
    """Without the labels of what was said before the reply."""
    same = next((at for at, (a, b) in enumerate(zip(asked, laid.ids, strict=False)) if a != b), len(asked))
    return Laid(laid.ids, laid.kinds, [IGNORED] * same + laid.labels[same:], laid.prefix_len)
