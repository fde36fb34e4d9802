"""The machine that a run is on: its errors, signals, libraries, cores and GPUs, files and child processes. Light to import."""
