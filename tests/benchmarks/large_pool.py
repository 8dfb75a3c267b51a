"""Seconds to choose 100 of a million tasks, for each strategy: ``python -m tests.benchmarks.large_pool``.

Features are 1,000,000 x 384 in half precision in 200 groups, with 20 classes of which one is rare. Prints JSON; run it
with OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 for the figure of one core. Needs about 3 GB.
"""

import json
import resource
import sys
import time

import numpy as np

from backend.active.calibration import softmax
from backend.active.head import LinearHead
from backend.active.selection import Pool, choose

N, D, K, LABELLED, WANTED = 1_000_000, 384, 20, 500, 100
STRATEGIES = ["margin", "auto", "cluster-margin", "badge", "herding", "k-center", "diverse-cosine", "bald", "density"]


def make_pool() -> Pool:
    """A pool without clusters, so that these are made of the candidates."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(200, D)).astype(np.float32)
    head = LinearHead(rng.normal(size=(K, D)).astype(np.float32) / 8, np.zeros(K, np.float32))
    features, probs = np.empty((N, D), np.float16), np.empty((N, K), np.float32)
    for start in range(0, N, 50_000):
        rows = slice(start, start + 50_000)
        block = centres[rng.integers(0, 200, 50_000)] + rng.standard_normal((50_000, D), np.float32)
        features[rows], probs[rows] = block, softmax(head.logits(block))
    classes = np.minimum(rng.integers(0, 20 * K, LABELLED) // 20, K - 2)
    classes[0] = K - 1
    return Pool(features, probs, features[:LABELLED].astype(np.float32), classes, head=head)


def main(names: list[str]) -> None:
    pool = make_pool()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    choose("cluster-margin", pool.take(np.arange(500)), 10, seed=0)  # imports
    seconds = {}
    for name in names or STRATEGIES:
        start, cpu = time.perf_counter(), time.process_time()
        choose(name, pool, WANTED, seed=0)
        wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu
        seconds[name] = {"wall_s": round(wall_s, 2), "cpu_s": round(cpu_s, 2)}
        print(name, seconds[name], file=sys.stderr, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = {"pool_mb": before // 1024, "peak_mb": peak // 1024}
    print(json.dumps({"n": N, "d": D, "k": K, "wanted": WANTED, "seconds": seconds, **memory}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
