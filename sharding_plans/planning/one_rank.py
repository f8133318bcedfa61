"""Which sharding type is the faster one on a CPU rank that is alone; weights differ in last bits at most.

FBGEMM's fused kernels (table-wise) sort the ids of a batch by the rows that they hit, and update those. A table held whole
(data-parallel) is updated whole. Where a batch looks up more ids than the tables have rows, the second is less work. For all of
them or none: beside fused tables the lookup would fall in two. Measured, not estimated: TorchRec's cost model has it the other
way round.
"""

from collections.abc import Collection, Mapping

from torchrec.modules.embedding_configs import DataType, EmbeddingBagConfig

FEW_VALUES = 2**20
"""Values that a batch looks up (ids times widths) up to which one thread updates fused tables; from there on several do."""


def are_small(tables: Collection[EmbeddingBagConfig], pooling_factors: Mapping[str, float], batch_size: int) -> bool:
    """Whether a batch looks up at least as many values as the tables have in all, and few. Of float32 tables alone.

    `pooling_factors`: the mean ids in a bag by feature, 1.0 for others.
    """
    ids = {table.name: sum(pooling_factors.get(feature, 1.0) for feature in table.feature_names) for table in tables}
    num_values = sum(batch_size * ids[table.name] * table.embedding_dim for table in tables)
    held = sum(table.num_embeddings * table.embedding_dim for table in tables)
    return held <= num_values < FEW_VALUES and all(table.data_type is DataType.FP32 for table in tables)


def faster_types(types: list[str], table: EmbeddingBagConfig, *, all_are_small: bool) -> list[str]:
    """The faster one of a table's sharding types, or all where neither is there; fused kernels want widths in fours."""
    if all_are_small and "data_parallel" in types:
        return ["data_parallel"]
    return ["table_wise"] if "table_wise" in types and table.embedding_dim % 4 == 0 else types
