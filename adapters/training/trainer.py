"""Training: one adapter, one condition, one frozen base. The same command continues where the last one stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, replace
from typing import Any

import torch

from t2i_shards.adapters.base import Base, digest_base
from t2i_shards.adapters.model.adapter import Adapter
from t2i_shards.adapters.model.diffusers_io import save_adapter
from t2i_shards.adapters.run_folder import hold_run
from t2i_shards.adapters.summary import SUMMARY, TrainSummary, read_summary
from t2i_shards.adapters.training.boards import check_boards
from t2i_shards.adapters.training.card import CARD, render_card
from t2i_shards.adapters.training.checkpoint import (
    TrainProgress,
    TrainState,
    discard_checkpoints,
    discard_not_finite,
    newest_step,
    resume,
)
from t2i_shards.adapters.training.config import TrainConfig
from t2i_shards.adapters.training.data import open_samples
from t2i_shards.adapters.training.distributed import World, join_world, share_threads
from t2i_shards.adapters.training.extents import Noted, advise_lanes, find_begun, note_extents
from t2i_shards.adapters.training.identity import choose_clip, claim, decide_schedule, keep_config, keep_threshold
from t2i_shards.adapters.training.loader import MicroBatches, SampleStream, load_batches
from t2i_shards.adapters.training.loss import Objective
from t2i_shards.adapters.training.plan import TrainPlan, count_steps
from t2i_shards.adapters.training.preview import open_preview
from t2i_shards.adapters.training.recorder import Recorder
from t2i_shards.adapters.training.setup import check_latents, load_live, make_crop_config, open_base, open_texts
from t2i_shards.adapters.training.start import digest_start, keep_start, make_start, name_start
from t2i_shards.adapters.training.step import Ema, Step, check_warmup, learning_rate, make_rank_batch
from t2i_shards.adapters.training.validation import Validation, hold_out
from t2i_shards.extractors.atomic import commit_folder, write_file, write_json
from t2i_shards.pipeline.errors import IncompleteError
from t2i_shards.pipeline.runlog import LogLine, read_log
from t2i_shards.pipeline.stream import Extent

OnStep = Callable[[LogLine], None]
OnPlan = Callable[[TrainPlan], None]
IN_A_ROW = 10
"""Steps in a row that could not be taken end a training: no step after them would be taken either."""


def train(
    config: TrainConfig, on_step: OnStep | None = None, base: Base | None = None, on_plan: OnPlan | None = None
) -> TrainSummary:
    """Train to the last step, and prove that the base has not changed. base: in place of the configuration's own.

    on_plan: called once, before on_step, where there is something to do. Under torchrun, or where
    torch.distributed has been set up, every worker calls this; `out` must be a folder that all of them see.
    Raises RequestError for a request that cannot be met, DamagedShard for data that is not what it was.
    """
    threads = config.compute.threads or share_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    with join_world(config.compute.device) as world:
        begun = find_begun(config) if world.is_main else Noted()
        extents = [Extent(**extent) for extent in world.broadcast([asdict(extent) for extent in begun.begun])]
        batch, lanes = config.optimizer.batch, world.broadcast(begun.lanes)
        if world.is_main:
            advise_lanes(config, begun, world.world_size)
        samples = open_samples(config.data, config.seed, batch, extents, lanes)
        base = base or open_base(config.base, world.device)
        check_latents(config.data, base, config.base.name)
        training = Training(config, samples, base, world)
        if world.is_main:
            note_extents(config.out, begun, training.stream.removed)
        return training.run(on_step, on_plan)


class Training:
    """One run: its fixed parts, made from the configuration, and the loop.

    begin: write in RUN what it is begun with; without, only refuse what does not go with what is there.
    """

    def __init__(
        self,
        config: TrainConfig,
        stream: SampleStream,
        base: Base,
        world: World | None = None,
        begin: bool = True,
    ) -> None:
        self.stream, self.held_out = hold_out(stream, config.record.validation)
        if config.start is None:  # given only when the run was begun
            config = replace(config, start=name_start(config))
        self.config, self.base = config, base
        self.world = world or World(base.device)
        self.rank_batch = make_rank_batch(config.optimizer, self.world)
        self.base_digest = digest_base(base)
        self.steps = count_steps(config, len(self.stream))
        check_warmup(config.optimizer, self.steps)
        self.crop_config = keep_threshold(
            config, make_crop_config(config.data, config.visits, base, self.held_out, stream.short_side)
        )
        self.adapter = make_start(config, base)
        self.start_digest = digest_start(config, self.adapter)
        self.clip = choose_clip(config)
        self.ema = Ema(self.adapter, config.optimizer.ema) if config.optimizer.ema else None
        self.live = load_live(config.data, config.extractor, base.device)
        self.texts = open_texts(config.texts, base)
        embed = self.texts.embed if self.texts else base.embed
        self.objective = Objective(
            base,
            config.data.condition,
            config.optimizer.timesteps,
            config.base.precision,
            embed,
            self.live,
            config.optimizer.weighting,
        )
        self.preview = None
        if self.world.is_main and not self._finished():
            check_boards(config.record)
            self.preview = open_preview(config, base, self.held_out, self.crop_config, self.rank_batch.micro)
        claim(config, self.identity(), self.stream, self.world, begin)
        micro = self.rank_batch.micro
        self.validation = Validation(self.objective, self.held_out, self.crop_config, config.seed, micro)

    @property
    def result(self) -> Adapter:
        """What is validated and exported."""
        return self.ema.adapter if self.ema else self.adapter

    def identity(self) -> dict[str, Any]:
        """What decides the adapter at a given step. Paths may change, what they hold may not.

        On the same kind of CPU, with the same number of threads and workers and the same torch, it decides every
        bit. Elsewhere all that is drawn is the same and the rounding is not; a run may continue there all the
        same.
        """
        return {
            **self.config.decisive(),
            **decide_schedule(self.config, self.steps),
            "from": self.start_digest,
            "live": self.live and self.live.recipe,
            "clip": self.clip,
            "threshold_per": "batch" if self.crop_config.threshold == "batch" else None,
            "size": self.crop_config.size,
            "data": self.stream.digest,
            "base": self.base_digest,
        }

    def run(self, on_step: OnStep | None = None, on_plan: OnPlan | None = None) -> TrainSummary:
        """Train to the last step. RequestError where another process is at work on the same run."""
        finished = self.world.broadcast(self._finished())
        if finished:
            return TrainSummary(**{**finished, "new_steps": 0})
        with hold_run(self.config.out) if self.world.is_main else nullcontext():
            return self._continue(on_step, on_plan)

    def _continue(self, on_step: OnStep | None, on_plan: OnPlan | None) -> TrainSummary:
        config = self.config
        step = Step(self.objective, self.adapter, config.optimizer, self.rank_batch, self.world, self.clip)
        train_state = TrainState(self.adapter, step.optimizer, self.ema.adapter if self.ema else None)
        if self.world.is_main:
            discard_not_finite(config.out)
            keep_config(config)
            keep_start(config, self.adapter)
        begun = resume(config.out, train_state, self.world.broadcast(newest_step(config.out)))
        if begun.scaler:
            step.scaler.load_state_dict(dict(begun.scaler))
        self.world.barrier()
        with ExitStack() as stack:
            recorder = None
            if self.world.is_main:
                recorder = stack.enter_context(closing(self._open_recorder(train_state, begun)))
                if on_plan:
                    on_plan(self.plan(begun.step, begun.seconds))
                recorder.follow(on_step)
            progress, wait = self._learn(step, begun, recorder)
            return self._finish(progress, progress.step - begun.step, wait, recorder)

    def _open_recorder(self, train_state: TrainState, begun: TrainProgress) -> Recorder:
        device = self.base.device
        return Recorder(self.config, self.steps, train_state, self.validation, begun, device, self.preview)

    def plan(self, begun: int, seconds: float = 0.0) -> TrainPlan:
        """What is left after so many steps, which took `seconds`; if that is 0, the validation tells the pace."""
        own = self.rank_batch.micro * self.rank_batch.parts
        pace = seconds / begun if seconds else self.validation.estimate(own)
        device, samples = str(self.base.device), (len(self.stream), len(self.held_out))
        left = pace * max(0, self.steps - begun)
        return TrainPlan(self.config, device, *samples, self.steps, begun, left)

    def _learn(self, step: Step, begun: TrainProgress, recorder: Recorder | None) -> tuple[TrainProgress, float]:
        """All steps from `begun` on. Where that leaves the run, and the share of the time it waited for data."""
        config, progress = self.config, begun
        batches = MicroBatches(self.stream, self.crop_config, config.seed, self.rank_batch, progress.step)
        ahead = load_batches(batches, config.compute.loaders, self.world)
        started, waited = time.perf_counter(), 0.0
        while progress.step < self.steps:
            step.lr = learning_rate(config.optimizer, progress.step, self.steps)
            loss = step(ahead)
            if self.ema and step.taken:
                self.ema.update(self.adapter, progress.step + 1)
            waited += step.waited
            seconds = begun.seconds + time.perf_counter() - started
            progress = self._advance(progress, loss, step, seconds)
            if recorder:
                recorder.record(progress, step.waited, step.lr)
            if progress.in_a_row >= IN_A_ROW:
                raise IncompleteError(
                    f"loss or gradients were not finite in {progress.in_a_row} steps in a row, the last was "
                    f"step {progress.step}: try a lower --lr, or --precision bf16 in place of fp16; the adapter "
                    f"as it was before them is in {config.out}/checkpoints"
                )
        if self.texts:
            self.texts.flush()
        return progress, waited / max(time.perf_counter() - started, 1e-9)

    def _advance(self, before: TrainProgress, loss: float, step: Step, seconds: float) -> TrainProgress:
        epoch, position = divmod((before.step + 1) * self.config.optimizer.batch, len(self.stream))
        return TrainProgress(
            before.step + 1,
            epoch,
            position,
            seconds,
            scaler=step.scaler.state_dict(),
            loss=loss if math.isfinite(loss) else None,
            skipped=before.skipped + (not step.taken),
            in_a_row=0 if step.taken else before.in_a_row + 1,
        )

    def _finish(
        self, progress: TrainProgress, new_steps: int, wait: float, recorder: Recorder | None
    ) -> TrainSummary:
        config = self.config
        after = digest_base(self.base)
        if after != self.base_digest:
            # Nobody knows since when; a checkpoint left here would be finished by the next call, unquestioned.
            if recorder:
                discard_checkpoints(config.out)
            raise IncompleteError(
                f"the frozen base changed during the training: sha256 {self.base_digest[:12]}… before, "
                f"{after[:12]}… after; the checkpoints in {config.out} are removed, and it begins again at step 0"
            )
        if recorder:
            summary = self._summarise(progress, new_steps, wait, recorder)
            with commit_folder(config.out / "adapter") as folder:
                save_adapter(self.result, folder)
                write_file(folder / CARD, render_card(config, self.base, summary))
                # The older summary must not vouch for the newer adapter.
                (config.out / SUMMARY).unlink(missing_ok=True)
            write_json(config.out / SUMMARY, asdict(summary))
        return TrainSummary(**self.world.broadcast(self._finished()))

    def _finished(self) -> dict[str, Any] | None:
        """The summary of a run that has come as far as it is to; None before that, and on other workers' disks."""
        found = read_summary(self.config.out)
        whole = found and found.steps >= self.steps and (self.config.out / "adapter").is_dir()
        return asdict(found) if found and whole else None

    def _summarise(self, progress: TrainProgress, new_steps: int, wait: float, recorder: Recorder) -> TrainSummary:
        ends, lines = (0, progress.step), read_log(self.config.out / "log.jsonl")
        logged = {line.step: line.validation for line in lines if line.step in ends}
        first, last = (logged.get(step) for step in ends)
        # The log may have been lost, or the run may end at a step that an earlier call had no reason to measure.
        measure = self.validation.measure
        first = measure(make_start(self.config, self.base)) if first is None else first
        last = measure(self.result) if last is None else last
        if not (math.isfinite(first) and math.isfinite(last)):
            raise IncompleteError(
                f"the validation loss after step {progress.step} is not finite, and no adapter is written; "
                f"what was learned is in {self.config.out}/checkpoints"
            )
        return TrainSummary(
            steps=progress.step,
            new_steps=new_steps,
            samples=progress.step * self.config.optimizer.batch,
            seconds=progress.seconds,
            first_validation=first,
            last_validation=last,
            adapter=str(self.config.out / "adapter"),
            base_digest=self.base_digest,
            wait=round(wait, 4),
            memory=recorder.memory,
            skipped=progress.skipped,
            best_step=recorder.best_step,
        )
