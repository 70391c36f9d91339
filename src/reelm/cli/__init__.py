"""The command `reelm`: one file per verb. Nothing here imports torch until a verb needs it."""
