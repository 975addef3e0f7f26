import subprocess
import sys

import pytest

from extractors.maps.formats import FORMATS
from extractors.registry import EXTRACTORS, UnknownCondition, format_of, make_extractor


def test_every_registered_condition_has_a_format() -> None:
    assert set(EXTRACTORS) <= set(FORMATS)
    for condition, variants in EXTRACTORS.items():
        assert "default" in variants
        assert format_of(condition) is FORMATS[condition]


@pytest.mark.parametrize(("condition", "variant"), [("sketsch", "default"), ("sketch", "huge")])
def test_an_unknown_condition_or_variant_is_named_with_those_there_are(condition: str, variant: str) -> None:
    with pytest.raises(UnknownCondition) as caught:
        make_extractor(condition, variant)
    line = str(caught.value)
    assert "\n" not in line
    assert all(part in line for part in (repr(condition), repr(variant), "sketch (default", "color (default"))


def test_an_unknown_format_is_named_with_those_there_are() -> None:
    with pytest.raises(UnknownCondition, match="'normals'; there are sketch, depth, keypose, seg, color, canny"):
        format_of("normals")


def test_extractors_are_imported_only_when_asked_for() -> None:
    script = """
import sys
from extractors.registry import make_extractor
make_extractor("sketch").condition
assert "torch" not in sys.modules and "extractors.color" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
