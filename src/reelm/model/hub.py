"""Models that a published config names by their hub id: found where they were pulled to, never fetched by surprise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reelm.errors import CheckpointError, PolicyError

#: What of a repository makes a model. Pickles only where a repository has no safetensors.
_PATTERNS = ("*.json", "*.model", "*.jinja", "*.txt", "*.safetensors")
_SIDE_FILES = ("mm_projector.bin", "mm_projector_a.bin", "audio_tower.bin", "non_lora_trainables.bin",
               "adapter_model.bin")


def locate(name: str, near: Path | None = None) -> Path:
    """The folder that `name` means: a path (also relative to the folder `near`), or a hub id pulled earlier.

    Raises: CheckpointError that tells how to get it.
    """
    for candidate in ([near / name] if near else []) + [Path(name)]:
        if candidate.exists():
            return candidate
    if (pulled := _pulled(name)) is not None:
        return pulled
    raise CheckpointError(f"{name!r} is neither a folder here nor a pulled model", where=str(near or ""),
                          remedy=f"Fetch it once: reelm model pull {name}")


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form owner/name and is no folder here."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not Path(name).exists()


def _pulled(name: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError):
        return None


def pull(name: str, say: Callable[[str], None]) -> Path:
    """Fetches the model `name` from the hub, and what its config builds on (language model, tower); its folder.

    `HF_ENDPOINT`, `HF_HOME` and the other settings of huggingface-hub hold.
    Raises: CheckpointError when the hub does not have it or cannot be reached.
    """
    from reelm.model.published import needs

    waiting, done = [name], []
    while waiting:
        wanted = waiting.pop(0)
        say(f"fetching {wanted}")
        done.append(_fetch(wanted))
        try:
            waiting += [other for other in needs(done[-1]) if is_hub_id(other)]
        except PolicyError as error:
            say(f"note: {error}")
    return done[0]


def _fetch(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    try:
        files = [file.rfilename for file in HfApi().model_info(name).siblings or ()]
        whole = any(file.endswith(".safetensors") for file in files)
        extra = _SIDE_FILES if whole else (*_SIDE_FILES, "pytorch_model*.bin")
        return Path(snapshot_download(name, allow_patterns=[*_PATTERNS, *extra]))
    except Exception as error:  # the hub's client changes its HTTP library, and with it the errors, between versions
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"cannot fetch {name!r}: {reason}", where="the hub",
                              remedy="Check the name and the connection, or give a folder") from None
