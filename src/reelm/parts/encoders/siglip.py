"""The `siglip` encoder: the SigLIP vision tower, read one layer before its end."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import field_validator
from transformers import SiglipVisionConfig, SiglipVisionModel
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from reelm.parts.encoders.tower import Colour, PictureTower, TowerConfig, processor_of
from reelm.registry import part


@part("encoder", "siglip")
class Siglip(PictureTower):
    """SigLIP's picture tower: 27×27 features of width 1,152 for so400m/14 at 384 pixels; there is no class token.

    Preprocessing: squashed to S×S (bicubic, aspect ratio not kept), scaled to -1..1.

    Shapes: forward [F,3,S,S] to [F, h·w, D].
    Source: SigLIP (Zhai et al. 2023) as read by VideoLLaMA 2.1; bit-identical (tests/parts/test_towers.py).
    """

    class Config(TowerConfig):
        hf_config = SiglipVisionConfig
        default_mean: ClassVar[Colour] = (0.5, 0.5, 0.5)
        default_std: ClassVar[Colour] = (0.5, 0.5, 0.5)

        @field_validator("select_feature")
        @classmethod
        def _no_class_token(cls, value: str) -> str:
            if value != "patch":
                raise ValueError(f"SigLIP has no class token, so {value!r} does not exist")
            return value

    config_class = SiglipVisionConfig
    tower_class = SiglipVisionModel

    @classmethod
    def _processor(cls, side_px: int, mean: Colour, std: Colour) -> Any:
        return processor_of(SiglipImageProcessorPil, (("height", side_px), ("width", side_px)), None, mean, std)
