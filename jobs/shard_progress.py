"""Progress of a job over shards: how many are done, how far those under way are, and how long the others take."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tqdm import tqdm

from t2i_shards.jobs import progress
from t2i_shards.jobs.messages import shows_bars, terminal
from t2i_shards.jobs.progress import PART, REFRESH, describe_left
from t2i_shards.jobs.repeat import repeat
from t2i_shards.pipeline.plain import number_of
from t2i_shards.pipeline.stages.stage import StageResult

BAR = "{{desc}}: {{percentage:3.0f}}%|{{bar:10}}| {}"


@dataclass
class ShardProgress:
    """How far a job over shards is. before: those that were done when it began, of `total`.

    with_drops: whether the receipts that come are new ones, so that their drops are news. size: samples that a
    shard is expected to have, until some are done; None where that is not known.
    """

    name: str
    total: int
    before: int = 0
    with_drops: bool = False
    size: float | None = None
    done: int = 0
    made: int = 0
    """Samples of the shards that are done."""
    under_way: int = 0
    """Samples that are done of the others."""
    drops: Counter[str] = field(default_factory=Counter)
    started: float = field(default_factory=time.monotonic)
    last: float = 0.0
    first: tuple[float, float] | None = None
    """When the first samples were heard of, and what was left then: workers may have taken long to start."""

    def __call__(self, shard: int, made: StageResult | None) -> None:
        """Count a shard: what was made of it, or None where it was set aside."""
        self.done += 1
        self.last = time.monotonic()
        if made is None:
            return
        self.made += max((receipt.samples for receipt in made.receipts.values()), default=0)
        for column, receipt in made.receipts.items():
            if self.with_drops:
                self.drops.update(receipt.drops)
            counted = f"{number_of(receipt.samples, 'sample')} of {receipt.planned}"
            terminal.debug(f"{self.name}: shard {shard:06d}, {column}: {counted}")

    def show_under_way(self, samples: int) -> None:
        """Count what is done of the shards in progress."""
        if samples == self.under_way:
            return
        self.under_way, self.last = samples, time.monotonic()
        if self.first is None and not self.done:
            self.first = self.last, self.left

    @property
    def left(self) -> float:
        """Shards that are not done, those under way in part."""
        whole = self.total - self.before - self.done
        size = self.made / self.done if self.made else self.size
        return max(0.0, whole - self.under_way / size) if size else whole

    def describe(self) -> list[str]:
        """What is known of it: 3 min left, 11,800 samples, 85.3 samples/s, 37 dropped (http 404 30, small 7)."""
        parts = []
        samples, seconds, left = self.made + self.under_way, self.last - self.started, self.left
        since, then = self.started, float(self.total - self.before)
        if self.first and self.last > self.first[0] and left < self.first[1]:
            since, then = self.first
        if 0 < left < then:
            pace = (self.last - since) / (then - left)
            parts.append(describe_left(max(0.0, left * pace - (time.monotonic() - self.last))))
        if samples:
            parts.append(number_of(samples, "sample", ","))
        if samples and seconds > 0:
            parts.append(f"{samples / seconds:.1f} samples/s")
        if drops := Counter(self.drops):  # to which another thread adds
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in drops.most_common(3))
            more = ", …" if len(drops) > 3 else ""
            parts.append(f"{drops.total():,} dropped ({reasons}{more})")
        return parts

    def show(self) -> None:
        """12 of 40 shards after 60 s, and what `describe` says, as a line."""
        done = f"{self.before + self.done:,} of {number_of(self.total, 'shard', ',')}"
        parts = [f"{done} after {time.monotonic() - self.started:.0f} s", *self.describe()]
        terminal.info(f"{self.name}: {', '.join(parts)}")


@dataclass(frozen=True)
class Handing:
    """A progress callback that hands over what was made of a shard before it counts it."""

    take: Callable[[int, StageResult | None], None]
    progress: ShardProgress

    def __call__(self, shard: int, made: StageResult | None) -> None:
        self.take(shard, made)
        self.progress(shard, made)

    def show_under_way(self, samples: int) -> None:
        self.progress.show_under_way(samples)


@contextmanager
def show_progress(
    verb: str, shards: int, total: int, with_drops: bool = False, planned: int | None = None
) -> Iterator[ShardProgress]:
    """A progress callback for `shards` shards that are left of `total`.

    with_drops: see `ShardProgress`. planned: samples that all of them have, but for those that are dropped.
    """
    size = planned / total if planned and total else None
    if not shows_bars():
        count = ShardProgress(PART.get() + verb, total, total - shards, with_drops, size)
        with repeat(count.show, progress.LINE_EVERY):
            yield count
        return
    name = PART.get() + verb
    with tqdm(total=total, desc=name, leave=False, dynamic_ncols=True, bar_format=BAR.format("")) as bar:
        shown = _Bar(name, total, total - shards, with_drops, size, bar=bar)
        with repeat(shown.show, REFRESH):
            yield shown


@dataclass
class _Bar(ShardProgress):
    """The same on a terminal."""

    bar: tqdm[None] = field(kw_only=True)

    def __post_init__(self) -> None:
        self.show()

    def __call__(self, shard: int, made: StageResult | None) -> None:
        with self.bar.external_write_mode(file=sys.stderr):  # which says a line about it above the bar
            super().__call__(shard, made)
            if made is None:
                terminal.info(f"{self.name}: shard {shard:06d} set aside")
        self.show()

    def show(self) -> None:
        """Draw it as of now; what matters least is cut where the terminal ends."""
        done = f"{self.before + self.done:,}/{number_of(self.total, 'shard', ',')}"
        text = ", ".join([done, *self.describe()]).replace(" samples/s", "/s").replace("{", "(").replace("}", ")")
        self.bar.bar_format, self.bar.n = BAR.format(text), round(self.total - self.left, 3)
        self.bar.refresh()
