"""The jobs: settings, training, evaluation, inference, plans beside measurements, reports; and the command line."""

from pipeline.allocation import ask_for_large_pages

ask_for_large_pages()
