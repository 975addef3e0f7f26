"""The index of samples as the page's script reads it, and what can be chosen from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from t2i_shards.extractors.format import Format
from t2i_shards.extractors.maps.formats import Indexed
from t2i_shards.extractors.maps.statistics import ClassStatistic, NumberStatistic, Statistic
from t2i_shards.extractors.registry import formats
from t2i_shards.pipeline.dataset.dataset import IMAGES
from t2i_shards.pipeline.report.sample_index import Place, shorten_location
from t2i_shards.pipeline.report.search_index import SearchIndex
from t2i_shards.pipeline.report.side_files import list_entries, name_drop, name_place, to_script


@dataclass(frozen=True)
class Choices:
    """What samples can be sorted and filtered by. numbers: titles. labels: (class, name, samples that show it).

    drops: (number, column and reason, files). Of labels and drops the most frequent come first.
    """

    numbers: tuple[str, ...]
    labels: tuple[tuple[int, str, int], ...]
    drops: tuple[tuple[int, str, int], ...]


def list_choices(index: SearchIndex) -> Choices:
    """What of the index differs between samples, or is there at all."""
    found, numbers = index.contents.classes, list(index.contents.numbers)
    names = {number: _class_of(place).label(number) for place, number in found}
    counts = {number: max(found[p, n] for p, n in found if n == number) for number in names}
    drops = [(number, *drop) for number, drop in enumerate(_count_drops(index).items())]
    return Choices(
        numbers=tuple(map(_Titles(numbers), numbers)),
        labels=tuple(sorted(((n, names[n], counts[n]) for n in names), key=lambda label: (-label[2], label[1]))),
        drops=tuple(sorted(drops, key=lambda drop: (-drop[2], drop[1]))),
    )


def encode_index(index: SearchIndex, columns: Sequence[str]) -> Markup:
    """JSON that is safe in a script element whatever captions, keys and names hold. columns: images first.

    samples: those of the page itself, as side files hold theirs; null where these are listed in chunks.
    """
    numbers, reasons = list(index.contents.numbers), list(_count_drops(index))
    titles = _Titles(numbers)
    return to_script(
        {
            "columns": columns,
            "numbers": [
                {"id": name_place(place), "title": titles(place), "labels": _label_numbers(place)}
                for place in numbers
            ],
            "classes": [
                {"id": name_place(place), "column": place[1], "names": _name_classes(index, place)}
                for place in dict.fromkeys(place for place, _ in index.contents.classes)
            ],
            "reasons": reasons,
            "strips": index.strips,
            "samples": None if index.chunks else list_entries(index.entries, columns),
            "chunks": index.chunks,
            "lost": [
                [loss.key, shorten_location(loss.location), reasons.index(name_drop(IMAGES, loss.reason))]
                for loss in index.lost
            ],
        }
    )


def _count_drops(index: SearchIndex) -> dict[str, int]:
    """column and reason -> files, of the samples that a column lacks and of the rows that became no sample."""
    found = {name_drop(*drop): count for drop, count in index.contents.drops.items()}
    for loss in index.lost:
        reason = name_drop(IMAGES, loss.reason)
        found[reason] = found.get(reason, 0) + 1
    return found


class _Titles:
    """place -> title, with the column where several have what is measured."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._names = [name for name, _ in places]

    def __call__(self, place: Place) -> str:
        name, column = place
        form = _find_format(name)
        title = form.statistic.title if form and form.statistic else "Aesthetic score"
        return title if self._names.count(name) == 1 else f"{title} ({column})"


def _find_format(name: str) -> Format | None:
    """The first format with this statistic."""
    return next((form for form in formats().values() if form.statistic and form.statistic.name == name), None)


def _statistic_of(place: Place) -> Statistic | None:
    form = _find_format(place[0])
    return form.statistic if form else None


def _class_of(place: Place) -> ClassStatistic:
    statistic = _statistic_of(place)
    assert isinstance(statistic, ClassStatistic)
    return statistic


def _label_numbers(place: Place) -> list[str] | None:
    """The names of the numbers from 0 on; None for those that are shown as they are."""
    statistic = _statistic_of(place)
    return list(map(statistic.label, range(statistic.bins))) if isinstance(statistic, NumberStatistic) else None


def _name_classes(index: SearchIndex, place: Place) -> dict[int, tuple[str, str]]:
    """class -> (name, colour as #rrggbb, "" where the map has no palette), of the classes that occur."""
    form, statistic = _find_format(place[0]), _class_of(place)
    palette = form.palette if isinstance(form, Indexed) else None
    return {
        number: (statistic.label(number), "" if palette is None else f"#{bytes(palette[number]).hex()}")
        for found, number in sorted(index.contents.classes)
        if found == place
    }
