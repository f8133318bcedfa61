"""The model card of a ranker: no training, no tables in memory, seconds on a laptop."""

from pathlib import Path

from models.card import model_card
from pipeline.describe_config import DescribeConfig
from pipeline.reports.architecture import architecture_svg
from pipeline.reports.document import Report, Section
from pipeline.reports.model_card import card_blocks, card_cards, card_results, card_text
from pipeline.reports.provenance import environment_facts
from pipeline.reports.writing import write_report
from pipeline.settings import fingerprint, to_plain
from pipeline.sources import open_source


def run(config: DescribeConfig) -> int:
    """Print the card, write it where `out` is given; 0."""
    source = open_source(config.data, config.training.seed)
    card = model_card(config.model, source.schema)
    print(card_text(card))
    if config.out is None:
        return 0
    provenance = {
        "Data": f"{'random' if source.is_random else config.data.path}, fingerprint {source.fingerprint[:16]}",
        "Settings": f"fingerprint {fingerprint(to_plain(config.model))}",
        **environment_facts(),
    }
    report = Report(
        title=f"Model card: {card.ranker}",
        subtitle=card.interactions,
        cards=card_cards(card),
        sections=[Section(title="Model", blocks=card_blocks(card))],
        provenance=provenance,
        results=card_results(card),
    )
    page = write_report(config.out, report, name="model")
    (Path(config.out) / "architecture.svg").write_text(architecture_svg(card))
    print(f"\nreport  {page}")
    return 0
