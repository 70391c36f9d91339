"""Published tokenizers: cut chunk by chunk exactly as SentencePiece does; prompts as literal strings."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from model import published_folders as made
from model import small
from model.official_folder import write_official_folder
from reelm.errors import CheckpointError
from reelm.model.checkpoints import load_folder, read_tokenizer
from reelm.types import Message

SYSTEM = ("<<SYS>>\nYou are a helpful, respectful and honest assistant. Always answer as helpfully as possible, while "
          "being safe.  Your answers should not include any harmful, unethical, racist, sexist, toxic, dangerous, or "
          "illegal content. Please ensure that your responses are socially unbiased and positive in nature.\nIf a "
          "question does not make any sense, or is not factually coherent, explain why instead of answering something "
          "not correct. If you don't know the answer to a question, please don't share false information.\n<</SYS>>")
#: The template of the published Qwen2 folders: it puts a system message where there is none.
QWEN2 = ("{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
         "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
         "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
         "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, sentencepiece.SentencePieceProcessor]:
    """A folder with a tokenizer.model of Mistral's kind, trained here: BPE, bytes for the unknown, a mark in front."""
    folder = tmp_path_factory.mktemp("pieces")
    draw, out = random.Random(0), io.BytesIO()
    words = ("the", "red", "ball", "enters", "from", "left", "what", "colour", "INST", "[INST]", "[/INST]", "system",
             "0", "1", ".", ",", "?", "'", "<<SYS>>")
    lines = (" ".join(draw.choice(words) for _ in range(12)) for _ in range(300))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=out, vocab_size=380, model_type="bpe", byte_fallback=True,
        remove_extra_whitespaces=False, normalization_rule_name="identity", split_digits=True, pad_id=-1,
        allow_whitespace_only_pieces=True, hard_vocab_limit=False, minloglevel=2)
    (folder / "tokenizer.model").write_bytes(out.getvalue())
    marks = {str(n): {"content": word, "special": True, "lstrip": False, "rstrip": False, "normalized": False,
                      "single_word": False} for n, word in enumerate(("<unk>", "<s>", "</s>"))}
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "LlamaTokenizer", "legacy": True, "bos_token": "<s>", "eos_token": "</s>",
        "unk_token": "<unk>", "pad_token": None, "added_tokens_decoder": marks, "add_bos_token": True,
        "clean_up_tokenization_spaces": False, "chat_template": small.MISTRAL}))
    return folder, sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


@pytest.fixture(scope="module", params=["mistral", "mixtral", "llama"])
def loaded(request: pytest.FixtureRequest, pieces: Any) -> tuple[Any, sentencepiece.SentencePieceProcessor]:
    """The library reads the same folder differently for different families; the tokens must be the same."""
    config = small.config(request.param, vision=False, audio=False, text={"vocab_size": 400})
    return read_tokenizer(pieces[0], config), pieces[1]


def test_every_text_is_cut_as_sentencepiece_cuts_it(loaded: Any) -> None:
    tokenizer, exact = loaded

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.sampled_from(["the", " ", "  ", "\n", "[INST]", "ball", "?", "é", "中", "🙂", "7", "'", "▁x"]),
                    max_size=9).map("".join))
    def same(text: str) -> None:
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == exact.encode(text)

    same()


def test_the_chunks_around_a_medium_are_marked_one_by_one(loaded: Any) -> None:
    """The mark before the line break that follows a medium is what substituting later would lose."""
    tokenizer, exact = loaded
    processor = small.ReelmProcessor(tokenizer, vision=small.VISION, layout={"kind": "chat", "media_first": True})
    laid = processor.plan([Message("user", (small.image(), "the ball?"))]).laid
    text = [token for token, kind in zip(laid.ids, laid.kinds, strict=True) if kind == 0]
    assert text == [1, *exact.encode("[INST] "), *exact.encode("\nthe ball? [/INST]")]
    assert exact.id_to_piece(text[len(exact.encode("[INST] ")) + 1]) == "▁"


def test_a_tokenizer_that_contradicts_its_sentencepiece_model_is_refused(pieces: Any, tmp_path: Path) -> None:
    write_official_folder(*made.MISTRAL, tmp_path)
    (tmp_path / "tokenizer.model").write_bytes((pieces[0] / "tokenizer.model").read_bytes())
    with pytest.raises(CheckpointError, match="other than tokenizer.model"):
        load_folder(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(CheckpointError, match="no SentencePiece model"):
        load_folder(tmp_path)


def said(folder: Path, *parts: Any) -> str:
    """The prompt as text, `<media>` where a medium stands."""
    _, processor = load_folder(folder)
    laid = processor.plan([Message("user", parts)]).laid
    tokenizer, out, run = processor.tokenizer, "", []
    for token, kind in [*zip(laid.ids, laid.kinds, strict=True), (0, -1)]:
        if kind == 0:
            run.append(token)
        elif run:
            out += tokenizer.decode(run) + ("<media>" if kind > 0 else "")
            run = []
    return out


def test_the_prompt_of_the_mistral_family_is_the_published_one(tmp_path: Path) -> None:
    write_official_folder(*made.MISTRAL, tmp_path)
    assert said(tmp_path, small.image(), "What is it?") == f"<s>[INST] {SYSTEM}\n\n<media>\nWhat is it? [/INST]"
    assert said(tmp_path, "What is it?") == f"<s>[INST] {SYSTEM}\n\n\nWhat is it? [/INST]"


def test_the_prompt_of_the_qwen2_family_is_the_published_one(tmp_path: Path) -> None:
    write_official_folder(*made.AV, tmp_path)
    small.tokenizer(QWEN2).save_pretrained(tmp_path)
    for medium in (small.image(), small.sound()):
        assert said(tmp_path, medium, "What is it?") == (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            "<|im_start|>user\n<media>\nWhat is it?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi3"])
def test_other_families_get_their_own_template_and_no_system_text(tmp_path: Path, family: str) -> None:
    made.write_family(tmp_path / "x", family)
    assert said(tmp_path / "x", small.frames(8), "Why?") == (
        "<|im_start|>user\n<media>\nWhy?<|im_end|>\n<|im_start|>assistant\n")
