"""The base of every part's settings: typed, closed to unknown fields, frozen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class PartConfig(BaseModel):
    """Settings of one part. An unknown field is an error, so a misspelt option cannot be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
