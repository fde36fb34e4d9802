"""Runs of whole experiments through the published entry points: `demo`, `reproduce`."""
