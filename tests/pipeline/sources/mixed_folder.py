"""A folder of everything that people have: each ending, mode, orientation, profile and encoding of captions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from t2i_shards.pipeline.image.opened import prepare_codecs
from tests.pipeline.image.pictures import png16, save, smooth
from tests.pipeline.image.profiles import make_grey, make_rgb, to_profile

SHAPE = (72, 90)
KINDS = {
    "JPEG": (".jpg", ".jpeg", ".JPG", ".jpe", ".jfif"),
    "PNG": (".png", ".PNG"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "L", "RGBA", "LA", "P", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("RGB", "L", "P", "1"),
    "TIFF": ("RGB", "L", "RGBA", "CMYK", "P", "1", "I;16"),
    "GIF": ("P", "L"),
    "AVIF": ("RGB", "RGBA"),
    "HEIF": ("RGB", "RGBA", "L"),
}
ORIENTED = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
PROFILED = ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF")
CAPTIONS: dict[str, tuple[bytes, str]] = {
    "plain.txt": (b"a cat", "ok"),
    "CAPITALS.TXT": (b"a cat", "ok"),
    "whole-name.png.txt": (b"a cat", "ok"),
    "utf16.txt": ("\ufeffa caf\u00e9".encode("utf-16-le"), "ok"),
    "cp1252.txt": (b"it\x92s", "ok"),
    "lines.txt": (b"one\rtwo\r\nthree\n", "ok"),
    "long.txt": (b"word " * 9000, "ok"),
    "empty.txt": (b" \n", "no caption"),
    "control.txt": (b"a\x00b", "caption not readable"),
    "undefined.txt": (b"a\x81b", "caption not readable"),
    "huge.txt": (b"x" * (2 << 20), "caption not readable"),
}
"""Name of a caption file beside a picture -> its bytes, and what becomes of the picture."""


@dataclass
class Mixed:
    """statuses: picture -> what becomes of it. used: files that captions come from. left_out: reason -> files."""

    folder: Path
    statuses: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    left_out: dict[str, set[str]] = field(default_factory=dict)

    def put(self, name: str, data: bytes, status: str = "ok", caption: str = "a picture") -> None:
        """A picture with a caption."""
        self._write(name, data)
        self.statuses[name] = status
        text = str(Path(name).with_suffix(".txt"))
        self._write(text, caption.encode())
        self.used.add(text)

    def leave(self, name: str, data: bytes, reason: str) -> None:
        """A file that is left out of the plan."""
        self._write(name, data)
        self.left_out.setdefault(reason, set()).add(name)

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    @property
    def files(self) -> int:
        """All files below the folder that are not reached by a link to a folder."""
        return sum(len(names) for _, _, names in os.walk(self.folder))


def make_mixed(folder: Path, shapes: Sequence[tuple[int, int]] = (SHAPE,)) -> Mixed:
    """Some 360 files; another 270 for each further shape (height, width), wider than high."""
    prepare_codecs()
    mixed = Mixed(folder)
    for shape in shapes:
        for name, data in (*_pictures(shape), *_oriented(shape), *_profiled(shape)):
            kind, slash, rest = name.partition("/")
            mixed.put(f"{kind}{'' if shape == SHAPE else shape[1]}{slash}{rest}", data)
    for name, data in _odd():
        mixed.put(name, data)
    _put_captions(mixed)
    _put_damaged(mixed)
    _put_foreign(mixed)
    _put_links(mixed)
    return mixed


def encode(kind: str, picture: np.ndarray | Image.Image, **options: Any) -> bytes:
    if kind == "AVIF":
        options["speed"] = 10
    return save(picture, kind, **options)


def _pictures(shape: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    rgb = Image.fromarray(smooth(*shape))
    for kind, endings in KINDS.items():
        for mode in MODES[kind]:
            image = rgb.quantize(16) if mode == "P" else rgb.convert("L" if mode == "I;16" else mode)
            if mode == "I;16":
                image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
            data = encode(kind, image)
            for ending in endings:
                yield f"modes/{kind}-{mode.replace(';', '-')}{ending[1:]}{ending}", data


def _oriented(shape: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    for kind in ORIENTED:
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            data = encode(kind, smooth(*shape), exif=exif.tobytes())
            yield f"orientations/{kind}-{orientation}{KINDS[kind][0]}", data


def _profiled(shape: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    profiles = {"p3": make_rgb(), "grey": make_grey(2.2), "none": b"no profile", "cut": make_rgb()[:200]}
    for kind in PROFILED:
        for name, icc in profiles.items():
            data = encode(kind, to_profile(smooth(*shape), make_rgb()), icc_profile=icc)
            yield f"profiles/{kind}-{name}{KINDS[kind][0]}", data


def _odd() -> Iterator[tuple[str, bytes]]:
    jpeg = encode("JPEG", smooth(*SHAPE))
    pages = [Image.fromarray(smooth(*SHAPE)), Image.new("RGB", (20, 20))]
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * (3 << 20), zip=True)
    yield "odd/no end marker.jpg", jpeg[:-2]
    yield "odd/pages.tif", encode("TIFF", pages[0], save_all=True, append_images=pages[1:])
    yield "odd/views.jpg", encode("MPO", pages[0], save_all=True, append_images=pages[1:])
    yield "odd/burst.heic", encode("HEIF", pages[0], save_all=True, append_images=pages[1:])
    yield "odd/large text.png", encode("PNG", pages[0], pnginfo=text)
    yield "odd/16 bits.png", png16(4, np.full((72, 90, 4), 40_000, np.uint16))
    yield "odd/a jpeg by another name.png", jpeg
    yield "odd/Screenshot 4.42.48\u202fPM.png", encode("PNG", pages[0])
    yield "odd/family \U0001f468\u200d\U0001f469\u200d\U0001f467.jpg", jpeg
    yield "odd/caf\u00e9 \u00a0.jpeg", jpeg


def _put_captions(mixed: Mixed) -> None:
    for name, (data, status) in CAPTIONS.items():
        picture = "captions/" + name.removesuffix(".txt").removesuffix(".png").removesuffix(".TXT") + ".png"
        mixed._write(picture, encode("PNG", smooth(*SHAPE)))
        mixed._write(f"captions/{name}", data)
        mixed.statuses[picture] = status
        mixed.used.add(f"captions/{name}")
    mixed._write("captions/without.png", encode("PNG", smooth(*SHAPE)))
    mixed.statuses["captions/without.png"] = "no caption"
    lines = '{"file_name": "one.png", "text": "one"}\n{"file_name": "two.png", "text": ["two", "deux"]}\n'
    lines += '{"file_name": "three.png", "text": "not there"}\n'
    mixed.left_out["no such file"] = {"imagefolder/three.png"}
    mixed._write("imagefolder/metadata.jsonl", lines.encode())
    mixed.used.add("imagefolder/metadata.jsonl")
    for name in ("one", "two"):
        mixed._write(f"imagefolder/{name}.png", encode("PNG", smooth(*SHAPE)))
        mixed.statuses[f"imagefolder/{name}.png"] = "ok"


def _put_damaged(mixed: Mixed) -> None:
    picture, frames = smooth(*SHAPE), [Image.fromarray(smooth(*SHAPE)), Image.new("RGB", (90, 72))]
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "HEIF"):
        data = encode(kind, picture)
        mixed.put(f"damaged/{kind}{KINDS[kind][0]}", data[: len(data) // 2], "truncated | not a picture")
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        data = encode(kind, frames[0], save_all=True, append_images=frames[1:])
        mixed.put(f"damaged/animated-{kind}{KINDS[kind][0]}", data, "animated")
    mixed.put("damaged/page.jpg", b"<html>not found</html>", "not a picture")
    mixed.put("damaged/nothing.jpg", b"", "not a picture")
    mixed.put("damaged/stub.heic", b"\0\0\0\x18ftypheic" + bytes(100), "not a picture")
    mixed.put("damaged/float.tif", encode("TIFF", Image.new("F", (90, 72))), "unsupported mode")
    mixed.put("damaged/small.png", encode("PNG", smooth(20, 30)), "too small")


def _put_foreign(mixed: Mixed) -> None:
    for name in (".DS_Store", "Thumbs.db", "notes.md", "clip.mp4", "raw.CR2", "scan.pdf", "old.jp2", "noending"):
        mixed.leave(f"foreign/{name}", b"x", "format not taken")
    mixed.leave("foreign/lonely.txt", b"of no picture", "caption without picture")
    odd = encode("PNG", smooth(*SHAPE))
    for name in ("line\nfeed.png", os.fsdecode(b"latin-\xe9.png"), "escape\x1b[31m.png"):
        mixed.leave(f"foreign/{name}", odd, "name with control characters or not UTF-8")


def _put_links(mixed: Mixed) -> None:
    outside = mixed.folder.parent / "outside"
    outside.mkdir()
    (outside / "private.png").write_bytes(encode("PNG", smooth(*SHAPE)))
    (mixed.folder / "links").mkdir()
    targets = {
        "inside.png": "../modes/PNG-RGBpng.png",
        "gone.png": "nothing.png",
        "out.png": outside / "private.png",
    }
    for name, status in (("inside", "ok"), ("gone", "no such file"), ("out", "link out of the folder")):
        (mixed.folder / f"links/{name}.png").symlink_to(targets[f"{name}.png"])
        (mixed.folder / f"links/{name}.txt").write_text("a link")
        mixed.statuses[f"links/{name}.png"] = status
        mixed.used.add(f"links/{name}.txt")
    (mixed.folder / "links/loop").symlink_to("..")
    (mixed.folder / "links/elsewhere").symlink_to(outside)
    mixed.left_out |= {"folder read elsewhere already": {"links/loop"}}
    mixed.left_out |= {"linked folder outside": {"links/elsewhere"}}
