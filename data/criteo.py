"""Facts about Criteo's two public click logs: names, sizes, rates (from Criteo's descriptions and MLPerf)."""

NUM_DENSE = 13
NUM_SPARSE = 26
DENSE_NAMES = tuple(f"I{i}" for i in range(1, NUM_DENSE + 1))
SPARSE_NAMES = tuple(f"C{i}" for i in range(1, NUM_SPARSE + 1))

# One line: label, 13 integers, 26 ids of 8 hex digits, separated by tabs; an empty field is a missing value.
NUM_FIELDS = 1 + NUM_DENSE + NUM_SPARSE

# Only I2 of the Kaggle log goes below zero.
KAGGLE_NUM_ROWS = 45_840_617
KAGGLE_CLICK_RATE = 0.256
TERABYTE_NUM_ROWS = 4_373_472_329
TERABYTE_CLICK_RATE = 0.034
TERABYTE_NUM_DAYS = 24

# Distinct ids of C1..C26 in the Kaggle log.
KAGGLE_CARDINALITIES = (
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
)

# MLPerf's tables for the 1TB log: the ids modulo 40 M.
MLPERF_TABLE_SIZES = (
    *(40000000, 39060, 17295, 7424, 20265, 3, 7122, 1543, 63, 40000000, 3067956, 405282, 10),
    *(2209, 11938, 155, 4, 976, 14, 40000000, 40000000, 40000000, 590152, 12973, 108, 36),
)
