"""The bench's two workloads in Keras: CPU seconds of `fit` alone. Run by compare.sh."""

import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np
import keras
from keras import layers

rng = np.random.default_rng(1)


def cpu():
    return sum(os.times()[:2])


def dense(widths, n_in, last):
    model = keras.Sequential([keras.Input((n_in,))])
    middle = len(widths) // 2 - 1 if len(widths) % 2 == 0 else len(widths) // 2
    for i, width in enumerate(widths):
        if i == len(widths) - 1:
            act = last
        else:
            act = "linear" if i == middle else "relu"
        model.add(layers.Dense(width, activation=act))
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    return model


def seed():
    t = np.linspace(0, 100, 5000)
    x = np.clip((25 * (1 + np.sin(0.1 * t)) + rng.normal(0, 0.5, t.size)) / 50, 0, 1).astype("float32")[:, None]
    model = dense([32, 16, 2, 16, 32, 1], 1, "sigmoid")
    return model, dict(x=x[:4000], y=x[:4000], epochs=200, batch_size=32, validation_data=(x[4000:], x[4000:]))


def win():
    a, b, c, d = rng.random((4, 50_000, 1))
    t = np.arange(128)[None] / 128
    x = np.sin(6.3 * (a + (1 + 3 * b) * t)) * c + d * t + 0.02 * (rng.random((50_000, 128)) - 0.5)
    x = x.astype("float32")
    return dense([64, 32, 8, 32, 64, 128], 128, "linear"), dict(x=x, y=x, epochs=20, batch_size=128)


for name in sys.argv[1:] or ["seed", "win"]:
    model, data = {"seed": seed, "win": win}[name]()
    before, clock = cpu(), time.time()
    history = model.fit(verbose=0, **data)
    print(
        f"keras {keras.__version__} {name}: fit alone: {cpu() - before:.3f} CPU-s, {time.time() - clock:.1f} s by the clock,"
        f" last training loss {history.history['loss'][-1]:.3e}",
        flush=True,
    )
