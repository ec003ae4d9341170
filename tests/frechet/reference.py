"""Makes reference.json: features of two windows, and their Fréchet distance by scipy.

The distance is written out as in its definition, with scipy's root of a matrix, on purpose unlike the way that
src/domain/frechet.rs takes. It is not run by the tests, which read its result; to make that anew (made with numpy 2.4.6
and scipy 1.17.1):

    pip install numpy scipy && python tests/frechet/reference.py
"""

import json
import pathlib

import numpy
from scipy.linalg import sqrtm


def distance(a, b):
    mean = a.mean(axis=0) - b.mean(axis=0)
    first, second = numpy.cov(a, rowvar=False), numpy.cov(b, rowvar=False)
    root = sqrtm(first)
    middle = sqrtm(root @ second @ root)
    return float((mean @ mean + numpy.trace(first) + numpy.trace(second) - 2 * numpy.trace(middle)).real)


def window(rng, count, turn, spread, mean):
    rows = rng.standard_normal((count, len(spread))) * spread @ turn + mean
    # As f32, with as few digits as JSON needs to carry them.
    return rows.astype(numpy.float32).round(4)


def case(name, seed, accepted, new, dimensions, shift):
    rng = numpy.random.default_rng(seed)
    turns = [numpy.linalg.qr(rng.standard_normal((dimensions, dimensions)))[0] for _ in range(2)]
    spreads = [rng.uniform(0.2, 3.0, dimensions) for _ in range(2)]
    a = window(rng, accepted, turns[0], spreads[0], 0.0)
    b = window(rng, new, turns[1], spreads[1], shift)
    found = distance(a.astype(float), b.astype(float))
    rows = lambda part: [[round(float(value), 4) for value in row] for row in part]  # noqa: E731
    return {"name": name, "distance": found, "accepted": rows(a), "new": rows(b)}


CASES = [
    case("many pictures, few features", 1, 60, 45, 6, 0.7),
    case("the same distribution twice", 2, 50, 50, 4, 0.0),
    case("as many features as pictures", 3, 16, 16, 15, 0.3),
    case("fewer pictures than features", 4, 10, 14, 24, 0.4),
]

if __name__ == "__main__":
    lines = ",\n".join(json.dumps(one) for one in CASES)
    here = pathlib.Path(__file__).parent / "reference.json"
    here.write_text('{"made_by": "tests/frechet/reference.py", "cases": [\n' + lines + "\n]}\n")
    for one in CASES:
        print(f"{one['name']}: {one['distance']}")
