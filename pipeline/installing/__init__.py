"""Whether the installation and the machine can do the job. Standard library only."""
