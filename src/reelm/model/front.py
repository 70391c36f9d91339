"""The friendly front: `load` a model, then `.answer(Clip("a.mp4"), "What happens?")`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from operator import attrgetter
from typing import Any, Unpack

import torch
from torch import Tensor

from reelm.errors import ReelmError, UsageError
from reelm.media.thumbnail import Thumbnails
from reelm.model import memory
from reelm.model.asking import AnswerStream, Ask, Listener, Options, Prepared, TooLong, asked, conversation
from reelm.model.engine import CANCELLED, Engine, Request
from reelm.model.modeling import ReelmModel
from reelm.model.perceive import joined, perceive
from reelm.model.prefix import Prefix, Shelf
from reelm.model.processing import Plan, ReelmProcessor, Sketch
from reelm.model.sensing import Choice, Clock, Look, Medium, Seen, Senses
from reelm.model.speech import Same, Spoken, Words, asks_for_words, listen
from reelm.model.taps import Taps
from reelm.types import AUDIO, VISION, Answer, Audio, AudioVideo, Clip, Message, Part, Tokens


class VideoLM(Taps):
    """A model with its processor, ready to be asked.

    What was decoded, encoded and prefilled is kept (`keep_bytes` in all, the longest unused goes first), so a second
    question on the same media costs only its own words: `Answer.tokens["reused"]` tells how many positions were not
    computed again. A file that changed is another medium. `wording`: what is asked instead of a bare question about
    media, which stands in it as `{question}`; None for the question itself. After changing weights call `forget()`. One
    thread at a time.
    """

    def __init__(self, model: ReelmModel, processor: ReelmProcessor, name: str = "", keep_bytes: int = 1 << 30,
                 memory_bytes: int | None = None, prompt: str | None = None) -> None:
        self.model, self.processor, self.name = model.eval(), processor, name
        self.engine = Engine(model.language_model, _eos_ids(model, processor), self._decode)
        self.memory_bytes = memory_bytes
        self.wording = prompt
        self._senses = Senses(processor)
        self._shelf: Shelf[Seen | Prefix | Words] = Shelf(keep_bytes)

    @property
    def device(self) -> torch.device:
        return self.engine.device

    @property
    def hears(self) -> bool:
        return self.processor.audio_settings is not None

    @property
    def sees(self) -> bool:
        return self.processor.vision_settings is not None

    def forget(self) -> None:
        """Drops everything kept from earlier questions."""
        self._shelf.clear()

    # --- asking ------------------------------------------------------------------------------------------------

    def answer(self, *parts: Part | Message, stream: Listener | None = None, **options: Unpack[Options]) -> Answer:
        """The model's answer to `parts`: text (str) and media (Clip, Frames, Image, Audio) in any order.

        A conversation is given as `Message`s instead, the last one the user's; `Chat` keeps one and its media.
        `stream` is called with each piece of text as it comes; joined and stripped they are the answer's text. The
        other keyword arguments are those of `Options`. Ctrl-C while the answer is being written ends it: what was said
        comes back with stop "cancelled".

        Raises: UsageError (options that conflict), MediaError, BudgetError (the prompt is longer than the model's
        context), each before anything is generated.
        """
        running = self.stream(*parts, **options)
        try:
            for piece in running:
                if stream is not None:
                    stream(piece)
        except KeyboardInterrupt:
            pass  # the answer so far says "cancelled"
        return running.answer

    def stream(self, *parts: Part | Message, **options: Unpack[Options]) -> AnswerStream:
        """The answer as an iterator of pieces of text, whose `.answer` holds the rest; see `answer`."""
        prepared = self._prepare(parts, Ask(**options))
        return AnswerStream(prepared, self.engine.run([prepared.request]))

    def answer_many(self, items: Iterable[Sequence[Part | Message]], *, max_batch: int = 8,
                    **options: Unpack[Options]) -> list[Answer | ReelmError]:
        """One result per item (a sequence of parts each), in order, answered in batches of up to `max_batch`.

        An item that cannot be answered (a broken file, too long a prompt, logits that are not finite) has its
        ReelmError as its result; the others are not touched by it. Greedy answers equal those of `answer`. Ctrl-C or
        `cancel` keeps what was said so far.

        Raises: UsageError for conflicting options, which would concern every item.
        """
        ask = Ask(**options)
        _ = ask.choice, ask.sampling()
        results: dict[int, Answer | ReelmError] = {}
        running: dict[int, AnswerStream] = {}
        places: list[int] = []  # of the items that became requests, in the order of Event.key
        items = list(items)

        def requests() -> Iterator[Request]:
            for place, parts in enumerate(items):
                try:
                    prepared = self._prepare(parts, ask)
                except ReelmError as error:
                    results[place] = error
                    continue
                running[place] = AnswerStream(prepared, iter(()))
                places.append(place)
                yield prepared.request

        try:
            for event in self.engine.run(requests(), max_batch):
                place = places[event.key]
                if event.error is not None:
                    results[place] = event.error
                    del running[place]
                    continue
                running[place].take(event)
                if event.stop is not None:
                    results[place] = running.pop(place).answer
        except KeyboardInterrupt:
            results |= {place: one.answer for place, one in running.items()}
        not_begun = Answer("", stop=CANCELLED, notes=("interrupted before this item was begun",))
        return [results.get(place, not_begun) for place in range(len(items))]

    # --- looking without asking --------------------------------------------------------------------------------

    def plan(self, *parts: Part | Message, frames: int | None = None, fps: float | None = None, audio: bool = True,
             tokens: int | None = None) -> dict[str, Any]:
        """Token counts of a prompt before anything is decoded: {"text", "vision", "audio", "total", "exact", "media"}.

        Raises: BudgetError, with the smallest change that fits, when the prompt and an answer of usual length need more
        memory than is free (or than `memory_bytes`), or the media more than `tokens`.

        Files are opened to read their index only. Text and vision are exact. Sound in a file is counted by the length
        of the clip; "exact" is False when its track may be shorter and the model's count depends on its length.
        """
        choice = Choice(frames, fps, audio, tokens)
        with ExitStack() as stack:
            turns = conversation(parts)
            looks = self._senses.looks(_media(turns), choice, stack, asked(turns))
            turns = self._posed(turns)
            plan = self._laid_out(turns, looks)
            self._affordable(plan, looks, Ask().max_tokens)
            media = [{"vision": cell.vision, "audio": cell.audio, "frames": look.sketch.frames,
                      "at_s": [] if look.at_s is None else look.at_s.tolist(), "notes": list(look.notes)}
                     for cell, look in zip(plan.cells, looks, strict=True)]
        exact = all(self._senses.counts_exactly(look) for look in looks)
        return {**plan.counts, "total": len(plan.laid.ids), "exact": exact, "media": media}

    def encode(self, medium: Medium, *, frames: int | None = None, fps: float | None = None, audio: bool = True,
               tokens: int | None = None, question: str = "") -> Tokens:
        """The vectors that stand for one medium in the prompt, with their columns: what the language model reads.

        `question` matters to parts that look at it.

        Shapes: x [N,D], vision tokens before audio tokens. Units: `at_s` in seconds from the file's start.
        """
        seen, _ = self._see(conversation([medium]), Choice(frames, fps, audio, tokens), Clock(), question)
        return joined(seen[0].vision, seen[0].audio)

    # --- inside ------------------------------------------------------------------------------------------------

    @property
    def _own_penalty(self) -> float:
        """The repetition penalty of the model's generation defaults; published Qwen2 models were asked with 1.05."""
        return float(getattr(self.model.generation_config, "repetition_penalty", None) or 1.0)

    def _prompt(self, parts: Sequence[Part], choice: Choice, max_tokens: int) -> tuple[Plan, list[Seen], Tensor]:
        turns = conversation(parts)
        seen, plan = self._see(self._posed(turns), choice, Clock(), asked(turns), max_tokens)
        with torch.inference_mode():
            return plan, seen, self._embeds(plan, seen)

    def _affordable(self, plan: Plan, media: Sequence[Look | Seen], max_tokens: int) -> None:
        """Raises BudgetError, with the smallest change that fits, when the question needs more memory than is free."""
        text, item = plan.counts["text"], self.model.get_input_embeddings().weight.element_size()

        beside = memory.reordered(self.model)

        def count(sketches: Sequence[Sketch], tokens: int) -> memory.Need:
            return memory.need(self.model.config, self.processor, sketches, text, tokens, item, beside)

        free = memory.free_bytes(self.device) if self.memory_bytes is None else self.memory_bytes
        memory.afford(count, [one.sketch for one in media], max_tokens, free)

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self.processor.tokenizer.decode(list(ids), skip_special_tokens=True,
                                                   clean_up_tokenization_spaces=False))

    def _prepare(self, parts: Sequence[Part | Message], ask: Ask) -> Prepared:
        if isinstance(parts, str) or not parts:
            raise UsageError("a question needs at least one part", remedy='For example answer(Clip("a.mp4"), "What?")')
        clock = Clock()
        sampling, choice = ask.sampling(self._own_penalty), ask.choice
        question = asked(conversation(parts))
        spoken = self._spoken(conversation(parts), ask, clock)
        while True:
            turns = spoken.turns
            try:
                seen, plan = self._see(turns, choice, clock, question, ask.max_tokens)
                break
            except TooLong:
                if not spoken.shorten():
                    raise
        marks = _marks(plan, seen)
        with clock("prefill"), torch.inference_mode():
            embeds = self._embeds(plan, seen)
            prefix, reused = self._beginning(embeds, marks, self._lasting(turns, plan, seen))
        request = Request(embeds[prefix.length if prefix else 0:], ask.max_tokens, sampling, tuple(ask.stop), prefix,
                          ask.cancel)
        thumbnails = Thumbnails(_media(turns), [one.frames_at_s for one in seen])
        return Prepared(request, seen, {**plan.counts, "reused": reused}, clock, thumbnails, spoken.notes)

    def _spoken(self, turns: list[Message], ask: Ask, clock: Clock) -> Spoken:
        """The conversation with the words of its media where they are wanted; known words are taken from the shelf."""
        asking = [any(isinstance(part, str) and asks_for_words(part) for part in turn.parts)
                  for turn in turns if turn.role == "user"]
        wanted = ask.speech == "always" or any(asking)
        found: list[Words | None] = []
        side = ask.subtitles
        for medium in _media(turns):
            if not (wanted and isinstance(medium, Clip | Audio)):
                found.append(None)
                continue
            key = ("words", self._senses.key(medium, Choice()), Same(ask.transcriber), side)
            words = self._shelf.get(key)
            if not isinstance(words, Words):
                with clock("decode"):
                    words = listen(medium, ask.transcriber, side)
                self._shelf.put(key, words)
            found.append(replace(words, cues=()) if ask.speech == "off" else words)
            side = None  # the file that was named belongs to the first
        return Spoken(self._posed(turns), found, asked=asking[-1] or ask.speech == "always",
                      hears=self.hears and ask.audio)

    def _posed(self, turns: list[Message]) -> list[Message]:
        """The conversation with its last question in the words of the system's prompt, if it has one."""
        parts = list(turns[-1].parts)
        places = [index for index, part in enumerate(parts) if isinstance(part, str)]
        if self.wording is None or not places or len(places) == len(parts):
            return turns  # nothing is asked, or not about a medium
        parts[places[-1]] = self.wording.replace("{question}", str(parts[places[-1]]))
        return [*turns[:-1], replace(turns[-1], parts=tuple(parts))]

    def _see(self, turns: list[Message], choice: Choice, clock: Clock, question: str, max_tokens: int = 0
             ) -> tuple[list[Seen], Plan]:
        """Every medium of the prompt taken in, from the shelf where it stands there, and the prompt laid out."""
        with ExitStack() as stack:
            with clock("open"):
                found = self._found(turns, choice, stack, question)
            plan = self._laid_out(turns, found)
            self._fits(plan, max_tokens)
            self._affordable(plan, found, max_tokens)
            seen: dict[Hashable, Seen] = {}
            for one in found:
                if one.key not in seen:
                    seen[one.key] = one if isinstance(one, Seen) else self._take_in(one, clock, question)
        ordered = [seen[one.key] for one in found]
        plan = self._laid_out(turns, ordered)
        self._fits(plan, max_tokens)
        return ordered, plan

    def _found(self, turns: list[Message], choice: Choice, stack: ExitStack, question: str) -> list[Look | Seen]:
        """Every medium of the prompt: from the shelf where it stands there, else opened."""
        parts = _media(turns)
        keys = self._senses.keys(parts, choice, question)
        kept = [one if isinstance(one := self._shelf.get(key), Seen) else None for key in keys]
        missing = [index for index, one in enumerate(kept) if one is None]
        if choice.tokens is not None and missing:
            missing = list(range(len(parts)))  # how a budget is shared is known when all are open
        looks = iter(self._senses.looks([parts[i] for i in missing], choice, stack, question,
                                        [keys[i] for i in missing]))
        opened = {index: next(looks) for index in missing}
        return [one or opened[index] for index, one in enumerate(kept)]

    def _laid_out(self, turns: list[Message], media: Sequence[Look | Seen]) -> Plan:
        sketches = iter(media)
        return self.processor.plan([
            Message(turn.role, tuple(part if isinstance(part, str) else next(sketches).sketch  # type: ignore[misc]
                                     for part in turn.parts)) for turn in turns])

    def _fits(self, plan: Plan, max_tokens: int) -> None:
        room = getattr(self.model.config.text_config, "max_position_embeddings", None)
        need = len(plan.laid.ids) + max_tokens
        if room is not None and need > room:
            raise TooLong(f"a prompt of {len(plan.laid.ids)} tokens and an answer of up to {max_tokens} need "
                          f"{need} positions, the model has {room}",
                          remedy="Use fewer frames, a shorter clip or fewer max_tokens")

    def _take_in(self, look: Look, clock: Clock, question: str) -> Seen:
        with clock("decode"):
            medium, notes = self._senses.take_in(look)
        with clock("encode"), torch.inference_mode():
            vision, audio = perceive(self.model, self.processor, medium, look.sketch.keep, question)
            self._settle()
        sound = medium.audio if isinstance(medium, AudioVideo) else medium
        sketch = replace(look.sketch, audio_s=sound.duration_s if isinstance(sound, Audio) else None)
        seen = Seen(look.key, sketch, vision, audio, look.used_s, tuple(notes))
        self._shelf.put(look.key, seen)
        return seen

    def _lasting(self, turns: list[Message], plan: Plan, seen: list[Seen]) -> int:
        """How much of the prompt the next question begins with too: all up to the last medium, and all turns but the
        last."""
        before = turns[:-1]
        if not before:
            return plan.laid.prefix_len
        ids = self._laid_out(before, seen[:len(_media(before))]).laid.ids
        pairs = enumerate(zip(ids, plan.laid.ids, strict=False))
        said = next((index for index, (one, other) in pairs if one != other), len(ids))
        return max(plan.laid.prefix_len, min(said, len(plan.laid.ids) - 1))

    def _embeds(self, plan: Plan, seen: list[Seen]) -> Tensor:
        rows = {name: value.to(self.device) for name, value in self.processor.pad([plan.laid]).items()}
        return self.model.embed(rows["input_ids"], rows["mm_token_type_ids"],
                                [one.vision.x for one in seen if one.vision is not None],
                                [one.audio.x for one in seen if one.audio is not None])[0]

    def _beginning(self, embeds: Tensor, marks: tuple[Hashable, ...], length: int) -> tuple[Prefix | None, int]:
        """The prefilled prompt up to its last medium, and how many of its positions were already there."""
        if length == 0:
            return None, 0
        marks = marks[:length]
        kept = [(thing.shared(marks), key) for key, thing in self._shelf.items() if isinstance(thing, Prefix)]
        reused, key = max(kept, key=lambda pair: pair[0], default=(0, None))
        best = self._shelf.get(key) if reused else None
        start = best.head(reused) if isinstance(best, Prefix) else None
        if start is None or reused < length:
            start = self.engine.prefill(embeds[reused:length], start, marks)
            self._settle()
            if isinstance(best, Prefix) and best.length == reused:
                self._shelf.drop(key)  # the longer one serves for it
            self._shelf.put(("prefix", marks), start)
        return start, reused

    def _settle(self) -> None:
        # Work on a GPU is only queued; without waiting, a phase's time would be told by the next one.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _media(turns: Sequence[Message]) -> list[Any]:
    return [part for turn in turns for part in turn.parts if not isinstance(part, str)]


def _marks(plan: Plan, seen: list[Seen]) -> tuple[Hashable, ...]:
    """One mark per position: the token's id, or which medium and which of its tokens."""
    cells = {kind: iter([(kind, one.key, index) for one in seen for index in range(len(tokens(one) or ()))])
             for kind, tokens in ((VISION, attrgetter("vision")), (AUDIO, attrgetter("audio")))}
    return tuple(next(cells[kind]) if kind in cells else token
                 for token, kind in zip(plan.laid.ids, plan.laid.kinds, strict=True))


def _eos_ids(model: ReelmModel, processor: ReelmProcessor) -> set[int]:
    configured = getattr(model.generation_config, "eos_token_id", None)
    if configured is None:
        configured = getattr(model.config.text_config, "eos_token_id", None)
    found = set(configured) if isinstance(configured, list | tuple) else {configured}
    return {int(token) for token in found | {processor.tokenizer.eos_token_id} if token is not None}
