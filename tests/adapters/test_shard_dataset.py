"""The dataset for torch's DataLoader: every sample once, in the same batches, continued exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from t2i_shards import ShardDataset
from t2i_shards.extractors.registry import format_of
from t2i_shards.pipeline.dataset.dataset import IMAGES, Dataset
from t2i_shards.pipeline.errors import DamagedShard, RequestError
from t2i_shards.pipeline.image.stored import decode_rgb
from t2i_shards.pipeline.stages import plan_extract
from t2i_shards.pipeline.stream import Extent
from t2i_shards.pipeline.stream.lanes import ONE_LANE
from tests.faults.toys import Pictures, extract_here, make_images

SAMPLES, SHARD_SIZE = 46, 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """23 shards of 2 pictures of two sizes, with canny. To be read only."""
    root = tmp_path_factory.mktemp("shards") / "root"
    dataset = make_images(root, Pictures(SAMPLES), SHARD_SIZE)
    stage = plan_extract(dataset, ["canny"])
    stage.setup()
    for shard in dataset.shards:
        stage(shard)
    return root


def list_keys(made: list[dict[str, Any]]) -> list[str]:
    return [of["key"] for of in made]


def keys(dataset: ShardDataset, workers: int = 0, batch: int = 4, context: str = "fork") -> list[list[str]]:
    """The keys of each batch."""
    how = context if workers else None
    return list(DataLoader(dataset, batch, num_workers=workers, multiprocessing_context=how, collate_fn=list_keys))


def flat(batches: list[list[str]]) -> list[str]:
    return [key for batch in batches for key in batch]


def test_each_sample_comes_once_in_the_same_batches_for_any_number_of_workers(root: Path) -> None:
    alone = keys(ShardDataset(root, batch_size=4))
    assert len(flat(alone)) == len(set(flat(alone))) == SAMPLES == len(ShardDataset(root))
    assert keys(ShardDataset(root, batch_size=4), workers=1) == alone
    assert keys(ShardDataset(root, batch_size=4), workers=3) == alone


@pytest.mark.soak
def test_workers_that_are_spawned_give_the_same(root: Path) -> None:
    dataset = ShardDataset(root, ["canny"], batch_size=4)
    dataset.set_epoch(2)
    assert keys(dataset, workers=2, context="spawn") == keys(dataset)


def test_epochs_have_orders_of_their_own_also_for_workers_that_persist(root: Path) -> None:
    dataset = ShardDataset(root, batch_size=4)
    loader = DataLoader(
        dataset,
        4,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context="fork",
        collate_fn=list_keys,
    )
    epochs = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        epochs.append(flat(list(loader)))
    assert epochs[0] == epochs[2] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1])


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_get_their_own_and_as_many_batches(ranks: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    even: list[list[str]] = []
    whole: list[str] = []
    for rank in range(ranks):
        monkeypatch.setenv("RANK", str(rank))
        mine = ShardDataset(root, batch_size=4, split_ranks=True)
        even.append(flat(keys(mine, workers=2)))
        assert len(even[-1]) == len(mine) == SAMPLES // (4 * ranks) * 4
        rest = ShardDataset(root, batch_size=4, split_ranks=True, drop_uneven=False)
        whole += (got := flat(keys(rest)))
        assert len(got) == len(rest)
    assert len(set(flat(even))) == len(flat(even))
    assert sorted(whole) == sorted(flat(keys(ShardDataset(root, split_ranks=False))))


def test_several_ranks_must_say_who_divides(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RequestError, match=r"one of 2 processes: say split_ranks=True .* or split_ranks=False"):
        ShardDataset(root)
    assert len(ShardDataset(root, split_ranks=False)) == SAMPLES


@pytest.mark.parametrize("used", [0, 1, 5, 12])
@pytest.mark.parametrize("workers", [0, 2, 3])
def test_it_continues_where_it_was(used: int, workers: int, root: Path) -> None:
    whole = keys(ShardDataset(root, batch_size=4))
    dataset = ShardDataset(root, batch_size=4)
    state = dataset.state_dict(batches=used)
    again = ShardDataset(root, batch_size=4)
    again.load_state_dict(state)
    assert keys(again, workers) == whole[used:]
    state = again.state_dict(batches=0)
    assert state["position"] == min(used * 4, SAMPLES)


def test_without_workers_the_state_needs_no_count(root: Path) -> None:
    dataset = ShardDataset(root, seed=3)
    dataset.set_epoch(1)
    reader = iter(dataset)
    begun = [next(reader)["key"] for _ in range(7)]
    again = ShardDataset(root, seed=3)
    again.load_state_dict(dataset.state_dict())
    rest = [made["key"] for made in again]
    assert len(begun) + len(rest) == len({*begun, *rest}) == SAMPLES
    again.set_epoch(1)
    assert [made["key"] for made in again] == begun + rest


def test_with_workers_the_state_asks_for_the_count(root: Path) -> None:
    dataset = ShardDataset(root, batch_size=4)
    keys(dataset, workers=1)
    with pytest.raises(RequestError, match=r"state_dict\(batches=N\)"):
        dataset.state_dict()


def test_a_world_of_another_size_continues_the_same_order(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    states, used = [], []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        dataset = ShardDataset(root, batch_size=4, split_ranks=True)
        used += flat(keys(dataset)[:2])
        states.append(dataset.state_dict(batches=2))
    assert states[0] == states[1]
    monkeypatch.setenv("WORLD_SIZE", "1")
    alone = ShardDataset(root, batch_size=4)
    alone.load_state_dict(states[0])
    rest = flat(keys(alone))
    assert len(used) + len(rest) == len({*used, *rest}) == SAMPLES


@pytest.mark.parametrize(("before", "after"), [(3, 2), (2, 3)])
@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_may_be_more_or_fewer_each_time(
    before: int, after: int, workers: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One batch in the first world, one in the second, and the rest of the epoch in the third."""
    used: list[str] = []
    state = None
    for ranks, batches in ((before, 1), (after, 1), (before, None)):
        monkeypatch.setenv("WORLD_SIZE", str(ranks))
        states, counts = [], []
        for rank in range(ranks):
            monkeypatch.setenv("RANK", str(rank))
            dataset = ShardDataset(root, batch_size=4, split_ranks=True)
            if state:
                dataset.load_state_dict(state)
            found = keys(dataset, workers)[:batches]
            used += flat(found)
            counts.append(len(found))
            states.append(dataset.state_dict(batches=len(found)))
        assert len(set(counts)) == 1
        assert all(each == states[0] for each in states)
        state = states[0]
    assert len(used) == len(set(used)) > SAMPLES - 4 * before


def test_workers_that_persist_do_not_read_another_order(root: Path) -> None:
    """A state from before the last shard came: its order is not the one that they have opened."""
    before = ShardDataset(root, batch_size=4)
    before._open(Extent(SAMPLES // SHARD_SIZE - 1, 0), ONE_LANE)
    dataset = ShardDataset(root, batch_size=4)
    loader = DataLoader(
        dataset,
        4,
        num_workers=1,
        persistent_workers=True,
        multiprocessing_context="fork",
        collate_fn=list_keys,
    )
    assert len(flat(list(loader))) == SAMPLES
    dataset.load_state_dict(before.state_dict())
    with pytest.raises(RequestError, match="make a new DataLoader"):
        list(loader)
    assert keys(dataset, workers=1) == keys(before)


def test_a_state_of_something_else_is_refused(root: Path, tmp_path: Path) -> None:
    state = ShardDataset(root).state_dict()
    with pytest.raises(RequestError, match="the state is of seed 0, and this dataset was made with seed 1"):
        ShardDataset(root, seed=1).load_state_dict(state)
    other = tmp_path / "other"
    make_images(other, Pictures(8), SHARD_SIZE)
    with pytest.raises(RequestError, match=r"the state is of other data"):
        ShardDataset(other).load_state_dict(state)
    with pytest.raises(RequestError, match=r"the state is of other data"):
        ShardDataset(root, ["canny"]).load_state_dict(state)


def stored(root: Path, condition: str = "canny") -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(key, picture, map) of every sample, without any of what is tested here."""
    dataset = Dataset.open(str(root))
    for shard in dataset.shards:
        for sample, column in zip(dataset.load(IMAGES, shard), dataset.load(condition, shard), strict=True):
            members = {name: bytes(data) for name, data in column.members.items()}
            yield sample.key, decode_rgb(sample.members["jpg"]), format_of(condition).decode(members)


def test_samples_hold_what_is_stored(root: Path) -> None:
    made = {of["key"]: of for of in ShardDataset(root, ["canny", "color"], condition="canny")}
    for key, picture, canny in stored(root):
        of = made[key]
        assert torch.equal(of["image"], torch.from_numpy(picture.transpose(2, 0, 1).copy()))
        assert torch.equal(of["canny"][0], torch.from_numpy(canny))
        assert torch.equal(of["canny"], of["control_image"])
        assert of["color"].shape == (3, *picture.shape[:2])
        assert isinstance(of["caption"], str)


def test_picture_and_map_are_cropped_and_mirrored_alike(tmp_path: Path, toy: str) -> None:
    """The map is the stored picture's green channel."""
    root = tmp_path / "root"
    extract_here(make_images(root, Pictures(24), 8))
    whole = {key: (picture, green) for key, picture, green in stored(root, toy)}
    found = set()
    for of in ShardDataset(root, condition=toy, size=32, flip=True):
        picture, green = whole[of["key"]]
        places = [
            (mirrored, top, left)
            for mirrored in (False, True)
            for top in range(picture.shape[0] - 31)
            for left in range(picture.shape[1] - 31)
            if np.array_equal(
                (picture[:, ::-1] if mirrored else picture)[top : top + 32, left : left + 32],
                of["image"].numpy().transpose(1, 2, 0),
            )
        ]
        shown = of["control_image"][0].numpy()
        for mirrored, top, left in places:
            turned = green[:, ::-1] if mirrored else green
            assert np.array_equal(turned[top : top + 32, left : left + 32], shown)
        assert places
        found |= {mirrored for mirrored, _, _ in places}
    assert found == {False, True}


def test_raw_members_come_as_they_are_stored(root: Path) -> None:
    raw: dict[str, Any] = next(iter(ShardDataset(root, ["canny"], decode=False)))
    assert set(raw) == {"__key__", "jpg", "txt", "json", "canny.png"}
    assert raw["jpg"][:2] == b"\xff\xd8"


def test_a_transform_has_the_last_word(root: Path) -> None:
    made = list(ShardDataset(root, transform=lambda of: of["key"]))
    assert sorted(made) == [key for key, _, _ in stored(root)]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"columns": ["pose"]}, "columns and condition must be of sketch, .* not pose"),
        ({"condition": "latents"}, "not latents"),
        ({"columns": ["sketch"]}, "sketch"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
    ],
)
def test_what_cannot_be_read_is_refused_at_once(options: dict[str, Any], line: str, root: Path) -> None:
    with pytest.raises(RequestError, match=line):
        ShardDataset(root, **options)


def test_damage_is_named(tmp_path: Path) -> None:
    root = tmp_path / "root"
    make_images(root, Pictures(4), 2)
    tar = next(root.rglob("000001.tar"))
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DamagedShard, match="000001"):
        list(ShardDataset(root))
