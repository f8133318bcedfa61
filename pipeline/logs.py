"""Logging of the command line, set up once: our own words on stderr, without library warnings that a user cannot act on."""

import logging
import sys
import warnings

_OURS = ("data", "models", "sharding_plans", "pipeline")


def set_up_logging(is_quiet_rank: bool) -> None:
    """Show our messages from INFO on (from WARNING on where another rank says the same)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s" if is_quiet_rank else "%(message)s"))
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(logging.WARNING if is_quiet_rank else logging.INFO)
    _silence_known_noise()


def _silence_known_noise() -> None:
    """Warnings about TorchRec's and FBGEMM's own use of torch.

    FBGEMM's dense lookup has its backward under a dispatch key that torch 2.13 deprecates: the gradients are right, as the
    tests that compare data-parallel tables with an unsharded model show. The others are TorchRec's own use of deprecated names.
    """
    warnings.filterwarnings("ignore", message="fbgemm::dense_embedding_codegen_lookup_function", category=UserWarning)
    warnings.filterwarnings("ignore", message=".*ShardedTensor", category=FutureWarning)
    logging.getLogger("torch.fx._symbolic_trace").addFilter(_is_not_tracing_hint)


def _is_not_tracing_hint(record: logging.LogRecord) -> bool:
    return "is_fx_tracing" not in record.getMessage()
