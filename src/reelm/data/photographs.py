"""Photographs of things with names: pictures that a package ships, cut out and set on a ground, and what they show.

`HELD_OUT` is the list that measures natural words; no picture in it is ever used in training.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image as Picture

#: Picture in the package of stamps (see `recordings.stamps`) -> accepted words: names of what it shows and names of the
#: groups it belongs to, at most two levels up in WordNet. Chosen before any training on photographs.
HELD_OUT: dict[str, tuple[str, ...]] = {
    "animals/amphibians/frog": ("frog", "tree frog", "tailed frog", "bullfrog", "toad", "amphibian"),
    "animals/birds/peacock": ("peacock", "peafowl", "pheasant"),
    "animals/birds/pelican": ("pelican", "seabird"),
    "animals/birds/pink_flamingo": ("flamingo", "wading bird", "wader"),
    "animals/birds/ostrich": ("ostrich", "flightless bird", "ratite", "bird"),
    "animals/birds/owl": ("owl", "great grey owl", "bird of prey"),
    "animals/birds/tucan": ("toucan", "bird"),
    "animals/birds/penguin": ("penguin", "king penguin", "seabird"),
    "animals/birds/hen": ("hen", "chicken", "fowl"),
    "animals/birds/gander": ("goose", "gander", "waterfowl", "waterbird"),
    "animals/birds/drake": ("drake", "duck", "waterfowl"),
    "animals/birds/magpie": ("magpie", "corvine bird", "bird"),
    "animals/birds/vulture": ("vulture", "bird of prey"),
    "animals/birds/heron_greatblue": ("heron", "little blue heron", "great blue heron", "wading bird", "wader"),
    "animals/fish/lionfish": ("lionfish", "fish"),
    "animals/fish/lobster": ("lobster", "spiny lobster", "crustacean"),
    "animals/insects/fly": ("fly", "insect"),
    "animals/insects/grasshopper": ("grasshopper", "cricket", "insect"),
    "animals/insects/mantis": ("mantis", "praying mantis", "insect"),
    "animals/lizards/iguana": ("iguana", "lizard"),
    "animals/mammals/apes/chimp": ("chimpanzee", "ape", "great ape"),
    "animals/mammals/apes/gorilla": ("gorilla", "ape", "great ape"),
    "animals/mammals/aquatic/sea_lion": ("sea lion", "seal"),
    "animals/mammals/aquatic/otter": ("otter", "mustelid"),
    "animals/mammals/badger": ("badger", "mustelid"),
    "animals/mammals/bears/bear": ("bear", "brown bear", "black bear", "carnivore"),
    "animals/mammals/bovines/bison": ("bison", "buffalo", "bovine"),
    "animals/mammals/bovines/ram": ("ram", "sheep", "bighorn"),
    "animals/mammals/camel/dromedary": ("camel", "dromedary"),
    "animals/mammals/cats/lion": ("lion", "big cat", "cat"),
    "animals/mammals/cats/tiger": ("tiger", "big cat", "cat"),
    "animals/mammals/dogs/fox": ("fox", "red fox", "kit fox"),
    "animals/mammals/elephant": ("elephant", "african elephant", "african bush elephant", "indian elephant",
                                 "asian elephant", "tusker"),
    "animals/mammals/equines/zebra": ("zebra", "equine"),
    "animals/mammals/hippopotamus": ("hippopotamus", "hippo"),
    "animals/mammals/pig": ("pig", "hog", "swine"),
    "animals/mammals/rodents/beaver": ("beaver", "rodent"),
    "animals/mammals/rodents/marmot": ("marmot", "rodent", "squirrel"),
    "animals/mammals/rodents/squirrel": ("squirrel", "fox squirrel", "rodent"),
    "animals/marsupials/koala": ("koala", "marsupial"),
    "animals/marsupials/wombat": ("wombat", "marsupial"),
    "food/fruit/banana": ("banana", "fruit"),
    "food/fruit/Strawberry2": ("strawberry", "berry", "fruit"),
    "food/fruit/lemon": ("lemon", "citrus fruit", "citrus", "fruit"),
    "food/fruit/pineapple": ("pineapple", "fruit"),
    "food/fruit/apple_granny_smith": ("apple", "granny smith", "granny smith apple", "fruit"),
    "food/vegetables/broccoli": ("broccoli", "vegetable"),
    "food/vegetables/yellowpepper": ("bell pepper", "pepper", "vegetable"),
    "food/pizza": ("pizza", "dish"),
    "hobbies/binoculars": ("binoculars",),
    "hobbies/camera_35mm": ("camera", "reflex camera", "polaroid camera"),
    "hobbies/music/string/cello": ("cello", "stringed instrument", "violin"),
    "hobbies/music/string/guitar_classical": ("acoustic guitar", "guitar", "stringed instrument"),
    "hobbies/music/string/guitar_electric": ("electric guitar", "guitar", "stringed instrument"),
    "hobbies/music/brass/trumpet": ("trumpet", "cornet", "brass", "brass instrument"),
    "household/dishes/teapot": ("teapot", "pot"),
    "household/tools/hammer": ("hammer", "hand tool", "tool"),
    "household/toilet": ("toilet", "toilet seat"),
    "medical/stethoscope": ("stethoscope", "medical instrument"),
    "medical/syringe": ("syringe", "medical instrument"),
    "sports/soccer": ("soccer ball", "ball", "football"),
    "sports/basketball": ("basketball", "ball"),
    "sports/tennis_ball": ("tennis ball", "ball"),
    "vehicles/flight/balloon360": ("balloon", "hot air balloon", "aircraft"),
    "vehicles/flight/planes/747": ("airliner", "airplane", "plane", "aircraft"),
    "vehicles/emergency/firetruck": ("fire engine", "fire truck", "truck"),
    "vehicles/race/indycar": ("race car", "racing car", "racer", "car"),
    "vehicles/cycle/pink_tricycle": ("tricycle", "bicycle"),
}
#: Drawings and signs, which are no photographs.
_DRAWN = ("cartoon", "symbols", "roadsigns", "flags", "hanukkah", "clothes", "newyears")


def training(stamps: Path) -> list[str]:
    """The photographs that training may use, by name, in order: everything that is not drawn and not held out."""
    names = sorted(str(f.relative_to(stamps).with_suffix("")) for f in stamps.rglob("*.png"))
    mirrored = ("_mirror", "_flip", "-outline")
    return [n for n in names if n not in HELD_OUT and not n.endswith(mirrored) and not any(d in n for d in _DRAWN)]


def composed(path: Path, side_px: int, ground: np.ndarray | tuple[int, int, int], share: float = 0.8,
             centre: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    """A cut-out picture on a ground: uint8 [side_px, side_px, 3]; its longer side is `share` of the whole.

    `ground` is a colour, or a picture [side_px, side_px, 3]; `centre` is where the middle of the thing stands.
    """
    with Picture.open(path) as opened:
        thing = opened.convert("RGBA")
    scale = share * side_px / max(thing.size)
    width, height = (max(1, round(n * scale)) for n in thing.size)
    thing = thing.resize((width, height), Picture.Resampling.LANCZOS)
    if isinstance(ground, tuple):
        ground = np.full((side_px, side_px, 3), ground, np.uint8)
    whole = Picture.fromarray(ground)
    whole.paste(thing, (round(centre[0] * side_px - width / 2), round(centre[1] * side_px - height / 2)), thing)
    return np.asarray(whole)
