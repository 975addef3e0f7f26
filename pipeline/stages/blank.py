"""What is left of an erased sample: its key, the sizes of its picture and maps, and the licence it was under."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import numpy as np

from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.errors import DamagedShard
from t2i_shards.pipeline.image.stored import encode_jpeg
from t2i_shards.pipeline.shards.sample import Sample
from t2i_shards.pipeline.shards.sample_info import read_info

GREY, QUALITY = 128, 50
KEPT = ("license", "license_name", "license_url")
"""Of what a source knows of a picture: what decides whether its place in a publication is counted."""


def blank_sample(sample: Sample) -> Sample:
    """A sample with the same key and members, which has nothing of the picture in it and decodes as before.

    The picture is grey and the maps show nothing, in their sizes; the caption is empty. A member that cannot be
    read, or that no condition has, is empty.
    """
    members = dict.fromkeys(sample.members, b"")
    with suppress(DamagedShard):
        info = read_info(sample)
        source = {name: info.source[name] for name in KEPT if name in info.source}
        members["json"] = replace(info, captions=("",), sha256=None, source=source).encode()
        if "jpg" in members:
            grey = np.full((info.height, info.width, 3), GREY, np.uint8)
            members["jpg"] = encode_jpeg(grey, QUALITY)
    held = {name: bytes(data) for name, data in sample.members.items()}
    for form in formats().values():
        if form.members[0] in held:
            with suppress(ValueError):
                blank = form.encode(form.blank(form.decode(held)))
                members |= {name: blank[name] for name in blank.keys() & held.keys()}
    return Sample(sample.key, members)
