"""Training on another machine that takes its inputs and gives its results in small files: a GPU lent for a while.

    here    python -m reelm.train.away pack recipes/reelm_tiny.yaml --features runs/features --out parcel
    there   python -m reelm.train.away take parcel --work work             once for every batch of pieces that arrives
    there   python -m reelm.train.away run --work work --results results --minutes 9 --device cuda
    here    python -m reelm.train.away join results --out runs/reelm-tiny

`pack` takes what a run needs: the recipe, the stored features (conversations follow from the recipe's seed) and the
base weights of reelm-tiny. `run` trains as `reelm.train.tiny` does here, asked to stop after `--minutes`; what it has
saved by then is packed into `--results`. Started again, on a fresh machine with those results too, it goes
on from there. Nothing there opens a media file, so PyAV need not be installed. What follows `--` is run instead of that
loop, in the folder of the inputs, with the folder `out` there for what it writes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from reelm.errors import ReelmError, UsageError
from reelm.model.sources import LANGUAGE, VISION, cache_root, fetch
from reelm.train import parcels

MB = 1_000_000
#: Inside the parcel; also the names in the folder where the run begins.
RECIPE, FEATURES, CACHE, OUT = "recipe.yaml", "features", "cache", "out"


def pack(recipe: Path, features: Path, out: Path, piece_mb: float = 30, *, bases: bool = True,
         more: Sequence[str] = ()) -> parcels.Parcel:
    """The inputs of a run in pieces of at most `piece_mb`; `more` are NAME=PATH to take along.

    `bases`: with the base weights of reelm-tiny, in the cache of which they are looked for there.
    Raises: UsageError for something that is not there.
    """
    entries = {RECIPE: recipe, FEATURES: features}
    for file in (LANGUAGE, VISION) if bases else ():
        place = fetch(file)
        entries[f"{CACHE}/{place.relative_to(cache_root()).as_posix()}"] = place
    for one in more:
        name, equals, path = one.partition("=")
        if not equals or not name or name.split("/")[0] == OUT:
            raise UsageError(f"{one!r} is not NAME=PATH with a name of its own", where="--add")
        entries[name] = Path(path)
    return parcels.pack(entries, out, int(piece_mb * MB))


def run(work: Path, results: Path, command: Sequence[str], *, minutes: float | None = None, piece_mb: float = 15,
        keep: Sequence[str] = ()) -> int:
    """Unpacks the pieces in `work`, goes on from `results` where there are some, runs `command`, packs what it left.

    `keep`: of what it left, only these; without the state it cannot be gone on with elsewhere.
    Gives the exit code of the command, 0 when it was ended because the time was up.
    Raises: UsageError when pieces are missing.
    """
    inputs = work / "inputs"
    parcels.unpack(work / "pieces", inputs)
    out = inputs / OUT
    if (results / parcels.LIST).is_file() and not out.is_dir():
        parcels.unpack(results, out)
    out.mkdir(exist_ok=True)
    code = _timed(command, inputs, minutes)
    left = {path.name: path for path in out.iterdir() if not keep or path.name in keep}
    parcel = parcels.pack(left, results, int(piece_mb * MB))
    say(f"{len(parcel.pieces)} pieces with {len(parcel.files)} files in {results}")
    return code


def _timed(command: Sequence[str], folder: Path, minutes: float | None) -> int:
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    # What is not packed must not be fetched there: a run then says what is missing.
    settings = os.environ | {"REELM_CACHE": str((folder / CACHE).resolve())}
    process = subprocess.Popen(list(command), cwd=folder, env=settings)
    try:
        return process.wait(None if ends is None else max(0.0, ends - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        say(f"ended after {minutes:g} minutes; it goes on from its last state next time")
        return 0
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def say(text: str) -> None:
    """One line for whoever looks on."""
    print(text, file=sys.stderr, flush=True)


def main(given: Sequence[str] | None = None) -> int:
    """The command line of this module; its exit code."""
    words = list(sys.argv[1:] if given is None else given)
    cut = words.index("--") if "--" in words else len(words)
    asked = _parser().parse_args(words[:cut])
    try:
        if asked.verb == "pack":
            parcel = pack(asked.recipe, asked.features, asked.out, asked.piece_mb, bases=not asked.no_bases,
                          more=asked.add)
            say(f"{len(parcel.pieces)} pieces, {sum(one.bytes for one in parcel.pieces) / MB:,.1f} MB, in {asked.out}")
        elif asked.verb == "take":
            have, of = parcels.take(asked.pieces, asked.work / "pieces")
            say(f"{have} of {of} pieces are there")
        elif asked.verb == "run":
            command = words[cut + 1:] or [sys.executable, "-m", "reelm.train.tiny", "--recipe", RECIPE, "--features",
                                          FEATURES, "--out", OUT, "--device", asked.device]
            return run(asked.work, asked.results, command, minutes=asked.minutes, piece_mb=asked.piece_mb,
                       keep=asked.keep)
        else:
            files = parcels.unpack(asked.results, asked.out)
            say(f"{len(files)} files in {asked.out}")
    except ReelmError as error:
        say(f"error: {error}")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("pack", help="inputs into pieces")
    verb.add_argument("recipe", type=Path)
    verb.add_argument("--features", type=Path, required=True)
    verb.add_argument("--out", type=Path, required=True)
    verb.add_argument("--piece-mb", type=float, default=30)
    verb.add_argument("--no-bases", action="store_true", help="leave out the base weights of reelm-tiny")
    verb.add_argument("--add", action="append", default=[], metavar="NAME=PATH", help="take this along as NAME")
    verb = verbs.add_parser("take", help="pieces that have arrived into the folder of work")
    verb.add_argument("pieces", type=Path)
    verb.add_argument("--work", type=Path, required=True)
    verb = verbs.add_parser("run", help="train, then results into pieces")
    verb.add_argument("--work", type=Path, required=True)
    verb.add_argument("--results", type=Path, required=True)
    verb.add_argument("--device", default="cuda")
    verb.add_argument("--minutes", type=float, help="end it after so long; it can go on later")
    verb.add_argument("--piece-mb", type=float, default=15)
    verb.add_argument("--keep", action="append", default=[], metavar="NAME", help="pack only this of what it left, for "
                      "example export; without its state the run cannot go on elsewhere")
    verb = verbs.add_parser("join", help="results out of their pieces")
    verb.add_argument("results", type=Path)
    verb.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
