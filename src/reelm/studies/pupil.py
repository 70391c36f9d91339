"""The small model of the studies: a connector and a language part from scratch, on what the frozen tower sees."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

from reelm import registry
from reelm.data.questions import normalise
from reelm.errors import UsageError
from reelm.kernels.sprites import COLOURS, KINDS
from reelm.studies.films import Films, Sample, moments
from reelm.studies.tones import SOUNDS

_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
#: Fills a question up to the length of the longest, and asks for the answer.
_PAD, _ANSWER = "<pad>", "<answer>"
Ears = Literal["none", "tokens", "fused", "alone"]


@dataclass(frozen=True)
class Vocabulary:
    """Whole words; every answer is one of them."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Vocabulary:
        """The words of some texts, sorted."""
        return cls((_PAD, _ANSWER, *sorted({w for t in texts for w in _WORD.findall(t.lower())})))

    def ids(self, text: str) -> list[int]:
        """The numbers of a text's words. Raises: UsageError for a word that is not known."""
        try:
            return [self.words.index(w) for w in _WORD.findall(text.lower())]
        except ValueError as error:
            raise UsageError(f"a word is not in the vocabulary: {error}", where=text) from None


@dataclass(frozen=True)
class Batch:
    """Samples as tensors: pictures [B,T,h,w,D], sound [B,S,F] or None, questions [B,Q,L], answers [B,Q].

    A sample with fewer questions than others has answers of -100 in their place; `ends` says where a question asks;
    `there` [B,V] is 1 at the words for what is seen and heard.
    """

    pictures: Tensor
    sound: Tensor | None
    questions: Tensor
    ends: Tensor
    answers: Tensor
    there: Tensor


def batch_of(films: Films, vocabulary: Vocabulary, samples: Sequence[Sample]) -> Batch:
    """Some samples as one batch."""
    asked = [[(vocabulary.ids(q.text) + [1], vocabulary.ids(normalise(q.answer))[0]) for q in s.asked] for s in samples]
    most, longest = max(map(len, asked)), max(len(ids) for row in asked for ids, _ in row)
    questions = torch.zeros(len(samples), most, longest, dtype=torch.long)
    ends = torch.zeros(len(samples), most, dtype=torch.long)
    answers = torch.full((len(samples), most), -100)
    for b, row in enumerate(asked):
        for q, (ids, answer) in enumerate(row):
            questions[b, q, : len(ids)] = torch.tensor(ids)
            ends[b, q], answers[b, q] = len(ids) - 1, answer
    there = torch.zeros(len(samples), len(vocabulary.words))
    for b, sample in enumerate(samples):
        there[b, vocabulary.ids(" ".join(sample.there))] = 1
    tracks = [s.sound for s in samples]
    sound = torch.stack([torch.from_numpy(t) for t in tracks if t is not None]) if tracks[0] is not None else None
    return Batch(moments(films, samples), sound, questions, ends, answers, there)


class Pupil(nn.Module):
    """Pictures and sound to tokens, then a Llama of a few layers that answers several questions about them at once.

    The questions of a clip do not see each other, so each is answered as if it were the only one. `ears`: sound not
    heard, as tokens after those of the pictures, added to the picture features of the same moment before the connector
    ("fused"), or without pictures ("alone").

    Beside answering, the tokens learn to be near the words for what is seen and heard, as in `train/words.py`; since
    not every connector keeps places, the nearest token counts, wherever it stands.
    """

    def __init__(self, connector: Mapping[str, Any] | None, vocabulary: Vocabulary, width: int, layers: int,
                 sound_width: int = 0, ears: Ears = "none") -> None:
        super().__init__()
        self.ears, words = ears, len(vocabulary.words)
        named = (() if connector is None else (*KINDS, *COLOURS)) + (() if ears == "none" else SOUNDS)
        self.named = [vocabulary.words.index(w) for w in named if w in vocabulary.words]
        heads = max(1, width // 24)
        self.language = LlamaModel(LlamaConfig(
            vocab_size=words, hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
            num_attention_heads=heads, num_key_value_heads=heads, initializer_range=width**-0.5,
            tie_word_embeddings=False, use_cache=False))
        self.width = width
        #: How sure a similarity of tokens and words makes: scale and offset.
        self.sureness = nn.Parameter(torch.tensor([1.0, -2.0]))
        self.connector = None if connector is None else registry.build("connector", connector)
        self.hearing = nn.Linear(sound_width, width) if ears != "none" else None

    def tokens(self, batch: Batch) -> Tensor:
        """What the language part gets to see and hear: [B,N,W]."""
        found = []
        x = batch.pictures
        if self.hearing is not None:
            assert batch.sound is not None
            heard = self.hearing(batch.sound)
            if self.ears == "fused":
                x = x + F.adaptive_avg_pool1d(heard.mT, x.shape[1]).mT[:, :, None, None]
            else:
                found.append(heard)
        if self.connector is not None:
            found.insert(0, self.connector.project(x).flatten(1, 3))
        return torch.cat(found, 1) if found else x.new_zeros(len(x), 0, self.width)

    def forward(self, batch: Batch) -> Tensor:
        """Scores of every word as the answer, [B,Q,V]."""
        return self.answers(self.tokens(batch), batch)

    def answers(self, tokens: Tensor, batch: Batch) -> Tensor:
        """The same from the tokens of `tokens`."""
        size, asked, length = batch.questions.shape
        text = self.language.embed_tokens(batch.questions).flatten(1, 2)
        places, mask = layout(tokens.shape[1], asked, length)
        out = self.language(inputs_embeds=torch.cat((tokens, text), 1), attention_mask=mask.expand(size, -1, -1, -1),
                            position_ids=places.expand(size, -1)).last_hidden_state
        text = out[:, tokens.shape[1]:].unflatten(1, (asked, length))
        at = batch.ends[..., None, None].expand(-1, -1, 1, text.shape[-1])
        return text.gather(2, at)[:, :, 0] @ self.language.embed_tokens.weight.T

    def naming_loss(self, tokens: Tensor, batch: Batch) -> Tensor:
        """How badly the tokens tell which things are there: for every word, its nearest token decides."""
        if not self.named:
            return tokens.new_zeros(())
        words = self.language.embed_tokens.weight[self.named]
        scale, offset = self.sureness
        sure = scale * (tokens @ words.T).amax(1) + offset
        return F.binary_cross_entropy_with_logits(sure, batch.there[:, self.named], pos_weight=sure.new_tensor(4.0))


def layout(media: int, asked: int, length: int) -> tuple[Tensor, Tensor]:
    """Positions [1,S] and additive mask [1,1,S,S] of media tokens and `asked` questions that do not see each other."""
    owner = torch.cat((torch.full((media,), -1), torch.arange(asked).repeat_interleave(length)))
    places = torch.cat((torch.arange(media), media + torch.arange(length).repeat(asked)))
    order = torch.arange(len(owner))
    allowed = (order[:, None] >= order) & ((owner == -1) | (owner == owner[:, None]))
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    return places[None], mask[None, None]


def loss_of(pupil: Pupil, batch: Batch) -> Tensor:
    """Mean cross-entropy of the answers, plus that of naming what is there."""
    tokens = pupil.tokens(batch)
    answered = F.cross_entropy(pupil.answers(tokens, batch).flatten(0, 1), batch.answers.flatten(), ignore_index=-100)
    return answered + pupil.naming_loss(tokens, batch)


@torch.no_grad()
def right(pupil: Pupil, batch: Batch) -> Tensor:
    """Which answers are right, bool [B,Q]."""
    return pupil(batch).argmax(-1) == batch.answers
