"""Whole experiments, run through train_model.py and test_model.py: `demo`, `reproduce`. `runs` is what both share."""
