"""The jobs and the command line: training, evaluation, reports. Everything meets here."""
