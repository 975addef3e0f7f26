"""Train with Lightning on a dataset's samples; the same command continues from the newest checkpoint.

    python examples/lightning_trainer.py data/photos --condition sketch --out runs/lightning

The network learns to draw the condition of a picture. Lightning saves the state of a DataLoader that has one with
each of its checkpoints, so a run that is ended in the middle of an epoch continues with the very next batch.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from t2i_shards import ShardDataset


class ShardLoader(DataLoader[dict[str, Any]]):
    """Epoch after epoch of a ShardDataset, with a state.

    It counts epochs itself: Lightning's count jumps by one when a run continues from the end of an epoch.
    """

    dataset: ShardDataset
    used = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.used = 0
        at_once = self.dataset.batch_size * self.dataset.ranks
        for batch in super().__iter__():
            self.used += 1
            state = self.state_dict()
            if state["position"] + at_once > len(self) * at_once:
                self.dataset.set_epoch(state["epoch"] + 1)
                self.used = 0
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return self.dataset.state_dict(batches=self.used)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.dataset.load_state_dict(state)


class Shards(pl.LightningDataModule):
    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__()
        self.arguments = arguments

    def train_dataloader(self) -> ShardLoader:
        """Each rank reads samples of its own. Lightning calls this when the ranks know of one another."""
        batch, size = self.arguments.batch, self.arguments.size
        dataset = ShardDataset(
            self.arguments.root,
            condition=self.arguments.condition,
            batch_size=batch,
            size=size,
            flip=True,
            split_ranks=True,
        )
        loader = ShardLoader(dataset, batch_size=batch, num_workers=self.arguments.workers, drop_last=True)
        if len(loader) == 0:
            raise SystemExit("no process has a whole batch: give a smaller --batch, or fewer --devices")
        return loader


class Drawer(pl.LightningModule):
    """(N, 3, H, W) in -1 to 1 -> (N, 3, H, W), logits of the control image in three channels."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), nn.SiLU(), nn.Conv2d(16, 3, 5, padding=2))

    def training_step(self, samples: dict[str, Any], index: int) -> torch.Tensor:
        pictures = samples["image"].float() / 127.5 - 1
        wanted = (samples["control_image"].float() / 255).expand(-1, 3, -1, -1)
        return functional.binary_cross_entropy_with_logits(self.network(pictures), wanted)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def train(arguments: argparse.Namespace) -> Drawer:
    """Train up to --steps."""
    pl.seed_everything(0)
    newest = arguments.out / "newest.ckpt"
    trainer = pl.Trainer(
        max_steps=arguments.steps,
        accelerator=arguments.accelerator,
        devices=arguments.devices,
        logger=False,
        callbacks=[
            ModelCheckpoint(
                arguments.out, "newest", every_n_train_steps=arguments.save_every, enable_version_counter=False
            )
        ],
    )
    drawer = Drawer()
    trainer.fit(
        drawer, datamodule=Shards(arguments), ckpt_path=newest if newest.exists() else None, weights_only=True
    )
    return drawer


def main(words: list[str] | None = None) -> Drawer:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="the dataset")
    parser.add_argument("--condition", default="sketch", help="the column to learn")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the checkpoint")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--save-every", type=int, default=50, help="steps from one checkpoint to the next")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128, help="pixels of a crop's sides")
    parser.add_argument("--workers", type=int, default=0, help="processes that load samples")
    parser.add_argument("--accelerator", default="auto", help="of Lightning: auto, cpu, gpu")
    parser.add_argument("--devices", default="auto", help="of Lightning: how many processes train")
    return train(parser.parse_args(words))


if __name__ == "__main__":
    main()
