"""Runs exported files in LiteRT and TensorFlow Lite Micro and compares every output with ours.

`check_tflite.py FOLDER`: FOLDER/cases.json lists `{"name", "int8", "n_in", "n_out"}`; beside it lie NAME.tflite,
NAME.in and NAME.out (raw float32 or int8, one case after the other). Needs the wheels `ai-edge-litert`,
`tflite-micro` and `numpy`. Prints one line per file and runtime; ends with 1 when one is off.
"""

import json
import pathlib
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tflite_micro import runtime

folder = pathlib.Path(sys.argv[1])
bad = False


def say(name, which, off, limit, unit):
    global bad
    fine = bool(np.all(off <= limit))
    bad |= not fine
    worst = float(np.max(off)) if off.size else 0.0
    print(f"{name} in {which}: {'ok' if fine else 'WRONG'}, worst {worst:.3g} {unit} of {off.size} outputs")


for case in json.loads((folder / "cases.json").read_text()):
    name, int8 = case["name"], case["int8"]
    kind = np.int8 if int8 else np.float32
    content = (folder / f"{name}.tflite").read_bytes()
    inputs = np.fromfile(folder / f"{name}.in", kind).reshape(-1, case["n_in"])
    ours = np.fromfile(folder / f"{name}.out", kind).reshape(-1, case["n_out"]).astype(np.float64)
    assert len(inputs) == len(ours) and len(inputs) > 0

    lite = Interpreter(model_content=content)
    lite.allocate_tensors()
    i, o = lite.get_input_details()[0], lite.get_output_details()[0]
    assert i["dtype"] == kind and o["dtype"] == kind, (i["dtype"], o["dtype"])
    by_lite = np.empty_like(ours)
    for n, x in enumerate(inputs):
        lite.set_tensor(i["index"], x.reshape(i["shape"]))
        lite.invoke()
        by_lite[n] = lite.get_tensor(o["index"]).reshape(-1)

    micro = runtime.Interpreter.from_bytes(content, arena_size=64 * 1024)
    by_micro = np.empty_like(ours)
    for n, x in enumerate(inputs):
        micro.set_input(x.reshape(i["shape"]), 0)
        micro.invoke()
        by_micro[n] = micro.get_output(0).reshape(-1)

    if int8:
        say(name, "TFLM", np.abs(by_micro - ours), 0, "steps")
        # LiteRT rounds once where TFLM rounds twice: each layer may be a step off.
        say(name, "LiteRT", np.abs(by_lite - ours), case["steps"], "steps")
    else:
        limit = 2e-6 * np.maximum(1, np.abs(ours))
        say(name, "TFLM", np.abs(by_micro - ours), limit, "")
        say(name, "LiteRT", np.abs(by_lite - ours), limit, "")
sys.exit(1 if bad else 0)
