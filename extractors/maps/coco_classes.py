"""COCO's classes: names and colours of COCO-Stuff's pixel values, and which value a panoptic category becomes.

A pixel value v of a stuffthingmap is category id v + 1 (github.com/nightrome/cocostuff, labels.txt): 0..90 are
things, 91..181 stuff, 255 unlabelled. The panoptic task kept ids 1..182 for the things and for 36 stuff classes,
merged others under ids 184..200 and left twelve out (cocodataset.org, "panoptic-eval").
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, street
sign, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe,
hat, backpack, umbrella, shoe, eye glasses, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball,
kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, plate, wine glass, cup,
fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake,
chair, couch, potted plant, bed, mirror, dining table, window, desk, toilet, door, tv, laptop, mouse,
remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, blender, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush, hair brush, banner, blanket, branch, bridge, building-other,
bush, cabinet, cage, cardboard, carpet, ceiling-other, ceiling-tile, cloth, clothes, clouds, counter,
cupboard, curtain, desk-stuff, dirt, door-stuff, fence, floor-marble, floor-other, floor-stone, floor-tile,
floor-wood, flower, fog, food-other, fruit, furniture-other, grass, gravel, ground-other, hill, house,
leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, net, paper, pavement, pillow,
plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, roof, rug, salad, sand,
sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, structural-other, table, tent,
textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, wall-panel, wall-stone,
wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood
"""
COCO_STUFF: tuple[str, ...] = tuple(" ".join(_NAMES.split()).split(", "))
"""Names of the 182 pixel values: COCO_STUFF[v] is the class of value v."""

NOT_IN_USE = frozenset({11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90})
"""Pixel values of things that the list names but COCO never labelled ("hat", "street sign", ...)."""

MERGED: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        184: ("tree", "branch", "bush", "leaves"),
        185: ("fence", "cage", "railing"),
        186: ("ceiling-other", "ceiling-tile"),
        187: ("sky-other", "clouds", "fog"),
        188: ("cabinet", "cupboard"),
        189: ("table", "desk-stuff"),
        190: ("floor-other", "floor-marble", "floor-tile"),
        191: ("pavement", "floor-stone"),
        192: ("mountain", "hill"),
        193: ("grass", "moss", "straw"),
        194: ("dirt", "mud"),
        195: ("paper", "napkin"),
        196: ("food-other", "salad", "vegetable"),
        197: ("building-other", "skyscraper"),
        198: ("rock", "stone"),
        199: ("wall-other", "wall-concrete", "wall-panel"),
        200: ("rug", "mat", "carpet"),
    }
)
"""Panoptic category id -> the COCO-Stuff classes merged into it; the first is the one whose name it kept."""

_KEPT = "92 93 95 100 107 109 112 118 119 122 125 128 130 133 138 141 144 145 147 148 149 151 154 155 156 159 161"
_KEPT += " 166 168 171 175 176 177 178 180 181"

PANOPTIC_IDS: tuple[int, ...] = (
    *(value + 1 for value in range(91) if value not in NOT_IN_USE),
    *map(int, _KEPT.split()),
    *MERGED,
)
"""The 133 panoptic category ids in rising order, which is the order of a panoptic network's classes."""

PANOPTIC_TO_VALUE: Mapping[int, int] = MappingProxyType(
    {
        panoptic_id: COCO_STUFF.index(MERGED[panoptic_id][0]) if panoptic_id in MERGED else panoptic_id - 1
        for panoptic_id in PANOPTIC_IDS
    }
)
"""Panoptic category id -> COCO-Stuff pixel value; a merged category becomes the class whose name it kept."""


UNLABELLED = 255


def voc(index: int) -> tuple[int, int, int]:
    """RGB of `index` (0..255) in the PASCAL-VOC palette (VOCdevkit, VOClabelcolormap.m)."""
    r = g = b = 0
    for j in range(8):
        r |= (index & 1) << (7 - j)
        g |= ((index >> 1) & 1) << (7 - j)
        b |= ((index >> 2) & 1) << (7 - j)
        index >>= 3
    return r, g, b


PALETTE = np.array([voc(v + 1) for v in range(UNLABELLED)] + [voc(0)], np.uint8)
"""uint8 (256, 3): the colour of every stored pixel value, as the published seg adapter saw it.

Not ADE20K's and not mmseg's palette: the PASCAL-VOC bit palette of `id + 1` over COCO-Stuff ids, so that pixel
value v of a stuffthingmap (0..181, 255 = unlabelled) has colour voc(v + 1), and unlabelled is black.
"""
PALETTE.flags.writeable = False
