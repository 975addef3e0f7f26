"""Croissant: the publication described for machines (mlcommons.org/croissant, version 1.0)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.publish.facts import Facts
from t2i_shards.pipeline.shards.receipt import digest_json, to_json

CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "excludes": "cr:excludes",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
FORMATS = {"jpg": "image/jpeg", "png": "image/png", "txt": "text/plain", "json": "application/json"}
FOLDER = "croissant"


def mark_path(facts: Facts) -> str:
    """A file in a folder that is named by the digest of all shards.

    mlcroissant keeps what it unpacked by the contentUrl alone. So the one of each shard leads through this folder,
    and shards of another publication or revision have others.
    """
    return f"{FOLDER}/{digest_json([line.sha256 for line in facts.lines])[:16]}/mark.txt"


def describe(facts: Facts, licence: str) -> bytes:
    """croissant.json. licence: an address or a sentence."""
    way = f"{mark_path(facts).rpartition('/')[0]}/../.."
    shards = [
        {
            "@type": "cr:FileObject",
            "@id": line.name,
            "name": line.name,
            "contentUrl": f"{way}/{line.name}",
            "contentSize": f"{line.bytes} B",
            "encodingFormat": "application/x-tar",
            "sha256": line.sha256,
        }
        for line in facts.lines
    ]
    held = [{"@id": line.name} for line in facts.lines]
    asked = {"inLanguage": facts.claim.get("language"), "citeAs": facts.claim.get("citation")}
    return to_json(
        {
            "@context": CONTEXT,
            "@type": "sc:Dataset",
            "conformsTo": "http://mlcommons.org/croissant/1.0",
            "name": facts.title,
            "description": facts.claim.get("description")
            or f"{number_of(facts.samples, 'sample')} of text and image conditions, in WebDataset shards.",
            **{name: value for name, value in asked.items() if value},
            "license": licence,
            "url": facts.contact if facts.contact.startswith(("https://", "http://")) else "README.md",
            "version": f"1.{len(facts.revisions)}.0",
            "distribution": [*shards, *(_files(member, facts.members, held) for member in facts.members)],
            "recordSet": [_records(member) for member in facts.members],
        }
    )


def _files(member: str, members: Sequence[str], held: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"files-{member}",
        "name": f"files-{member}",
        "description": f"The member {member} of every sample.",
        "containedIn": held if len(held) > 1 else held[0],
        "encodingFormat": FORMATS.get(member.rpartition(".")[2], "application/octet-stream"),
        "includes": match_member(member, members),
    }


def match_member(member: str, members: Sequence[str]) -> list[str]:
    """Patterns (fnmatch) of the files that hold a member, and not those of members that end alike.

    A plain *.json finds keypose.json too, and mlcroissant does not heed `excludes`. So the patterns for json ask
    for .json after another character than "e", e.json after another than "s", and so on to the dot of .keypose.
    """
    alike = [f".{other.removesuffix(f'.{member}')}" for other in members if other.endswith(f".{member}")]
    ends = sorted({end[at:] for end in alike for at in range(1, len(end) + 1)}, key=lambda end: (len(end), end))
    patterns = []
    for end in ends:
        if end.endswith(tuple(alike)):
            continue
        before = sorted({other[-len(end) - 1] for other in alike if other.endswith(end) and other != end})
        patterns += [f"*[!{''.join(before)}]{end}.{member}", *([f"{end}.{member}"] if end else [])]
    return patterns or [f"*.{member}"]


def _records(member: str) -> dict[str, Any]:
    picture = member.endswith(("jpg", "png"))
    content: dict[str, Any] = {"fileSet": {"@id": f"files-{member}"}, "extract": {"fileProperty": "content"}}
    name = {"fileSet": {"@id": f"files-{member}"}, "extract": {"fileProperty": "filename"}}
    return {
        "@type": "cr:RecordSet",
        "@id": f"records-{member}",
        "name": f"records-{member}",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"records-{member}/file",
                "name": f"records-{member}/file",
                "dataType": "sc:Text",
                "source": name,
            },
            {
                "@type": "cr:Field",
                "@id": f"records-{member}/content",
                "name": f"records-{member}/content",
                "dataType": "sc:ImageObject" if picture else "sc:Text",
                "source": content,
            },
        ],
    }
