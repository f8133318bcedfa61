"""Self-contained HTML, Markdown and JSON reports from one result object."""
