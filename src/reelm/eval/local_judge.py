"""A judge on this machine: any Hugging Face folder with a causal language model and a chat template."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from reelm.errors import CheckpointError
from reelm.eval.judge import Declined, JudgeSettings, Reply
from reelm.eval.verdicts import spoken
from reelm.types import Message

#: The longest reply, where neither settings nor model set an end.
_LONGEST = 4096
#: What a judge's replies depend on: its weights and how text becomes tokens.
_FILES = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.model", "*.txt")


class LocalJudge:
    """The language model in `folder`; `version` is the SHA-256 of its files. No code of the folder is run.

    At temperature 0 it is greedy, without the penalties that the folder's generation_config.json may ask for; above,
    it draws from a generator seeded with the number of the try, so that a run can be repeated.
    Raises: CheckpointError when the folder is no such model.
    """

    def __init__(self, folder: str | Path, device: str = "cpu", dtype: torch.dtype | None = None) -> None:
        place = Path(folder)
        if not place.is_dir():
            raise CheckpointError("no such folder", where=str(folder), remedy="Give a folder with a language model")
        self.name, self.version = f"local:{place.name}", _digest(place)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(place, local_files_only=True)
            loaded: Any = AutoModelForCausalLM.from_pretrained(place, dtype=dtype or "auto", local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise CheckpointError(f"is no language model: {str(error).splitlines()[0][:200]}", where=str(folder),
                                  remedy="A folder with config.json, a tokenizer and safetensors is needed") from None
        self._model: Any = loaded.to(device).eval()
        if not self._tokenizer.chat_template:
            raise CheckpointError("its tokenizer has no chat template", where=str(folder),
                                  remedy="Take a model that was tuned for conversation")
        self._context = int(getattr(self._model.config, "max_position_embeddings", 0) or 0)
        self._one_at_a_time = threading.Lock()

    def reply(self, messages: Sequence[Message], settings: JudgeSettings, seed: int) -> Reply:
        """Raises: Declined when question and reply do not fit into the model's context."""
        ids = self._tokenizer.apply_chat_template(spoken(messages), add_generation_prompt=True, return_tensors="pt",
                                                  return_dict=True)["input_ids"].to(self._model.device)
        asked, longest = ids.shape[1], settings.max_tokens
        if longest is None:
            longest = max(self._context - asked, 1) if self._context else _LONGEST
        if self._context and asked + longest > self._context:
            raise Declined(f"{asked:,} tokens and {longest:,} for the reply, {self._context:,} fit",
                           where=self.name, remedy="Take a judge with a longer context, or lower max_tokens")
        with self._one_at_a_time, torch.inference_mode(), torch.random.fork_rng(self._devices()):
            torch.manual_seed(seed)
            new = self._model.generate(ids, attention_mask=torch.ones_like(ids),
                                       generation_config=self._how(settings, longest))[0, asked:]
        return Reply(self._tokenizer.decode(new, skip_special_tokens=True), self.name)

    def _how(self, settings: JudgeSettings, longest: int) -> GenerationConfig:
        """Settings written out: whatever the folder prefers beyond the ends of a reply is left aside."""
        kept = self._model.generation_config
        end = kept.eos_token_id if kept.eos_token_id is not None else self._tokenizer.eos_token_id
        pad = kept.pad_token_id if kept.pad_token_id is not None else self._tokenizer.pad_token_id
        if pad is None:
            pad = end[0] if isinstance(end, list) else end
        draw = {"do_sample": True, "temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0}
        return GenerationConfig(max_new_tokens=longest, eos_token_id=end, pad_token_id=pad,
                                **(draw if settings.temperature else {"do_sample": False}))

    def _devices(self) -> list[int]:
        device = self._model.device
        return [device.index or 0] if device.type == "cuda" else []


def _digest(folder: Path) -> str:
    """SHA-256 over the names and contents of the files that matter."""
    found = hashlib.sha256()
    for path in sorted({path for form in _FILES for path in folder.glob(form)}):
        with path.open("rb") as file:
            found.update(path.name.encode() + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()
