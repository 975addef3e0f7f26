"""The colours of segmentation maps as the published seg adapter saw them.

Not ADE20K's and not mmseg's palette: the PASCAL-VOC bit palette of `id + 1` over COCO-Stuff ids, so that
pixel value v of a stuffthingmap (0..181, 255 = unlabelled) has colour voc(v + 1), and unlabelled is black.
"""

import numpy as np

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
"""uint8 (256, 3): the colour of every stored pixel value."""
PALETTE.flags.writeable = False
