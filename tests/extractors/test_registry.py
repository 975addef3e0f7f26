import subprocess
import sys

import pytest

from t2i_shards.extractors.registry import (
    EXTRACTORS,
    UnknownCondition,
    find_format,
    format_of,
    formats,
    make_extractor,
)


def test_every_variant_of_a_condition_has_its_one_format() -> None:
    assert list(formats()) == list(EXTRACTORS)
    for condition, variants in EXTRACTORS.items():
        assert "default" in variants
        assert len({id(make_extractor(condition, variant).format) for variant in variants}) == 1
        assert make_extractor(condition).format is format_of(condition)


def test_no_two_conditions_are_read_from_the_same_member() -> None:
    first = [form.members[0] for form in formats().values()]
    assert len(set(first)) == len(first)
    for form in formats().values():
        assert find_format(dict.fromkeys((*form.members, "jpg", "json"))) is form
    assert find_format({"jpg", "json", "txt"}) is None


@pytest.mark.parametrize(
    ("condition", "variant", "line"),
    [
        (
            "sketsch",
            "default",
            "no condition is called 'sketsch'; there are sketch, depth, keypose, seg, color, canny",
        ),
        ("sketch", "huge", "^sketch has no variant 'huge'; there are default, mini$"),
    ],
)
def test_an_unknown_condition_or_variant_is_named_with_those_there_are(
    condition: str, variant: str, line: str
) -> None:
    with pytest.raises(UnknownCondition, match=line):
        make_extractor(condition, variant)


def test_an_unknown_format_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownCondition, match="'nonsense'; there are sketch, depth, keypose, seg, color, canny"):
        format_of("nonsense")


def test_extractors_are_imported_only_when_asked_for() -> None:
    script = """
import sys
from t2i_shards.extractors.registry import make_extractor
make_extractor("sketch").condition
assert "torch" not in sys.modules and "t2i_shards.extractors.color" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
