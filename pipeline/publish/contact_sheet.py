"""The contact sheet of a card: the first samples with all their pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from t2i_shards.extractors.budget import stored_size
from t2i_shards.pipeline.shards.sample import Sample

SAMPLES, SIDE, GAP, LABEL, CAPTION = 6, 192, 8, 24, 30
WIDEST = 4 * SIDE
"""Of a picture that is shown; the geometry gives none more than twice as wide as high."""
QUALITY = 88


def draw_contact_sheet(samples: Sequence[Sample]) -> bytes:
    """JPEG: a line for each sample, its pictures at a height of 192 pixels, its caption below."""
    rows = [
        [(name, _shrink(name, data)) for name, data in sample.members.items() if _is_picture(name)]
        for sample in samples
    ]
    width = max((sum(image.width + GAP for _, image in row) for row in rows), default=0) + GAP
    sheet = Image.new("RGB", (max(width, 2 * SIDE), LABEL + len(rows) * (SIDE + CAPTION) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (sample, row) in enumerate(zip(samples, rows, strict=True)):
        left, top = GAP, LABEL + number * (SIDE + CAPTION)
        for name, image in row:
            if number == 0:
                draw.text((left, 4), name.partition(".")[0] if name != "jpg" else "picture", "#62666d", _font(14))
            sheet.paste(image, (left, top))
            left += image.width + GAP
        caption = bytes(sample.members["txt"]).decode("utf-8", "replace")
        draw.text((GAP, top + SIDE + 4), _cut(caption, sheet.width - 2 * GAP), "#1b1c1e", _font(16))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _is_picture(member: str) -> bool:
    return member.endswith(("jpg", "png"))


def _shrink(name: str, data: bytes | memoryview) -> Image.Image:
    kind = "JPEG" if name.endswith("jpg") else "PNG"
    stored_size(data, kind)
    with Image.open(io.BytesIO(data), formats=(kind,)) as image:
        picture = image.convert("RGB")
    width = min(max(1, round(picture.width * SIDE / picture.height)), WIDEST)
    return picture.resize(
        (width, SIDE), Image.Resampling.BOX if width < picture.width else Image.Resampling.NEAREST
    )


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _cut(text: str, width: int) -> str:
    """As much of the text as fits on a line."""
    line = " ".join(text.split())
    if _font(16).getlength(line) <= width:
        return line
    while line and _font(16).getlength(f"{line}...") > width:
        line = line[:-1]
    return f"{line}..."
