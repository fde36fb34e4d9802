"""Whole experiments, run through train_model.py and test_model.py: `demo`, `evidence`, `reproduce`. `runs` is what they share."""
