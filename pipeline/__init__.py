"""The jobs: settings, training, evaluation, inference, plans beside measurements, reports; and the command line."""

from pipeline.allocation import ask_for_large_pages
from pipeline.idle_threads import let_idle_threads_sleep

ask_for_large_pages()
let_idle_threads_sleep()
