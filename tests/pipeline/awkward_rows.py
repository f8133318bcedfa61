"""Raw rows as they come in real life: fields missing, ids rare or never seen before, lines beyond repair."""

from pathlib import Path

import numpy as np

from pipeline.cli import main

SPEC = """
format: {kind: csv}
label: {column: bought, positive_from: 1}
dense:
  - {name: price, column: price, transforms: [log, standardise]}
  - {name: age, column: age, default: 40, transforms: [{clip: [0, 90]}], missing_indicator: true}
sparse:
  - {name: shop, column: shop, min_count: 3}
  - {name: words, column: words, list: true, weight_separator: ":", max_length: 3, too_long: cut}
  - {name: city, column: city, type: integer, ids: hash, num_rows: 50, seed: 3}
  - {name: band, column: price, type: number, ids: bucketize, boundaries: [1, 5, 20]}
"""


def awkward_criteo(path: Path, num_rows: int) -> None:
    """Generated Criteo-like rows of many rare ids; every 90th line is spoilt, in four ways and once with a bad id."""
    assert (
        main(["generate", "criteo-like", f"--num_rows={num_rows}", f"--output={path}", "--cardinality_scale=0.01"]) == 0
    )
    lines = path.read_bytes().split(b"\n")[:-1]
    for place in range(0, len(lines), 90):
        fields = lines[place].split(b"\t")
        fault = place // 90 % 5
        if fault == 0:
            fields[0] = b"2"
        elif fault == 1:
            fields[3] = b"seven"
        elif fault == 2:
            fields[20] = b"xyz"
        elif fault == 3:
            fields = fields[:-1]
        else:
            fields[14:] = [b""] * 26  # sound, though hardly anything is known
        lines[place] = b"\t".join(fields)
    path.write_bytes(b"\n".join(lines) + b"\n")


def awkward_table(path: Path, num_rows: int) -> None:
    """A CSV for SPEC: texts, weighted lists (some empty, some too long), numbers with gaps, a few bad numbers."""
    generator = np.random.default_rng(5)
    lines = ["bought,price,age,shop,words,city"]
    for row in range(num_rows):
        price, age = generator.exponential(8), generator.integers(0, 100)
        shop = f"shop {int(generator.zipf(1.5)) % 500}"
        words = "|".join(
            f"w{int(generator.zipf(1.4)) % 300}:{generator.random():.2f}" for _ in range(generator.integers(0, 5))
        )
        city = int(generator.integers(-10, 1000))
        bought = int(generator.random() < 0.3 + 0.3 * (shop == "shop 1"))
        fields = [str(bought), f"{price:.3f}", str(age), shop, words, str(city)]
        if row % 3 == 0:
            fields[row // 3 % 5 + 1] = ""
        if row % 200 == 7:
            fields[2] = "old"
        lines.append(",".join(fields))
    path.write_text("\n".join(lines) + "\n")
