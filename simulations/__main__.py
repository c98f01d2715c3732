"""`python -m simulations`: every procedure under every truth, about ten minutes; writes RESULTS.md and results.csv."""

import argparse
import time
import zlib

import numpy as np

from simulations import decisions, depths, intervals
from simulations.outcome import Outcome
from simulations.report import write

PARTS = {
    "levels": intervals.of_levels,
    "effects": intervals.of_effects,
    "pooling": intervals.of_pooling,
    "ratios": intervals.of_ratios,
    "families": decisions.of_families,
    "margins": decisions.of_margins,
    "areas": depths.of_areas,
    "crossings": depths.of_crossings,
    "mixed models": depths.of_mixed_models,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m simulations", description=(__doc__ or "").split(";")[0])
    parser.add_argument("--only", choices=PARTS, help="print one part; nothing is written")
    only = parser.parse_args().only
    outcomes: list[Outcome] = []
    for name, part in PARTS.items():
        if only in (None, name):
            began = time.monotonic()
            # Each part has its own random numbers, so that none depends on those before.
            outcomes += part(np.random.default_rng(zlib.crc32(name.encode())))
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    write(outcomes, keep=only is None)


if __name__ == "__main__":
    main()
