"""What an owner of real weights can prove about a folder: names, shapes, sizes, tokens, and a recorded question.

A record is a JSON file:

    {"format": 1, "made_with": "…", "weights": 8034428160, "asks": [
      {"media": [{"file": "a.mp4", "sha256": "…"}], "question": "…", "answer": "…", "max_tokens": 64,
       "tokens": {"text": 41, "vision": 845, "audio": 0}, "logprobs": [-0.01, …], "dtype": "float32"}]}

`media`, `question` and `answer` suffice, so one can be written with any other program that runs the same weights;
`file` is looked for beside the record. `tokens`, `logprobs` and `weights` are compared where they are given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from reelm.errors import CheckpointError, ReelmError, UsageError
from reelm.model import files, official, published
from reelm.model.checkpoints import generation_defaults, read_tokenizer
from reelm.model.config import ReelmConfig
from reelm.model.export import official_weights
from reelm.model.front import VideoLM
from reelm.model.modeling import ReelmModel
from reelm.types import Clip

#: Weights in all of what was published: from the layer sizes of the configs, equal to the published file sizes where
#: those are known.
PUBLISHED = {
    8_034_428_160: "VideoLLaMA2-7B, VideoLLaMA2-7B-16F", 47_495_488_768: "VideoLLaMA2-8x7B",
    74_944_389_376: "VideoLLaMA2-72B", 8_420_731_360: "VideoLLaMA2.1-7B-16F", 8_527_053_151: "VideoLLaMA2.1-7B-AV"}
#: How far log-probabilities may lie apart when the number type is the same, and when it is not.
SAME_TYPE, OTHER_TYPE = 0.02, 0.5


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok` is None for a fact that is neither right nor wrong."""

    name: str
    ok: bool | None
    said: str


def inspect(folder: str | Path) -> list[Finding]:
    """Form, names, shapes, sizes, tokens and defaults of a model folder. A whole folder's weights are not read, only
    their headers; `-Base` and LoRA folders are put together first.
    """
    folder = Path(folder)
    flat = files.read_config(folder)
    native = flat.get("model_type") == "reelm"
    form = "native" if native else published.form_of(folder)
    texts = [folder]
    found = [Finding("form", None, form)]
    if native or form == published.WHOLE:
        shapes = {name: shape for name, (shape, _) in files.shapes_of(folder).items()}
    else:
        whole = published.gather(folder)
        flat, texts, shapes = whole.flat, whole.texts, {key: tuple(one.shape) for key, one in whole.weights.items()}
        found += [Finding(f"from {name}", None, where) for name, where in whole.sources.items()]
    config = ReelmConfig.from_pretrained(str(folder)) if native else official.config_from(flat)
    found += [Finding("parts", None, _parts(config)), *_weights(shapes, config, native)]
    return [*found, *_words(texts, config)]


def expected_shapes(config: ReelmConfig, native: bool = False) -> dict[str, tuple[int, ...]]:
    """Name and shape of every weight of a model with this config, official names unless `native`; nothing is made."""
    with torch.device("meta"):
        model = ReelmModel(config)
    state = model.state_dict()
    weights = state if native else official_weights(state, config)
    return {name: tuple(value.shape) for name, value in weights.items()}


def _parts(config: ReelmConfig) -> str:
    kinds = [config.text_config.model_type]  # type: ignore[union-attr]
    for section in (config.vision, config.audio):
        if section:
            kinds += [section["encoder"]["kind"], section["connector"]["kind"]]
    return ", ".join(kinds)


def _weights(shapes: Mapping[str, tuple[int, ...]], config: ReelmConfig, native: bool) -> Iterator[Finding]:
    expected = expected_shapes(config, native)
    stored = dict(shapes) if native else {
        name: shape for name, shape in shapes.items() if name in expected or not _spare(name, config)}
    for names, said in ((set(expected) - set(stored), "missing"), (set(stored) - set(expected), "extra")):
        if names:
            yield Finding("names", False, f"{len(names)} {said}, the first is {min(names)}")
    if set(expected) == set(stored):
        yield Finding("names", True, f"{len(stored)} weights, none missing, none extra")
    other = sorted(name for name in set(expected) & set(stored) if expected[name] != stored[name])
    yield Finding("shapes", not other, "as config.json says" if not other else
                  f"{len(other)} differ: {other[0]} is {list(stored[other[0]])}, not {list(expected[other[0]])}")
    total = sum(torch.Size(shape).numel() for shape in stored.values())
    yield Finding("size", None, f"{total:,} weights" + (f" = {PUBLISHED[total]}" if total in PUBLISHED else ""))


def _spare(name: str, config: ReelmConfig) -> bool:
    """A weight that may be stored although it says nothing new: derived, shared by layers, or tied."""
    tied = name == "lm_head.weight" and config.text_config.tie_word_embeddings  # type: ignore[union-attr]
    return bool(official.DERIVED.fullmatch(name)) or tied or "self_attn.relative_attention_bias" in name


def _words(texts: Sequence[Path], config: ReelmConfig) -> Iterator[Finding]:
    place = next((path for path in texts if any((path / name).is_file() for name in (
        "tokenizer.json", "tokenizer.model"))), texts[0])
    try:
        tokenizer = read_tokenizer(place, config)
    except ReelmError as error:
        yield Finding("tokens", False, str(error))
        return
    exact = ", cut as tokenizer.model does" if (place / "tokenizer.model").is_file() else ""
    yield Finding("tokens", True, f"{len(tokenizer)} tokens for {config.text_config.vocab_size} rows"  # type: ignore[union-attr]
                  + exact)
    place = next((path for path in texts if (path / "generation_config.json").is_file()), texts[0])
    penalty = getattr(generation_defaults(place, config), "repetition_penalty", None)
    yield Finding("repetition penalty", None, f"{penalty or 1.0:g}")


# --- questions ---------------------------------------------------------------------------------------------------


def record(lm: VideoLM, media: Sequence[Clip], question: str, max_tokens: int = 64) -> dict[str, Any]:
    """A question with all that can be compared later, as a record of one ask."""
    from importlib.metadata import PackageNotFoundError, version

    paths = [Path(clip.source) for clip in media if isinstance(clip.source, str | Path)]
    if len(paths) < len(media):
        raise UsageError("a record names its media by file", remedy="Save the content to a file first")
    answer = lm.answer(*media, question, max_tokens=max_tokens)
    if not answer.text:
        raise UsageError("the model answers nothing, so there is nothing to compare", remedy="Ask something else")
    try:
        made_with = f"reelm {version('reelm')}"
    except PackageNotFoundError:
        made_with = "reelm"
    ask = {"media": [{"file": path.name, "sha256": _digest(path)} for path in paths],
           "question": question, "answer": answer.text, "max_tokens": max_tokens,
           "tokens": {name: answer.tokens[name] for name in ("text", "vision", "audio")},
           "logprobs": list(lm.logprobs(*media, question, answer=answer.text, end=False).logprobs),
           "dtype": str(lm.model.dtype).removeprefix("torch.")}
    return {"format": 1, "made_with": made_with, "weights": _count(lm), "asks": [ask]}


def compare(lm: VideoLM, path: str | Path) -> list[Finding]:
    """Every ask of a record put to a model.

    Raises: CheckpointError for a file that is no record, or a medium that is not there or not the recorded one.
    """
    path = Path(path)
    known = files.read_json(path)
    if known.get("format") != 1 or not isinstance(known.get("asks"), list):
        raise CheckpointError(f"no record: format is {known.get('format')!r}", where=str(path), remedy="Format 1")
    found = []
    if "weights" in known:
        mine = _count(lm)
        found.append(Finding("weights", known["weights"] == mine, f"{mine:,}, recorded {known['weights']:,}"))
    for number, ask in enumerate(known["asks"]):
        try:
            found += [Finding(f"ask {number}: {one.name}", one.ok, one.said) for one in _asked(lm, ask, path.parent)]
        except KeyError as error:
            raise CheckpointError(f"ask {number} lacks {error}", where=str(path)) from None
    return found


def _asked(lm: VideoLM, ask: Mapping[str, Any], near: Path) -> Iterator[Finding]:
    media = []
    for medium in ask["media"]:
        source = near / medium["file"]
        if not source.is_file() or ("sha256" in medium and _digest(source) != medium["sha256"]):
            raise CheckpointError("not there, or not the recorded file", where=str(source),
                                  remedy="Put the recorded media beside the record")
        media.append(Clip(source))
    answer = lm.answer(*media, ask["question"], max_tokens=ask.get("max_tokens", 64))
    yield Finding("answer", answer.text == ask["answer"], repr(answer.text) if answer.text == ask["answer"] else
                  f"{answer.text!r}, recorded {ask['answer']!r}")
    if "tokens" in ask:
        counts = {name: answer.tokens[name] for name in ask["tokens"]}
        yield Finding("tokens", counts == ask["tokens"], f"{counts}")
    if "logprobs" in ask:
        mine = lm.logprobs(*media, ask["question"], answer=ask["answer"], end=False).logprobs
        same = ask.get("dtype") == str(lm.model.dtype).removeprefix("torch.")
        limit = SAME_TYPE if same else OTHER_TYPE
        apart = max((abs(a - b) for a, b in zip(mine, ask["logprobs"], strict=False)), default=0.0)
        ok = len(mine) == len(ask["logprobs"]) and apart <= limit
        yield Finding("logprobs", ok, f"{apart:.2g} apart at most, {limit:g} allowed")


def _count(lm: VideoLM) -> int:
    weights = {id(weight): weight.numel() for weight in lm.model.parameters()}
    return sum(weights.values())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(value: Mapping[str, Any], path: Path) -> None:
    """A record as a file that people can read."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
