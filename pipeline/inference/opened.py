"""What the command line calls MODEL, opened: a bundle as it is, or a checkpoint of which a bundle can be made."""

from dataclasses import dataclass, field
from pathlib import Path

from data.errors import ConfigError
from data.manifest import Manifest
from pipeline.inference.bundle import Bundle, is_bundle, open_bundle, write_parts, write_signature
from pipeline.inference.model_parts import ModelParts, TrainedModel, parts_of_checkpoint, read_trained
from pipeline.settings import fingerprint


@dataclass(frozen=True, kw_only=True)
class OpenedModel:
    """A model's parts and where they are from: one of `bundle` and `trained` is there."""

    parts: ModelParts
    fingerprint: str
    """Over the bytes of its files."""
    bundle: Bundle | None = None
    trained: TrainedModel | None = field(default=None, repr=False)

    @property
    def data_fingerprint(self) -> str:
        """Of the prepared data whose id maps it uses."""
        return self.parts.origin["data"]

    def prepared(self, data_path: str | None) -> Path:
        """The prepared directory that the model was trained on; ConfigError where it is not given, or is another."""
        if self.trained is not None:
            return self.trained.data_path
        if data_path is None:
            raise ConfigError(
                "A bundle does not know where its prepared data lie now: name the directory by --data_path."
            )
        found = Manifest.load(data_path).fingerprint
        if found != self.data_fingerprint:
            raise ConfigError(
                f"{data_path} has the fingerprint {found[:12]}, the model was trained on {self.data_fingerprint[:12]}: name that"
                " directory by --data_path."
            )
        return Path(data_path)

    def bundle_in(self, directory: Path) -> Path:
        """The bundle's directory; that of a checkpoint is made in `directory`, without programs, if it is not there yet."""
        if self.bundle is not None:
            return self.bundle.directory
        if not is_bundle(directory):
            write_parts(self.parts, directory)
            write_signature(self.parts, directory, {}, {})
        return directory


def open_model(path: Path, data_path: str | None = None) -> OpenedModel:
    """The bundle at `path`, or the last whole checkpoint there with the data of its run, or that at `data_path`."""
    if is_bundle(path):
        bundle = open_bundle(path)
        return OpenedModel(parts=bundle.parts(), fingerprint=fingerprint(bundle.signature["files"]), bundle=bundle)
    trained = read_trained(path, data_path)
    return OpenedModel(parts=parts_of_checkpoint(trained), fingerprint=fingerprint(trained.meta.files), trained=trained)
