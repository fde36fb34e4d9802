"""Training: the command line, the trainer, and everything around its steps."""
