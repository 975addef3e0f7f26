"""The dataset card: README.md with the front matter that the Hugging Face Hub reads, and its contact sheet."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw, ImageFont

from t2i_shards.extractors.budget import stored_size
from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.dataset.provenance import describe_geometry
from t2i_shards.pipeline.plain import escape_markdown, number_of, show_plain
from t2i_shards.pipeline.publish.edits import CARD, LICENCE, seal
from t2i_shards.pipeline.publish.facts import Facts
from t2i_shards.pipeline.shards.sample import Sample

SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
"""Bounds of the Hub's size categories, from 1000 on each ten times the one before."""
DTYPES = {"jpg": "image", "png": "image", "txt": "string", "json": "json"}
"""By the last part of a member's name. json is a type of its own: inferred from the first samples, a list that is
empty in them could hold nothing later."""

SAMPLES, SIDE, GAP, LABEL, CAPTION = 6, 192, 8, 24, 30
WIDEST = 4 * SIDE
"""Of a picture that is shown; the geometry gives none more than twice as wide as high."""
QUALITY = 88


def render_cards(facts: Facts, template: str = "card.md.j2") -> dict[str, bytes]:
    """Path -> bytes of the card, and of the terms where the card has to refer to a file for them."""
    terms = {} if licence_id(facts) != "other" else {LICENCE: render_card(facts, "licence.md.j2")}
    return {CARD: render_card(facts, template), **terms}


def render_card(facts: Facts, template: str = "card.md.j2") -> bytes:
    """README.md. Texts come from outside: what has a meaning in Markdown or HTML is escaped."""
    meanings = list_meanings()
    environment = Environment(  # Markdown, so HTML's escaping is not it
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "md": escape_markdown,
        "json": lambda value: json.dumps(show_plain(value), ensure_ascii=False),
        "count": partial(number_of, group=","),
        "dtype": lambda member: DTYPES.get(member.rpartition(".")[2], "binary"),
        "holds": lambda member, column: meanings.get(member, column),
        "reasons": _reasons,
        "block": lambda text: "\n".join(f"    {show_plain(line)}" for line in text.splitlines()),
    }
    text: str = environment.get_template(template).render(
        facts=facts,
        columns=[(IMAGES, facts.members), *((maker.column, members) for maker, members in facts.makers)],
        licence_id=licence_id(facts),
        licence_file=LICENCE,
        size_category=size_category(facts.samples),
        geometry=escape_markdown(describe_geometry(facts.claim["geometry"])),
        research_only=[maker.column for maker, _ in facts.makers if maker.research_only],
        small={form.members[0] for form in formats().values() if form.cell > 1},
        recipes=json.dumps({maker.column: maker.recipe for maker, _ in facts.makers}, indent=1, sort_keys=True),
    )
    return seal(text.encode())


def list_meanings() -> dict[str, str]:
    """member -> what it holds, for readers who know none of this project's conditions."""
    return {
        member: meaning
        for form in formats().values()
        for member, meaning in zip(form.members, form.meanings, strict=True)
    }


def size_category(samples: int) -> str:
    """The Hub's word for a number of samples."""
    at = next((i for i in range(len(SIZES)) if samples < 1000 * 10**i), len(SIZES))
    if at == 0:
        return f"n<{SIZES[0]}"
    return f"{SIZES[at - 1]}<n<{SIZES[at]}" if at < len(SIZES) else f"n>{SIZES[-1]}"


def licence_id(facts: Facts) -> str:
    """The Hub's word for the licence of the whole: other where a part has terms of its own, else the one that was
    asked for, and apache-2.0 where all of it is ours."""
    if any(maker.research_only for maker, _ in facts.makers):
        return "other"
    if asked := facts.claim.get("license"):
        theirs = any(facts.licences) or (facts.crawl and facts.pictures)
        return "other" if theirs else str(asked)
    ours = all(maker.is_ours for maker, _ in facts.makers)
    return "apache-2.0" if ours and facts.claim["source"]["kind"] == "scenes" else "other"


def _reasons(lost: Mapping[str, int]) -> str:
    return ", ".join(f"{escape_markdown(reason)} {count:,}" for reason, count in sorted(lost.items())) or "none"


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
