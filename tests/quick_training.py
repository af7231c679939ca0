"""Options of `python -m model train` for a model that is trained in a second."""

SMALL = ["--hidden-size", "16", "--num-hidden-layers", "1", "--vocab-size", "300", "--context-length", "32"]
QUICK = [*SMALL, "--steps", "3", "--batch-size", "2", "--held-out-bytes", "2000", "--threads", "1", "--quiet"]
