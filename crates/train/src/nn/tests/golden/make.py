"""Writes keras.json: small nets before and after a few optimiser steps in Keras, in the order of our parameters.

Run with a Python that has TensorFlow (benches/keras/compare.sh makes one): python make.py
"""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(20)
rng = np.random.default_rng(20)


def flat(model):
    """Per layer: weights [n_out x n_in], then biases."""
    out = []
    for layer in model.layers:
        if not layer.weights:
            continue
        w, b = layer.get_weights()
        out += w.reshape(-1, w.shape[-1]).T.ravel().tolist() + b.ravel().tolist()
    return out


def case(name, model, optimizer, loss, n_in, n_out, n_steps=20, batch=6):
    x = rng.uniform(-1, 1, (batch * 2, n_in)).astype("float32")
    y = rng.uniform(-1, 1, (batch * 2, n_out)).astype("float32")
    if hasattr(optimizer, "exclude_from_weight_decay"):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer=optimizer, loss=loss)
    before = flat(model)
    history = model.fit(x, y, batch_size=batch, epochs=n_steps // 2, shuffle=False, verbose=0)
    return dict(
        name=name,
        inputs=x.ravel().tolist(),
        targets=y.ravel().tolist(),
        batch_len=batch,
        n_epochs=n_steps // 2,
        before=before,
        after=flat(model),
        output=model.predict(x, verbose=0).ravel().tolist(),
        last_loss=history.history["loss"][-1],
    )


def dense(*acts):
    shape = [keras.Input((3,))]
    return keras.Sequential(shape + [layers.Dense(n, activation=a) for n, a in zip([5, 4, 2], acts)])


conv = keras.Sequential(
    [
        keras.Input((18,)),
        layers.Reshape((9, 2)),
        layers.Conv1D(3, 5, strides=2, activation="tanh"),
        layers.Flatten(),
        layers.Dense(2),
    ]
)
Adam, AdamW = keras.optimizers.Adam, keras.optimizers.AdamW
cases = [
    case("adam, mse", dense("tanh", "relu", "linear"), Adam(0.01), "mse", 3, 2),
    case("adamw, mse", dense("relu", "tanh", "sigmoid"), AdamW(0.01, weight_decay=0.1), "mse", 3, 2),
    case("adam, huber", dense("tanh", "sigmoid", "linear"), Adam(0.02, beta_1=0.8, beta_2=0.99), keras.losses.Huber(0.3), 3, 2),
    case("adam, l1", dense("tanh", "tanh", "linear"), Adam(0.005), "mae", 3, 2),
    case("convolution", conv, Adam(0.01), "mse", 18, 2),
]
data = dict(made_with=f"keras {keras.__version__}", cases=cases)


def short(v):
    return float(f"{v:.9g}") if isinstance(v, float) else [short(x) for x in v] if isinstance(v, list) else v


data["cases"] = [{k: short(v) for k, v in c.items()} for c in cases]
pathlib.Path(__file__).with_name("keras.json").write_text(json.dumps(data, separators=(",", ":")) + "\n")
