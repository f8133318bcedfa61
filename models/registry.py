"""The rankers that `model.ranker` chooses from. Light: names and settings here, the classes are imported when one is built.

A new ranker is a file with an `Arch` in models/rankers and one entry here; docs/your_own_model.md walks through it.
"""

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from data.errors import ConfigError


@dataclass(frozen=True)
class RankerEntry:
    """One ranker: "module:Class" of its `Arch`, what it computes in a line, and the settings not shared by all that it reads."""

    path: str
    summary: str
    settings: frozenset[str]


_EMBEDDED = frozenset({"embedding_dim", "embedding_dims", "embedding_dropout", "embedding_init_scale"})
_DEEP = _EMBEDDED | {"over_arch", "dropout"}
_DEEP_FIRST_ORDER = _DEEP | {"first_order"}

RANKERS: dict[str, RankerEntry] = {
    "dlrm": RankerEntry(
        "models.rankers.dlrm:DLRM",
        "dense arch and embeddings, their interaction, over arch",
        _DEEP_FIRST_ORDER | {"dense_arch", "interaction", "self_interaction", "projection"},
    ),
    "dcn": RankerEntry(
        "models.rankers.dcn:DCN",
        "cross network (one vector a layer) beside an MLP",
        _DEEP_FIRST_ORDER | {"cross.num_layers"},
    ),
    "dcnv2": RankerEntry(
        "models.rankers.dcnv2:DCNv2",
        "dense arch, low-rank cross network, over arch (MLPerf's DLRM-DCNv2)",
        _DEEP_FIRST_ORDER | {"dense_arch", "cross"},
    ),
    "wide_and_deep": RankerEntry("models.rankers.wide_and_deep:WideAndDeep", "linear part beside an MLP", _DEEP),
    "deepfm": RankerEntry(
        "models.rankers.deepfm:DeepFM", "factorization machine beside an MLP, embeddings shared", _DEEP
    ),
    "xdeepfm": RankerEntry(
        "models.rankers.xdeepfm:XDeepFM", "linear part, compressed interaction network and MLP", _DEEP | {"cin"}
    ),
    "fm": RankerEntry("models.rankers.fm:FM", "factorization machine: linear part and all pairs", _EMBEDDED),
    "matrix_factorisation": RankerEntry(
        "models.rankers.matrix_factorisation:MatrixFactorisation",
        "biases and dot product of a user and an item",
        _EMBEDDED | {"user", "item"},
    ),
    "neural_cf": RankerEntry(
        "models.rankers.neural_cf:NeuralCF",
        "product and MLP of a user's and an item's embeddings (GMF + MLP)",
        _DEEP_FIRST_ORDER | {"user", "item"},
    ),
    "mlp": RankerEntry(
        "models.rankers.mlp_ranker:MLPRanker", "an MLP over dense features and embeddings", _DEEP_FIRST_ORDER
    ),
    "logistic_regression": RankerEntry(
        "models.rankers.logistic_regression:LogisticRegression", "linear part alone", frozenset()
    ),
}


def check_known(ranker: str) -> None:
    """ConfigError, nearest names first, where `ranker` is neither in the registry nor "module:Class"."""
    if ranker in RANKERS or ranker.count(":") == 1:
        return
    close = difflib.get_close_matches(ranker, RANKERS, n=3, cutoff=0.4)
    names = [*close, *(name for name in RANKERS if name not in close)]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ConfigError(
        f"model.ranker is {ranker!r}, which is no ranker; {hint}Known: {', '.join(names)}; "
        "or module:Class for one of your own (docs/your_own_model.md)."
    )


def check_read(ranker: str, setting: str, value: Any) -> None:
    """ConfigError where a setting, as `over_arch` or `cross.rank`, is read by other rankers only; an own one may read any."""
    names = {setting, setting.split(".")[0]}
    readers = [name for name, entry in RANKERS.items() if entry.settings & names]
    if not readers or ranker in readers or ranker not in RANKERS:
        return
    raise ConfigError(
        f"model.{setting} is {value}, but model.ranker={ranker} does not read it; it belongs to {', '.join(readers)}. "
        f"Remove it or choose one of those. {ranker} reads: {', '.join(sorted(RANKERS[ranker].settings)) or 'none of its own'}."
    )


def arch_class(ranker: str) -> Any:
    """The `Arch` of a name in the registry, or of "module:Class"; ConfigError where it cannot be imported or is no Arch."""
    module, name = (RANKERS[ranker].path if ranker in RANKERS else ranker).split(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"model.ranker is {ranker!r}, but {name} cannot be imported from {module}: {error}. "
            "It needs to be on the Python path: run from its directory, or set PYTHONPATH."
        ) from error
