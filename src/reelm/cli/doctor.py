"""`reelm doctor`: what this machine offers, and what is missing for which purpose."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated

import typer

from reelm.cli import terminal


@dataclass(frozen=True)
class Finding:
    """One line: `state` is "ok", "note" (works, but worth knowing) or "missing" (something will not work)."""

    topic: str
    found: str
    state: str = "ok"
    remedy: str = ""


def doctor(
    json: Annotated[bool, typer.Option("--json", help="A list of objects: topic, found, state, remedy.")] = False,
) -> None:
    """Check Python, torch, the processor, FFmpeg, the cache, optional packages and reelm-tiny. Exit code 1 if a
    package that reelm cannot do without is missing."""
    findings = [finding for check in CHECKS for finding in examined(check)]
    if json:
        terminal.as_json([asdict(finding) for finding in findings])
    else:
        terminal.table(("", "topic", "found"), [(f.state, f.topic, f.found) for f in findings])
        for finding in findings:
            if finding.remedy:
                terminal.say(f"{finding.topic}: {finding.remedy}")
    if any(f.state == "missing" and f.topic in CORE for f in findings):
        raise typer.Exit(1)


def examined(check: Callable[[], list[Finding]]) -> list[Finding]:
    """What a check finds; a check that breaks is itself a finding, the others still run."""
    try:
        return check()
    except Exception as error:
        return [Finding(check.__name__, f"{type(error).__name__}: {error}", "missing")]


def software() -> list[Finding]:
    """Python and the packages that reelm cannot do without."""
    found = [Finding("python", f"{platform.python_version()} at {sys.executable}"),
             Finding("system", f"{platform.system()} {platform.machine()}")]
    for package in ("reelm", *CORE):
        try:
            found.append(Finding(package, version(package)))
        except PackageNotFoundError:
            state = "note" if package == "reelm" else "missing"
            found.append(Finding(package, "not installed", state,
                                 "make venv" if package == "reelm" else f"pip install {package}"))
    return found


def processor() -> list[Finding]:
    """The CPU's units, threads, and GPUs as torch sees them."""
    import torch

    units = torch.backends.cpu.get_cpu_capability()
    flags = cpu_flags()
    fast = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    found = [Finding("processor", f"{units}; flags: {', '.join(fast) or 'unknown'}"),
             Finding("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores")]
    if torch.cuda.is_available():
        found += [Finding("gpu", torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]
    elif torch.backends.mps.is_available():
        found.append(Finding("gpu", "Apple GPU (not tried by our tests; use --device mps)", "note"))
    else:
        built = torch.version.cuda or torch.version.hip
        found.append(Finding("gpu", "none in use: " + (f"torch is built for {built} but finds no device" if built
                                                       else "this torch is a CPU build"), "note"))
    return found


def cpu_flags() -> set[str]:
    """The processor's feature flags, empty where the system does not list them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())


def ffmpeg() -> list[Finding]:
    """The FFmpeg libraries inside PyAV, and whether they read the formats we promise."""
    import av

    versions = ", ".join(f"{name} {'.'.join(map(str, number))}" for name, number in av.library_versions.items())
    wanted = ("h264", "vp9", "aac", "opus", "mp3", "flac")
    absent = [name for name in wanted if name not in av.codecs_available]
    if absent:
        return [Finding("ffmpeg", versions), Finding("decoders", f"without {', '.join(absent)}", "missing",
                                                     "install the av wheel instead of a build against other libraries")]
    return [Finding("ffmpeg", versions), Finding("decoders", ", ".join(wanted))]


def cache() -> list[Finding]:
    """Where files are kept, whether that place can be written, and how much room is left."""
    from reelm.model.sources import cache_root

    root = cache_root()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return [Finding("cache", f"{root} cannot be written", "missing", "set REELM_CACHE to a folder of yours")]
    room = Finding("cache", f"{root}, {free / 1e9:.1f} GB free")
    # The base of reelm-tiny takes 0.1 GB as fetched and 0.5 GB converted.
    return [room] if free > 2e9 else [Finding(room.topic, room.found, "note", "less than 2 GB of room")]


def extras() -> list[Finding]:
    """The optional groups of packages, `pip install 'reelm[train]'`, and which of their packages are absent."""
    groups: dict[str, list[str]] = {}
    if not installed("reelm"):
        return [Finding("extras", "unknown: reelm runs from a source tree that is not installed", "note")]
    for line in requires("reelm") or []:
        need, _, condition = line.partition("; extra == ")
        if condition and not need.startswith("reelm["):
            groups.setdefault(condition.strip("'\""), []).append(re.split(r"[^\w.-]", need)[0])
    found = []
    for group, packages in groups.items():
        absent = [name for name in packages if not installed(name)]
        found.append(Finding(f"extra {group}", "complete" if not absent else f"without {', '.join(absent)}",
                             "note" if absent else "ok", f"pip install 'reelm[{group}]'" if absent else ""))
    return found


def installed(package: str) -> bool:
    """Whether a distribution of this name is there."""
    try:
        version(package.strip())
    except PackageNotFoundError:
        return False
    return True


def tiny() -> list[Finding]:
    """The pieces of reelm-tiny."""
    if importlib.util.find_spec("torch") is None:
        return [Finding("reelm-tiny", "not looked at, because torch is missing", "note")]
    from reelm.cli.model import tiny_parts

    absent = [name for name, path in tiny_parts().items() if path is None]
    if absent:
        return [Finding("reelm-tiny", f"missing: {'; '.join(absent)}", "missing", "run: reelm model pull reelm-tiny")]
    return [Finding("reelm-tiny", "complete")]


#: Packages without which nothing works; the names are those of pip.
CORE = ("torch", "transformers", "safetensors", "av", "numpy", "pillow", "pydantic", "kaldi-native-fbank")
CHECKS = (software, processor, ffmpeg, cache, extras, tiny)
