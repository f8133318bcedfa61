"""What Prometheus reads at /metrics."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from pipeline.serving.model import ServedModel

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Figures:
    """Counters and histograms of one service, in a registry of its own."""

    def __init__(self) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "shardline_requests", "Answers to /predict by HTTP status.", ["status"], registry=self.registry
        )
        self.turned_away = Counter(
            "shardline_turned_away",
            "Connections closed before a request could be read, by HTTP status.",
            ["status"],
            registry=self.registry,
        )
        self.rows = Counter("shardline_rows", "Rows that were given a probability.", registry=self.registry)
        self.seconds = Histogram(
            "shardline_request_seconds",
            "From the headers of a request to its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.score_seconds = Histogram(
            "shardline_batch_seconds",
            "Parsing, transforming and scoring of a batch.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_rows = Histogram(
            "shardline_batch_rows", "Rows that were scored together.", buckets=_ROWS, registry=self.registry
        )
        self.queue_rows = Gauge("shardline_queue_rows", "Rows that wait to be scored.", registry=self.registry)
        self.held_bytes = Gauge(
            "shardline_held_bytes", "Bytes of requests that arrive or wait.", registry=self.registry
        )
        self.connections = Gauge("shardline_connections", "Open connections.", registry=self.registry)
        self.reloads = Counter(
            "shardline_reloads", "Reloads of the bundle by outcome.", ["outcome"], registry=self.registry
        )
        self.model = Gauge(
            "shardline_model_loaded_seconds",
            "When the model was loaded, by its name.",
            ["model"],
            registry=self.registry,
        )

    def serves(self, model: ServedModel) -> None:
        """From now on this model answers."""
        self.model.clear()
        self.model.labels(model.name).set_to_current_time()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)

    def account(self) -> str:
        """What was done, in one line."""
        counted = {
            sample.labels["status"]: int(sample.value)
            for metric in self.requests.collect()
            for sample in metric.samples
            if sample.name == "shardline_requests_total"
        }
        by_status = ", ".join(f"{number:,} x {status}" for status, number in sorted(counted.items())) or "none"
        num_rows = int(self.registry.get_sample_value("shardline_rows_total") or 0)
        return f"answers to /predict: {by_status}; {num_rows:,} rows scored"
