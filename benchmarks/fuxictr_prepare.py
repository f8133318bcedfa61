"""FuxiCTR's own preprocessing of a Criteo-format file with a header, timed; run by the Python that has FuxiCTR installed:

    PYTHON benchmarks/fuxictr_prepare.py FILE.csv FOLDER

Fields are between tabs. What it does is what its Criteo configurations ask for: integers as numbers, ids that occur twice or more
by a vocabulary. The last line is JSON: the seconds and the largest memory. Starting Ray, which it works with, is not timed.
"""

import json
import logging
import resource
import sys
import time


def main(source: str, folder: str) -> None:
    import polars
    from fuxictr.preprocess import FeatureProcessor, build_dataset  # pyright: ignore[reportMissingImports]
    from fuxictr.preprocess.build_dataset import init_ray  # pyright: ignore[reportMissingImports]

    logging.disable(logging.WARNING)
    _accept_dtypes(polars)
    init_ray()
    numbers = {"name": [f"I{i}" for i in range(1, 14)], "active": True, "dtype": float, "type": "numeric"}
    ids = {"name": [f"C{i}" for i in range(1, 27)], "active": True, "dtype": str, "type": "categorical"}
    started = time.perf_counter()
    processor = FeatureProcessor(
        feature_cols=[numbers, ids],
        label_col={"name": "label", "dtype": float},
        dataset_id="prepared",
        data_root=folder,
    )
    build_dataset(processor, train_data=source, data_format="csv", sep="\t", min_categr_count=2)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))


def _accept_dtypes(polars) -> None:
    """FuxiCTR 2.3 passes `dtypes`, which newer releases of polars call `schema_overrides`."""
    scan = polars.scan_csv

    def scan_csv(*args, dtypes=None, **settings):
        return scan(*args, schema_overrides=settings.pop("schema_overrides", dtypes), **settings)

    polars.scan_csv = scan_csv


if __name__ == "__main__":
    main(*sys.argv[1:])
