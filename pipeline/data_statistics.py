"""What is known of a job's data before any of it is read: how the ids of each feature are spread over the rows of its table."""

import numpy as np

from data.config import RandomConfig
from data.generating.random_rows import random_tables
from data.generating.skewed import zipf
from data.manifest import Manifest
from pipeline.sources import Source
from sharding_plans.tables.access import TopShares, top_shares_of

Access = dict[str, tuple[TopShares, bool]]
"""By feature: shares of the lookups on the k most frequent rows, and whether rows lie in the order of their frequency."""

_COUNTS = (1, 3, 10, 30, 100, 300, 1000, 3000)


def access_of_source(source: Source) -> Access:
    """From the manifest of a prepared dataset, or from the settings of random data."""
    return access_of_random(source.config.random) if source.manifest is None else access_of_manifest(source.manifest)


def access_of_manifest(manifest: Manifest) -> Access:
    """From the train split's statistics. Rows of a fitted id map lie in the order of their counts; hashed ones anywhere."""
    is_ordered = manifest.settings.get("ids", "map") == "map"
    found: Access = {}
    for name, known in manifest.sparse_statistics.items():
        counts = sorted(known.top_mass)
        found[name] = (top_shares_of(counts, [known.top_mass[count] for count in counts]), is_ordered)
    return found


def access_of_random(config: RandomConfig) -> Access:
    """From the law that random ids are drawn by; of laws other than Zipf's, that every row is as likely as any other."""
    found: Access = {}
    for table in random_tables(config):
        if config.ids_distribution != "zipf":
            found[table.name] = ((), False)
            continue
        law = zipf(table.size, config.ids_skew)
        counts = [count for count in _COUNTS if count < table.size]
        powers = np.cumsum(np.arange(1, counts[-1] + 1, dtype=np.float64) ** -config.ids_skew) if counts else []
        found[table.name] = (top_shares_of(counts, [float(powers[count - 1] / law.total) for count in counts]), True)
    return found
