"""`python -m reelm.cli` is `reelm`."""

from reelm.cli.main import app

app()
