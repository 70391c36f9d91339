"""Training samples: what learns, which tensors, how long, and what becomes of a sample that cannot be made."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from data.clips import GOOD, PAIR, make, turns, write
from model import small
from reelm.data.collate import ROWS, Bad, collate
from reelm.data.records import records
from reelm.data.samples import FORMS, Samples
from reelm.errors import BudgetError, MediaError, UsageError
from reelm.media.reader import Reader
from reelm.model.processing import ReelmProcessor
from reelm.model.sensing import Choice, Senses
from reelm.model.toy import random_model
from reelm.types import Message


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def hearing() -> ReelmProcessor:
    return random_model("av")[1]


def samples(clips: Path, processor: ReelmProcessor, *rows: dict[str, Any], **settings: Any) -> Samples:
    return Samples.read(write(clips, *rows), processor, **settings)


def good(made: Samples, at: int = 0) -> dict[str, Any]:
    sample = made[at]
    assert not isinstance(sample, Bad), sample
    return sample


def learnt(sample: dict[str, Any], tokenizer: Any) -> str:
    return tokenizer.decode(sample["labels"][sample["labels"] >= 0])


def read(sample: dict[str, Any], tokenizer: Any) -> str:
    return tokenizer.decode(sample["input_ids"][sample["mm_token_type_ids"] == 0])


# --- what learns ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("template", "said"), [
    (small.CHATML, "Nobody.<|im_end|>\nIt is grey noise.<|im_end|>\n"),
    (small.MISTRAL, " Nobody.</s> It is grey noise.</s>")])
def test_only_what_the_assistant_says_learns_with_its_closing_mark(template: str, said: str, clips: Path) -> None:
    processor = small.processor(template=template)
    sample = good(samples(clips, processor, GOOD[1]))
    assert learnt(sample, processor.tokenizer) == said
    assert (sample["labels"][sample["labels"] >= 0] == sample["input_ids"][sample["labels"] >= 0]).all()
    assert (sample["labels"][sample["mm_token_type_ids"] != 0] == -100).all()


def test_the_plain_form_is_media_and_words_without_a_template_and_all_words_learn(clips: Path) -> None:
    processor = small.processor()
    asked = good(samples(clips, processor, GOOD[0], form="plain"))
    assert asked["mm_token_type_ids"].unique_consecutive().tolist() == [1, 2, 0]
    assert read(asked, processor.tokenizer) == learnt(asked, processor.tokenizer) == "\nWhat happens? A square wanders."
    silent = {**GOOD[0], "conversations": turns("<video>", "A square wanders.")}
    assert read(good(samples(clips, processor, silent, form="plain")), processor.tokenizer) == " A square wanders."
    behind = {**GOOD[0], "conversations": turns("What happens?\n<video>", "A square wanders.")}
    assert torch.equal(good(samples(clips, processor, behind, form="plain"))["input_ids"], asked["input_ids"])
    with pytest.raises(UsageError, match="the plain form has the turns user, assistant"):
        samples(clips, processor, GOOD[1], form="plain")[0]


def test_the_bare_form_asks_with_the_medium_alone_and_only_the_reply_learns(clips: Path) -> None:
    processor = small.processor()
    sample = good(samples(clips, processor, GOOD[3], form="bare"))
    assert read(sample, processor.tokenizer) == ("<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\nA low one."
                                                 "<|im_end|>\n")
    assert learnt(sample, processor.tokenizer) == "A low one.<|im_end|>\n"


def test_of_a_preference_both_replies_learn_and_nothing_said_before(clips: Path) -> None:
    processor = small.processor()
    made = samples(clips, processor, PAIR)
    pair = good(made)
    assert [learnt(pair[name], processor.tokenizer) for name in ("chosen", "rejected")] == [
        "Yes.<|im_end|>\n", "A dog with a very long tail.<|im_end|>\n"]
    same = int((pair["chosen"]["labels"] != -100).nonzero()[0])
    assert torch.equal(pair["chosen"]["input_ids"][:same], pair["rejected"]["input_ids"][:same])
    assert "input_ids" not in pair and pair["video_frames"] == [4]
    assert made.length(0) == len(pair["rejected"]["input_ids"])


# --- tensors and lengths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", GOOD, ids=lambda row: row["id"])
@pytest.mark.parametrize("audio", [True, False], ids=["with sound", "without"])
def test_a_sample_is_what_the_processor_makes_of_the_decoded_conversation(
    row: dict[str, Any], audio: bool, clips: Path, hearing: ReelmProcessor
) -> None:
    made = samples(clips, hearing, row, choice=Choice(audio=audio))
    if not audio and "audio" in row:
        with pytest.raises(UsageError, match="holds only sound, which the call leaves out"):
            made[0]
        return
    sample = good(made)
    senses, (record,) = Senses(hearing), records(write(clips, row))
    with ExitStack() as stack:
        media = iter([senses.take_in(senses.look(clip, Choice(audio=audio), stack))[0] for clip in record.clips])
        decoded = [Message(m.role, tuple(p if isinstance(p, str) else next(media) for p in m.parts))
                   for m in record.messages]
        wanted = hearing([decoded], labels=True)
    wanted.pop("attention_mask")
    assert set(wanted) | {"id", "notes"} == set(sample)
    for name, value in wanted.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(sample[name], value[0] if name in ROWS else value)
        else:
            assert sample[name] == value
    assert made.length(0) == len(sample["input_ids"])


@pytest.mark.parametrize("form", FORMS)
def test_lengths_are_exact_before_anything_is_decoded(
    form: str, clips: Path, hearing: ReelmProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row for row in GOOD if len(row.get("conversations", ())) == 2 and "audio" not in row]
    eight_stretches = ReelmProcessor(hearing.tokenizer, hearing.vision,
                                     {**(hearing.audio or {}), "of_video": {"window": "official_video"}})
    made = samples(clips, eight_stretches, *rows, form=form)
    with monkeypatch.context() as patch:
        for name in ("frames", "audio"):
            patch.setattr(Reader, name, lambda *args: pytest.fail("something was decoded"))
        lengths = list(made.lengths)
    assert lengths == [len(good(made, at)["input_ids"]) for at in range(len(rows))]


def test_a_sound_that_is_shorter_than_its_header_says_is_counted_as_it_is(clips: Path, hearing: ReelmProcessor) -> None:
    data = bytearray((clips / "tone.wav").read_bytes())
    (clips / "early.wav").write_bytes(bytes(data[:44 + 20_000]))
    made = samples(clips, hearing, {"id": "x", "audio": "early.wav", "conversations": turns("<audio>What?", "A tone.")})
    sample = good(made)
    assert made.length(0) == len(sample["input_ids"])
    assert sum(sample["audio_frames"]) < 70 and sample["notes"]


def test_the_choice_of_frames_is_the_stage_s(clips: Path, hearing: ReelmProcessor) -> None:
    for choice, frames in ((Choice(frames=3), 3), (Choice(fps=2.0), 8)):
        made = samples(clips, hearing, GOOD[0], choice=choice)
        assert good(made)["video_frames"] == [frames] and made.length(0) == len(good(made)["input_ids"])


def test_what_is_special_about_a_medium_is_told_with_the_sample(clips: Path) -> None:
    deaf = random_model()[1]
    wrong = {"id": "w", "image": "mute.mp4", "conversations": turns("<image>What?", "Noise.")}
    notes = [good(samples(clips, deaf, row))["notes"] for row in (GOOD[0], wrong)]
    assert notes[0] == ["this model does not hear: the sound track was not used"]
    assert notes[1] == [f"{clips / 'mute.mp4'}: the record calls it image, it is video"]


def test_tensors_from_elsewhere_take_the_place_of_decoding(clips: Path, hearing: ReelmProcessor,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = good(samples(clips, hearing, GOOD[0]))
    kept = {"vision_features": torch.rand(8, 16, 32), "video_frames": torch.tensor([8]),
            "input_features": wanted["input_features"], "audio_frames": torch.tensor(wanted["audio_frames"])}
    monkeypatch.setattr(Reader, "frames", lambda *args: pytest.fail("something was decoded"))
    asked = []
    sample = good(samples(clips, hearing, GOOD[0], prepare=lambda clip: asked.append(clip) or kept))
    assert [clip.source for clip in asked] == [clips / "a.mp4"]
    assert torch.equal(sample["input_ids"], wanted["input_ids"]) and sample["video_frames"] == [8]
    assert torch.equal(sample["vision_features"], kept["vision_features"]) and "pixel_values_videos" not in sample


# --- bad samples ---------------------------------------------------------------------------------------------------

BAD = ({"id": "absent", "video": "no.mp4", "conversations": turns("<video>What?", "A.")},
       {"id": "cut", "video": "cut.mp4", "conversations": turns("<video>What?", "A.")},
       {"id": "hollow", "video": "hollow.mp4", "conversations": turns("<video>What?", "A.")})
WHY = {"absent": "No such file", "cut": "holds no readable picture", "hollow": "can be decoded"}


@pytest.mark.parametrize("row", BAD, ids=lambda row: row["id"])
def test_a_bad_sample_ends_the_run_with_line_id_and_file(row: dict[str, Any], clips: Path,
                                                         hearing: ReelmProcessor) -> None:
    made = samples(clips, hearing, GOOD[4], row)
    with pytest.raises(MediaError, match=f"{WHY[row['id']]}") as told:
        made[1]
    assert f"train.jsonl:2 [{row['id']}]: {clips / row['video']}" in str(told.value)
    assert told.value.remedy


def test_where_they_are_skipped_bad_samples_are_counted_and_listed_and_no_other_takes_their_place(
    clips: Path, hearing: ReelmProcessor
) -> None:
    rows = [GOOD[0], BAD[0], BAD[2], GOOD[2], BAD[1]]
    made = samples(clips, hearing, *rows, on_bad="skip")
    batch = collate([made[at] for at in range(len(made))], pad_id=0)
    assert batch["ids"] == ["sound", "still"] and batch["input_ids"].shape[0] == 2
    assert [(bad.index, bad.id, bad.kind) for bad in batch["bad"]] == [
        (1, "absent", "MediaError"), (2, "hollow", "MediaError"), (4, "cut", "MediaError")]
    assert all(WHY[bad.id] in bad.why and bad.where == f"{clips / 'train.jsonl'}:{bad.index + 1}"
               for bad in batch["bad"])
    assert [made.length(at) == 0 for at in range(5)] == [False, True, True, False, True]


def test_rows_that_are_no_records_are_listed_too_or_end_the_run(clips: Path, hearing: ReelmProcessor) -> None:
    rows = [GOOD[0], {"id": "n", "video": "a.mp4", "conversations": turns("What?", "No tag.")}, GOOD[2]]
    with pytest.raises(MediaError, match="train.jsonl:2: 0 <video> in the text, 1 under video"):
        samples(clips, hearing, *rows)
    made = samples(clips, hearing, *rows, on_bad="skip")
    assert len(made) == 2 and good(made, 1)["id"] == "still"
    (bad,) = made.bad
    assert (bad.id, bad.where, bad.why) == ("n", f"{clips / 'train.jsonl'}:2", "0 <video> in the text, 1 under video")


def test_what_is_too_long_is_a_bad_sample_and_never_cut(clips: Path, hearing: ReelmProcessor) -> None:
    long = len(good(samples(clips, hearing, GOOD[0]))["input_ids"])
    assert good(samples(clips, hearing, GOOD[0], max_tokens=long))
    made = samples(clips, hearing, GOOD[0], max_tokens=long - 1)
    for ask in (made.__getitem__, made.length):
        with pytest.raises(BudgetError, match=f"{long} tokens, at most {long - 1} are allowed"):
            ask(0)


def test_sound_for_a_model_that_does_not_hear_and_nothing_to_learn_are_bad(clips: Path) -> None:
    with pytest.raises(UsageError, match="holds only sound, and this model does not hear"):
        samples(clips, random_model()[1], GOOD[3])[0]
    processor = small.processor(template="{% for m in messages %}{% if m['role'] == 'user' %}{{ m['content'] }}"
                                         "{% endif %}{% endfor %}")
    with pytest.raises(UsageError, match="nothing to learn"):
        samples(clips, processor, GOOD[4])[0]


def test_unknown_words_are_refused(clips: Path, hearing: ReelmProcessor) -> None:
    for settings in ({"form": "bear"}, {"on_bad": "ignore"}):
        with pytest.raises(UsageError, match="Forms are chat, bare, plain; on_bad is fail or skip"):
            samples(clips, hearing, GOOD[0], **settings)
