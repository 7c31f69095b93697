#!/bin/sh
# Runs the trainer's bench and the same two workloads in Keras on this machine, one after the other, and prints the
# ratio of CPU seconds. Makes a Python environment with TensorFlow under target/ (about 1.5 GB) when there is none.
set -eu
cd "$(dirname "$0")/../../../.."
venv=target/venv-keras
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import keras' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet tensorflow-cpu
fi
out=$(mktemp)
trap 'rm -f "$out"' EXIT
cargo bench --quiet -p kinglet-train --bench trainer -- seed win | tee "$out"
"$venv/bin/python" crates/train/benches/keras/compare.py seed win | tee -a "$out"
# The bench prints the slowest instruction set first: the last figure of a workload is the fastest set's.
awk '
    /^(seed|win) on / { name = $1; isa = $3; sub(":", "", isa) }
    /^    fit alone:/ { ours[name] = $3; which[name] = isa }
    /^keras / { keras[$3] = $6 }
    END {
        for (name in ours) {
            n = name ":"
            if (n in keras) printf "%s: Keras %.2f CPU-s, ours %.3f CPU-s (%s): %.1f times less\n",
                name, keras[n], ours[name], which[name], keras[n] / ours[name]
        }
    }' "$out"
