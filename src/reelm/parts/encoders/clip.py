"""The `clip` encoder: the CLIP vision tower, read one layer before its end, without the class token."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from reelm.parts.encoders.tower import Colour, PictureTower, TowerConfig, processor_of
from reelm.registry import part


@part("encoder", "clip")
class Clip(PictureTower):
    """CLIP's picture tower: 24×24 features of width 1,024 for ViT-L/14 at 336 pixels.

    Preprocessing: shortest edge to S (bicubic), centre crop S×S, CLIP's mean and deviation.

    Shapes: forward [F,3,S,S] to [F, h·w, D], or [F, 1+h·w, D] with `select_feature` "cls_patch".
    Source: CLIP (Radford et al. 2021) as read by VideoLLaMA 2; bit-identical (tests/parts/test_towers.py).
    """

    class Config(TowerConfig):
        hf_config = CLIPVisionConfig
        default_mean: ClassVar[Colour] = (0.48145466, 0.4578275, 0.40821073)
        default_std: ClassVar[Colour] = (0.26862954, 0.26130258, 0.27577711)

    config_class = CLIPVisionConfig
    tower_class = CLIPVisionModel
    has_cls = True

    @classmethod
    def _processor(cls, side_px: int, mean: Colour, std: Colour) -> Any:
        return processor_of(CLIPImageProcessorPil, (("shortest_edge", side_px),), side_px, mean, std)

    def _embed(self, pixels: Tensor) -> Tensor:
        return self.tower.pre_layrnorm(self.tower.embeddings(pixels))
