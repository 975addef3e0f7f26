"""Train a small network on a dataset's samples with nothing but PyTorch; the same command continues.

    python examples/plain_torch.py data/photos --condition sketch --out runs/plain

The network learns to draw the condition of a picture. What matters here is the loop: workers, epochs, and a state
of three parts (network, optimizer, position in the data) that continues with the very next batch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from t2i_shards import ShardDataset


def make_network(channels: int) -> nn.Module:
    """(N, 3, H, W) in -1 to 1 -> (N, channels, H, W), logits."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2),
        nn.SiLU(),
        nn.Conv2d(16, 16, 5, padding=2),
        nn.SiLU(),
        nn.Conv2d(16, channels, 5, padding=2),
    )


def train(arguments: argparse.Namespace) -> float:
    """Train up to --steps. The last loss."""
    torch.manual_seed(0)
    batch, workers = arguments.batch, arguments.workers
    dataset = ShardDataset(
        arguments.root, condition=arguments.condition, batch_size=batch, size=arguments.size, flip=True
    )
    first = next(iter(DataLoader(dataset, batch_size=1)))
    network = make_network(first["control_image"].shape[1])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    step, epoch, loss = 0, 0, torch.tensor(0.0)
    dataset.set_epoch(epoch)
    state_file = arguments.out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        dataset.load_state_dict(state["data"])
        step, epoch = state["step"], state["data"]["epoch"]
        print(f"continues at step {step}")

    while step < arguments.steps:
        for used, samples in enumerate(DataLoader(dataset, batch_size=batch, num_workers=workers), 1):
            pictures = samples["image"].float() / 127.5 - 1
            wanted = samples["control_image"].float() / 255
            loss = functional.binary_cross_entropy_with_logits(network(pictures), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step % arguments.log_every == 0 or step == arguments.steps:
                print(f"step {step}, epoch {epoch}, loss {loss.item():.4f}")
            if step == arguments.steps:
                arguments.out.mkdir(parents=True, exist_ok=True)
                data = dataset.state_dict(batches=used)
                states = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save({**states, "data": data, "step": step}, state_file)
                break
        else:
            epoch += 1
            dataset.set_epoch(epoch)
    return loss.item()


def main(words: list[str] | None = None) -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="the dataset")
    parser.add_argument("--condition", default="sketch", help="the column to learn")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the state")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128, help="pixels of a crop's sides")
    parser.add_argument("--workers", type=int, default=0, help="processes that load samples")
    parser.add_argument("--log-every", type=int, default=20)
    return train(parser.parse_args(words))


if __name__ == "__main__":
    main()
