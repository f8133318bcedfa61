"""The training loop and what it stands on: learner, optimizers, schedules, log, resume."""
