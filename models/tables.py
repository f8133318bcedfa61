"""The embedding tables of a ranker: groups of them, all in one collection.

All are pooled by SUM, since TorchRec 1.8.0 divides wrongly when MEAN tables meet row-wise ones in one collection; means are
made of sums behind it (models.composition).
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torchrec.modules.embedding_configs import DataType, EmbeddingBagConfig, PoolingType
from torchrec.modules.embedding_modules import EmbeddingBagCollection

from models.table_layout import FeatureVector, Piece, TableGroup

FIRST_ORDER = "_first_order"
_DTYPES = {"fp32": DataType.FP32, "fp16": DataType.FP16}


def embeddings(features: Sequence[str], suffix: str = "") -> TableGroup:
    """Embeddings of the features: the arch gets float32 [B, sum of their widths]."""
    return TableGroup(features=tuple(features), suffix=suffix)


def first_order_terms(features: Sequence[str]) -> TableGroup:
    """One learned value per id of the features: the arch gets float32 [B, 4 * number of features], to be summed."""
    return TableGroup(features=tuple(features), suffix=FIRST_ORDER, is_first_order=True)


def build_tables(
    layout: Sequence[Sequence[FeatureVector]], device: torch.device | str = "meta", *, is_weighted: bool = False
) -> EmbeddingBagCollection:
    """The EmbeddingBagCollection of all groups, one after the other; a table that several features share is there once.

    Tables are made on the meta device by default: only their shards are ever allocated, by the rank that holds them.
    """
    tables: dict[str, list[Piece]] = {}
    for piece in _pieces(layout):
        tables.setdefault(piece.table, []).append(piece)
    configs = [_config(pieces) for pieces in tables.values()]
    return EmbeddingBagCollection(tables=configs, is_weighted=is_weighted, device=torch.device(device))


def pooled_keys(layout: Sequence[Sequence[FeatureVector]]) -> list[list[str]]:
    """The keys of the collection's KeyedTensor, group by group.

    TorchRec writes `key@table` where several tables look one key up.
    """
    num_tables = Counter(piece.key for piece in _pieces(layout))
    return [
        [
            f"{piece.key}@{piece.table}" if num_tables[piece.key] > 1 else piece.key
            for vector in group
            for piece in vector.pieces
        ]
        for group in layout
    ]


def frozen_tables(layout: Sequence[Sequence[FeatureVector]]) -> frozenset[str]:
    """Names of the tables that keep their first weights."""
    return frozenset(piece.table for piece in _pieces(layout) if piece.is_frozen)


def pretrained_tables(layout: Sequence[Sequence[FeatureVector]]) -> dict[str, str]:
    """The file of first weights of each table that has one."""
    return {piece.table: piece.pretrained for piece in _pieces(layout) if piece.pretrained}


def _pieces(layout: Sequence[Sequence[FeatureVector]]) -> list[Piece]:
    return [piece for group in layout for vector in group for piece in vector.pieces]


def _config(pieces: list[Piece]) -> EmbeddingBagConfig:
    first = pieces[0]
    return EmbeddingBagConfig(
        name=first.table,
        feature_names=[piece.key for piece in pieces],
        num_embeddings=first.rows,
        embedding_dim=first.width,
        pooling=PoolingType.SUM,
        data_type=_DTYPES[first.dtype],
        weight_init_min=first.low,
        weight_init_max=first.high,
    )
