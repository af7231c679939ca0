"""Which of the documents given to it a stage learns from. Nothing is imported here, so that every command can."""

LEARNED_FROM = {
    "pretrain": {"tokens": frozenset({"train"})},
    "finetune": {"pairs": frozenset({"finetune"})},
    "rank": {"pairs": frozenset({"rank"})},
    "reward": {"rankings": frozenset({"train"})},
    "ppo": {"pairs": frozenset({"ppo"})},
}
"""Stage → input → the splits of its documents that shape what it makes; it only measures itself on the others."""

CLASSIFIER = "classifier"  # the kind of what `train_classifier` makes
LEARNERS = ("model", "reward_model", CLASSIFIER)
"""Kinds of outputs that hold no document but learned from some. What takes such an output inherits what it learned."""
