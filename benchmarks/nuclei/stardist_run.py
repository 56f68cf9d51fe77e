"""Train StarDist on some parts of an image for a given processor time, and segment another part.

Runs in an environment with StarDist, as a script: ``python benchmarks/nuclei/stardist_run.py FOLDER --seconds 120``.
``FOLDER/data.npz`` holds images and labels ``raw_N`` and ``labels_N`` to train on, ``chosen_raw`` and ``chosen_labels``
to choose on, and ``scored_raw``. It writes the segments of the last to ``FOLDER/segments.npy``, and
``FOLDER/summary.json``.

The configuration is that of StarDist's example of 2D training, with patches that fit into the parts; its loss on the
band to choose on selects the weights, and its own search the two thresholds. Since time is short, the learning rate
is 1e-3 in place of 3e-4, and falls linearly.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
    os.environ[name] = "1"  # read once, when TensorFlow is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).parents[2]))

import numpy as np  # noqa: E402
from keras.callbacks import Callback  # noqa: E402
from stardist.models import Config2D, StarDist2D  # noqa: E402

from benchmarks.cpu_time import tree_seconds  # noqa: E402

EPOCH = 20  # steps
LAST_RATE = 0.02  # of the first


class UntilTime(Callback):
    """Stop after a processor time, over which the learning rate falls."""

    def __init__(self, seconds: float, rate: float) -> None:
        super().__init__()
        self.seconds, self.rate, self.steps, self.begin = seconds, rate, 0, tree_seconds()

    @property
    def spent(self) -> float:
        return tree_seconds() - self.begin

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self.model.optimizer.learning_rate = self.rate * max(LAST_RATE, 1 - self.spent / self.seconds)

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        self.steps += 1

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        if self.spent >= self.seconds:
            self.model.stop_training = True


def augmented(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sample turned, mirrored, and with other intensities, as in StarDist's example."""
    turns, mirror = np.random.randint(4), np.random.randint(2)
    x, y = (np.rot90(values, turns) for values in (x, y))
    if mirror:
        x, y = x[::-1], y[::-1]
    x = x * np.random.uniform(0.6, 2) + np.random.uniform(-0.2, 0.2)
    return x + 0.02 * np.random.uniform(0, 1) * np.random.normal(0, 1, x.shape), y


def main() -> None:
    parser = argparse.ArgumentParser(description="Train StarDist for a processor time.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1e-3)
    options = parser.parse_args()
    data = dict(np.load(options.folder / "data.npz"))
    parts = [name.removeprefix("raw_") for name in data if name.startswith("raw_")]
    whole = np.concatenate([data[f"raw_{part}"] for part in parts])
    low, high = np.percentile(whole, (1, 99.8))

    def scaled(name: str) -> np.ndarray:
        return ((data[name] - low) / (high - low)).astype(np.float32)

    import keras

    keras.utils.set_random_seed(options.seed)
    parts_of = [values for name, values in data.items() if "raw" in name]
    side = min(256, *(size for values in parts_of for size in values.shape)) // 16 * 16
    config = Config2D(
        n_rays=32,
        grid=(2, 2),
        train_patch_size=(side, side),
        train_batch_size=4,
        train_learning_rate=options.rate,
        train_epochs=100_000,
        train_steps_per_epoch=EPOCH,
        train_n_val_patches=4,
        train_reduce_lr=None,
        train_tensorboard=False,
    )
    model = StarDist2D(config, name="model", basedir=str(options.folder))
    model.prepare_for_training()
    clock = UntilTime(options.seconds, options.rate)
    model.callbacks.append(clock)
    model.train(
        [scaled(f"raw_{part}") for part in parts],
        [data[f"labels_{part}"] for part in parts],
        validation_data=([scaled("chosen_raw")], [data["chosen_labels"]]),
        augmenter=augmented,
        seed=options.seed,
    )
    spent = clock.spent
    model.optimize_thresholds([scaled("chosen_raw")], [data["chosen_labels"]])
    np.save(options.folder / "segments.npy", model.predict_instances(scaled("scored_raw"))[0])
    summary = {"seconds": spent, "steps": clock.steps, "thresholds": list(model.thresholds)}
    (options.folder / "summary.json").write_text(json.dumps(summary))


if __name__ == "__main__":
    main()
