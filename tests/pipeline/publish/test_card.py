"""The card: terms, makers and losses are named, strangers' texts mean nothing in it, and machines can read it."""

from __future__ import annotations

import dataclasses
import html
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from huggingface_hub import RepoCard
from PIL import Image

from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.plain import escape_markdown
from t2i_shards.pipeline.publish import Publication
from t2i_shards.pipeline.publish.card import licence_id, list_meanings, size_category
from t2i_shards.pipeline.shards.receipt import Receipt, digest_json, to_json
from t2i_shards.pipeline.shards.sample import Sample
from tests.faults.toys import Pictures, make_images
from tests.pipeline.publish.toys import contents, publish_here, rewrite_images
from tests.pipeline.web import Web, put_failure, put_picture

PIDINET = {
    "extractor": "sketch",
    "version": 1,
    "variant": "default",
    "weights": {
        "file": "table5_pidinet.pth",
        "sha256": "80860ac2" + "0" * 56,
        "licence": "research only; commercial use by asking the authors",
    },
}


def test_terms_of_an_annotators_weights_are_named(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4, ("sketch",))
    folder = tmp_path / "root/sketch"
    (folder / "column.json").write_bytes(to_json(PIDINET))
    receipt = Receipt.decode((folder / "000000.json").read_bytes(), "")
    (folder / "000000.json").write_bytes(dataclasses.replace(receipt, recipe=digest_json(PIDINET)).encode())
    publish_here(dataset, tmp_path / "to")
    card = (tmp_path / "to/README.md").read_text()
    assert "license: other" in card
    assert "**sketch: research only.** These conditions were drawn by PiDiNet" in card
    assert (
        "| sketch | table5_pidinet.pth | `80860ac2"
        + "0" * 56
        + "` | research only; commercial use by asking the authors |"
    ) in card


def test_the_card_names_counts_contact_and_splits(to: Path) -> None:
    card = (to / "README.md").read_text()
    front = card.split("---\n")[1]
    assert all(f'  - split: "{split}"\n    path: "data/{split}-*.tar"\n' in front for split in ("train", "test"))
    assert "| publishing | 30 | 30 | none |" in card
    assert "write to remove@example.org with its key" in card
    assert "# Toys &amp; &lt;more&gt;" in card
    assert 'pretty_name: "Toys & <more>"' in front


@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_the_front_matter_names_size_and_terms_as_the_hub_asks(tmp_path: Path, layout: str) -> None:
    """license_link: a file LICENSE or LICENSE.md of the repository, or an address."""
    dataset = make_images(tmp_path / "root", Pictures(4), 4, ("sketch",))
    publish_here(dataset, tmp_path / "to", layout=layout)
    data = RepoCard((tmp_path / "to/README.md").read_text()).data
    assert data["size_categories"] == ["n<1K"]
    assert (data["license"], data["license_link"]) == ("other", "LICENSE.md")
    assert "| sketch | no network |" in (tmp_path / "to/LICENSE.md").read_text()
    assert "LICENSE.md" in (tmp_path / "to/SHA256SUMS").read_text()


def test_size_categories() -> None:
    expected = {0: "n<1K", 999: "n<1K", 1000: "1K<n<10K", 10**6 - 1: "100K<n<1M", 10**6: "1M<n<10M"}
    expected |= {5 * 10**7: "10M<n<100M", 10**9: "1B<n<10B", 10**12 - 1: "100B<n<1T", 10**12: "n>1T"}
    assert {samples: size_category(samples) for samples in expected} == expected


def test_losses_and_opt_outs_are_counted(tmp_path: Path) -> None:
    names = [f"a-{i}" for i in range(6)]
    for i, name in enumerate(names):
        put_picture(tmp_path / "web", name, i)
    put_failure(tmp_path / "web", "a-1", "opted out: robots.txt")
    put_failure(tmp_path / "web", "a-2", "opted out: X-Robots-Tag")
    put_failure(tmp_path / "web", "a-3", "http 404")
    dataset = make_images(tmp_path / "root", Web(str(tmp_path / "web"), tuple(names)), 6)
    publish_here(dataset, tmp_path / "to")
    card = (tmp_path / "to/README.md").read_text()
    assert "| getting pictures | 6 | 3 | http 404 1, opted out: X-Robots-Tag 1, opted out: robots.txt 1 |" in card
    assert "Not taken: 2 pictures, because their hosts say no" in card


HOSTILE = (
    "a|b <script> [x](http://e.example) `z`\n# h",
    "\\[x\\](http://e.example) \\<b> \\\\![p](q)",
    "# heading",
    "**bold** ~~gone~~ $x$ &lt;b&gt; &#91;x](y)",
    "<!-- comment -->",
    "[ref]: http://e.example",
)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "where", ["| a | {} |\n|---|---|\n| {} | b |\n", "- {}: 3 samples\n", "Write to {} please.\n"]
)
def test_texts_from_outside_mean_nothing_in_markdown(text: str, where: str) -> None:
    """A Markdown parser sees plain text, and no markup."""
    markdown_it = pytest.importorskip("markdown_it", reason="needs markdown-it-py, which rich brings")
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    expected = parser.render(where.replace("{}", "word")).replace("word", html.escape(" ".join(text.split())))
    assert html.unescape(parser.render(where.replace("{}", escape_markdown(text)))) == html.unescape(expected)


def test_control_characters_and_secrets_are_spelled_out_or_hidden() -> None:
    assert escape_markdown("a\x1b[2J\u202eb\x9bc") == "a&#92;x1b&#91;2J&#92;u202eb&#92;x9bc"
    assert escape_markdown("https://me:pw@h.example/x?sig=abc&n=1") == "https://…@h.example/x?sig=…&amp;n=1"


@pytest.mark.parametrize("layout", ["packed", "columns"])
@pytest.mark.parametrize("sha256", ["`\n\n# Free money\n\n![x](http://e.example)", "80860AC2" + "0" * 56, 7, None])
def test_a_digest_that_is_none_is_refused(tmp_path: Path, layout: str, sha256: object) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4, ("sketch",))
    folder = tmp_path / "root/sketch"
    recipe = {**PIDINET, "weights": {"file": "a.pth", "sha256": sha256}}
    (folder / "column.json").write_bytes(to_json(recipe))
    receipt = Receipt.decode((folder / "000000.json").read_bytes(), "")
    (folder / "000000.json").write_bytes(dataclasses.replace(receipt, recipe=digest_json(recipe)).encode())
    refused = r"(the sha256 of 'a.pth' must be 64 hexadecimal|must have its format .*weights\.sha256)"
    with pytest.raises(RequestError, match=f"sketch/column.json: {refused}"):
        publish_here(dataset, tmp_path / "to", layout=layout)
    assert contents(tmp_path / "to") == {}


@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_a_member_whose_name_is_none_is_refused(tmp_path: Path, layout: str) -> None:
    name = "x](http:e)"

    def change(samples: list[Sample]) -> list[Sample]:
        return [dataclasses.replace(s, members={**s.members, name: b"x"}) for s in samples]

    dataset = rewrite_images(make_images(tmp_path / "root", Pictures(4), 4), change)
    with pytest.raises((RequestError, DamagedShard), match=r"k00000 has the member 'x\]\(http:e\)'"):
        publish_here(dataset, tmp_path / "to", layout=layout)
    assert "README.md" not in contents(tmp_path / "to")


def test_sums_are_those_of_all_files(to: Path, tmp_path: Path) -> None:
    import hashlib

    lines = (to / "SHA256SUMS").read_text().splitlines()
    told = {name: digest for digest, name in (line.split("  ") for line in lines)}
    found = {name: hashlib.sha256(data).hexdigest() for name, data in contents(to).items()}
    assert told == {name: digest for name, digest in found.items() if name != "SHA256SUMS"}


def test_the_contact_sheet_shows_the_first_samples(to: Path) -> None:
    with Image.open(to / "contact-sheet.jpg") as sheet:
        pixels = np.asarray(sheet.convert("L"))
    assert pixels.shape[0] > 6 * 192
    assert (pixels[:, 8:190].std(axis=1) > 5).sum() > 6 * 150, "no pictures in the first column"


def test_every_member_of_a_known_format_is_explained() -> None:
    meanings = list_meanings()
    assert all(meanings[member] for form in formats().values() for member in form.members)


CITATION = "@misc{toys,\n  title = {Toys},\n```\n}"


@pytest.mark.parametrize("layout", ["packed", "columns"])
def test_the_card_says_what_its_owner_asked_for(tmp_path: Path, layout: str) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4, ("sketch",))
    asked = {
        "license": "cc-by-4.0",
        "language": ("no", "pt-BR"),
        "description": "Toys *in* a row.",
        "citation": CITATION,
    }
    publish_here(dataset, tmp_path / "to", layout=layout, **asked)
    card = (tmp_path / "to/README.md").read_text()
    data = RepoCard(card).data
    assert (data["license"], data["language"]) == ("cc-by-4.0", ["no", "pt-BR"])
    assert escape_markdown("Toys *in* a row.") in card
    assert "Pictures and captions are published under cc-by-4.0." in card
    assert "## Citation\n\n    @misc{toys,\n      title = {Toys},\n    ```\n    }\n" in card
    assert "LICENSE.md" not in contents(tmp_path / "to")
    if layout == "packed":
        croissant = json.loads((tmp_path / "to/croissant.json").read_text())
        assert (croissant["license"], croissant["citeAs"]) == ("cc-by-4.0", CITATION)
        assert (croissant["inLanguage"], croissant["description"]) == (["no", "pt-BR"], "Toys *in* a row.")
    assert publish_here(dataset, tmp_path / "to", layout=layout, **asked).made == 0
    with pytest.raises(RequestError, match=r"published with license .cc-by-4.0., this asks for null"):
        publish_here(dataset, tmp_path / "to", layout=layout, **{**asked, "license": ""})


def test_what_nobody_said_is_not_on_the_card(to: Path) -> None:
    card = (to / "README.md").read_text()
    assert "language" not in RepoCard(card).data
    assert "No licence is named for the pictures: ask whoever published them" in card
    assert "told of no licence" not in card
    assert (
        not {"license", "language", "description", "citation"}
        & json.loads((to / "publish.json").read_text()).keys()
    )


def test_research_only_weights_outweigh_the_licence_of_the_pictures(tmp_path: Path) -> None:
    dataset = make_images(tmp_path / "root", Pictures(4), 4, ("sketch",))
    folder = tmp_path / "root/sketch"
    (folder / "column.json").write_bytes(to_json(PIDINET))
    receipt = Receipt.decode((folder / "000000.json").read_bytes(), "")
    (folder / "000000.json").write_bytes(dataclasses.replace(receipt, recipe=digest_json(PIDINET)).encode())
    publish_here(dataset, tmp_path / "to", license="CC-BY-4.0")  # as SPDX writes it
    assert RepoCard((tmp_path / "to/README.md").read_text()).data["license"] == "other"
    terms = (tmp_path / "to/LICENSE.md").read_text()
    assert "published under cc-by-4.0." in terms
    assert "**sketch: research only.**" in terms


@pytest.mark.parametrize(
    ("licences", "crawl", "pictures", "told"),
    [
        ({"": 3}, False, True, "mit"),
        ({"CC BY-NC": 3}, False, True, "other"),
        ({"": 3}, True, True, "other"),
        ({"": 3}, True, False, "mit"),
    ],
)
def test_what_others_have_made_is_not_under_the_licence_that_is_asked_for(
    licences: dict[str, int], crawl: bool, pictures: bool, told: str
) -> None:
    claim = {"license": "mit", "source": {"kind": "folder"}}
    facts = SimpleNamespace(makers=(), claim=claim, licences=licences, crawl=crawl, pictures=pictures)
    assert licence_id(facts) == told


@pytest.mark.parametrize(
    ("asked", "rule"),
    [
        ({"license": "CC BY 4.0"}, "--license must be one of the Hub's names"),
        ({"license": "1.0"}, "--license must be one of the Hub's names"),
        ({"license": "no"}, "--license must be one of the Hub's names"),
        ({"language": ("english",)}, "--language must be codes such as en"),
        ({"description": "a\nb"}, "--description must be one line"),
        ({"citation": "a\x00"}, "--citation must be lines of printable text"),
    ],
)
def test_what_a_card_cannot_say_is_refused(asked: dict[str, Any], rule: str) -> None:
    with pytest.raises(RequestError, match=rule):
        Publication(**asked)
