"""Reading a checkpoint's files without trusting them.

torch.distributed.checkpoint keeps its index (`.metadata`) as a pickle, and unpickling runs what the pickle says. Here only the
classes that an index is made of can come out of it; tensors are read by `torch.load(weights_only=True)`, as the library does;
entries that are no tensors, which it would unpickle freely, are refused: our checkpoints have none.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import ReadItem

from data.errors import CheckpointError

_METADATA = "torch.distributed.checkpoint.metadata"
_ALLOWED = {
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    *(
        (_METADATA, name)
        for name in (
            "Metadata",
            "MetadataIndex",
            "StorageMeta",
            "TensorStorageMetadata",
            "ChunkStorageMetadata",
            "TensorProperties",
            "_MEM_FORMAT_ENCODING",
        )
    ),
}


class SafeReader(FileSystemReader):
    """The library's reader, its index read by an unpickler that knows nothing but the classes of an index."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        path = Path(self.path) / ".metadata"
        try:
            with path.open("rb") as file:
                metadata = _IndexUnpickler(file).load()
        except CheckpointError as error:
            raise CheckpointError(f"{path} {error}") from None
        except Exception as error:  # a pickle that is cut off or made up can raise nearly anything
            raise CheckpointError(
                f"{path} is damaged ({type(error).__name__}: {error}); take another checkpoint."
            ) from error
        _check_index(metadata, path)
        metadata.storage_meta.load_id = self.load_id
        return metadata


class TensorsOnly(DefaultLoadPlanner):
    """The library's load planner, without its unpickling of entries that are no tensors."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        raise CheckpointError(f"the entry {read_item.dest_index.fqn} is no tensor, and nothing else is read.")


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in _ALLOWED:
            return super().find_class(module, name)
        raise CheckpointError(
            f"asks for {module}.{name}, which no checkpoint needs: not read. Do not trust its origin."
        )

    def persistent_load(self, pid: Any) -> Any:
        raise CheckpointError("refers to objects outside itself, which no checkpoint does: not read.")


def _check_index(metadata: Any, path: Path) -> None:
    """Raise CheckpointError unless the index is of tensors that lie in files beside it."""
    damaged = CheckpointError(f"{path} is damaged (not an index of tensors); take another checkpoint.")
    if not isinstance(metadata, Metadata) or getattr(metadata, "storage_meta", None) is None:
        raise damaged
    try:
        entries = list(metadata.state_dict_metadata.values())
        names = {info.relative_path for info in (metadata.storage_data or {}).values()}
    except AttributeError:
        raise damaged from None
    if not all(isinstance(entry, TensorStorageMetadata) for entry in entries):
        raise CheckpointError(f"{path} has entries that are no tensors, and nothing else is read.")
    outside = [name for name in names if not isinstance(name, str) or Path(name).name != name]
    if outside:
        raise CheckpointError(f"{path} points to files outside its directory ({outside[0]}): not read.")
