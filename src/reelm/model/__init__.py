"""The model behind `reelm.load`: config, weights, processor, and their names in the Auto classes of transformers."""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from reelm.model.config import ReelmConfig
from reelm.model.modeling import ReelmModel
from reelm.model.processing import ReelmProcessor, Sketch
from reelm.types import AudioVideo

AutoConfig.register("reelm", ReelmConfig, exist_ok=True)
for _auto in (AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText):
    _auto.register(ReelmConfig, ReelmModel, exist_ok=True)
AutoProcessor.register(ReelmConfig, ReelmProcessor, exist_ok=True)

__all__ = ["AudioVideo", "ReelmConfig", "ReelmModel", "ReelmProcessor", "Sketch"]
