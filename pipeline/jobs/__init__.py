"""One module a job, each with `run(config) -> int`; a job reads as a table of contents of its stages."""
