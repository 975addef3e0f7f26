"""Row 11: a ControlNet that was trained on the same samples, in the same order, with the same noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from t2i_shards.jobs.miniature.experiment import Experiment
from t2i_shards.jobs.miniature.finding import Finding, find
from t2i_shards.jobs.miniature.generation import (
    TEXT_ALONE,
    GenerationConfig,
    count,
    generate_pictures,
    generate_some,
    show,
)
from t2i_shards.jobs.miniature.recipe import Name, plan_training
from t2i_shards.jobs.miniature.row import Case, Row, each_alone

if TYPE_CHECKING:
    from diffusers import ControlNetModel
    from torch import Tensor

    from t2i_shards.adapters.training.batch import Batch
    from t2i_shards.adapters.training.trainer import Training

RATE = 1e-3
"""Learning rate of the ControlNet: that of the UNet of which it is a copy."""
TIMED = 4
"""Pictures of which the cost is measured."""


def compare_controlnet(experiment: Experiment, case: Case) -> Sequence[Finding]:
    (condition,) = case
    adapter = experiment.train(condition)
    controlnet = train_controlnet(experiment, condition)
    configs = {
        "text alone": (TEXT_ALONE, None),
        "adapter": (GenerationConfig({condition: adapter}), adapter),
        "ControlNet": (GenerationConfig(controlnet={condition: controlnet}), controlnet),
    }
    made = {what: generate_pictures(experiment, config) for what, (config, _) in configs.items()}
    show(experiment, f"11-{condition}", case, made)
    alone = count(experiment, condition, made["text alone"])
    findings = []
    for what, (config, network) in configs.items():
        parameters = sum(tensor.numel() for tensor in network.parameters()) if network is not None else 0
        cost = {"parameters": parameters, **measure_cost(experiment, config, condition)}
        findings.append(find(what, condition, count(experiment, condition, made[what]), alone, cost))
    return findings


def measure_cost(experiment: Experiment, config: GenerationConfig, condition: Name) -> dict[str, float]:
    """Of a picture: floating-point operations as torch counts them, and CPU seconds."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        generate_some(experiment, config, condition, 1)
    started = time.process_time()
    generate_some(experiment, config, condition, TIMED)
    seconds = (time.process_time() - started) / TIMED
    return {"GFLOP a picture": counter.get_total_flops() / 1e9, "CPU seconds a picture": seconds}


def train_controlnet(experiment: Experiment, condition: Name) -> ControlNetModel:
    """Trained unless it was; it goes on from its checkpoint."""
    import torch
    from diffusers import ControlNetModel

    from t2i_shards.adapters.model.controlnet import read_controlnet
    from t2i_shards.extractors.atomic import commit_folder
    from t2i_shards.extractors.batch import fixed_threads
    from t2i_shards.extractors.registry import format_of
    from t2i_shards.jobs.mini_weights.loop import LoopConfig, learn

    run = experiment.run_of(condition, f"controlnet-{RATE:g}")
    training = _open_training(experiment, condition)  # refuses a folder that was begun with another base or recipe
    if (run / "controlnet").is_dir():
        return read_controlnet(run / "controlnet")
    with fixed_threads(1), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ControlNetModel.from_unet(
            experiment.base.unet, conditioning_channels=format_of(condition).channels
        ).train()
        loop = LoopConfig("ControlNet", run / "controlnet.pt", experiment.steps_of(condition), lambda step: RATE)
        optimizer = torch.optim.Adam(network.parameters(), RATE)
        learn(network, optimizer, _make_loss(training, network), loop, experiment.say)
    with commit_folder(run / "controlnet") as folder:
        network.save_pretrained(folder)
    return read_controlnet(run / "controlnet")


def _open_training(experiment: Experiment, condition: Name) -> Training:
    """The adapter's own training, of which the data and the objective are used."""
    from t2i_shards.adapters.training.data import open_samples
    from t2i_shards.adapters.training.extents import find_begun
    from t2i_shards.adapters.training.trainer import Training

    run = experiment.run_of(condition, f"controlnet-{RATE:g}")
    config = plan_training(condition, experiment.training_data, run, experiment.steps_of(condition)).config
    lanes = find_begun(config).lanes
    samples = open_samples(config.data, config.seed, config.optimizer.batch, lanes=lanes)
    return Training(config, samples, experiment.base)


def _make_loss(training: Training, network: ControlNetModel) -> Callable[[int], Mapping[str, Tensor]]:
    """Of a step: that of the adapter's training in the same step."""
    from t2i_shards.adapters.base import Control
    from t2i_shards.adapters.training.loader import MicroBatches, load_batches

    batches: Iterator[Batch] | None = None

    def loss(step: int) -> Mapping[str, Any]:
        nonlocal batches
        if batches is None:  # a resumed training begins where it stopped
            seed = training.config.seed
            order = MicroBatches(training.stream, training.crop_config, seed, training.rank_batch, step)
            batches = load_batches(order, 0, training.world)
        noisy = training.objective.add_noise(next(batches))
        return {"error": training.objective.loss(lambda seen: Control(network, seen), noisy)}

    return loss


CONTROLNET = Row(
    11, "ControlNet, trained on the same samples", each_alone, compare_controlnet, {"rate": RATE}, trains=True
)
