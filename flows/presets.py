"""Presets: what differs from the defaults, by section and field. `demo` is the defaults themselves.

Plain data, so that the command line reads them without loading the stages.
"""

from typing import Any

DATA = ("snapshot", "collect", "clean", "deduplicate", "pair", "decontaminate", "tokenize", "mix")
CHOSEN = ("adopted", "classifiers")  # artifacts that settings name
PRETRAIN = ("pretrain",)
ALIGN = ("finetune", "rank", "reward", "ppo", "evaluate")
STAGES = (*DATA, *PRETRAIN, *ALIGN)

# The sections of each flow's parameters, in the order of its form.
FLOW_SECTIONS: dict[str, tuple[str, ...]] = {
    "train": (*CHOSEN, *DATA, *PRETRAIN, *ALIGN, "resources"),
    "data": (*CHOSEN, *DATA, "resources"),
    "align": ("start", *ALIGN, "resources"),
    "retrain": (*CHOSEN, *DATA, *PRETRAIN, *ALIGN, "resources"),
    "forget": ("exclude", *CHOSEN, *DATA, *PRETRAIN, *ALIGN, "resources"),
}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "demo": {},
    # Every stage for real, in seconds: a few small packages, models of a few thousand parameters. It learns next to
    # nothing; it shows that everything works.
    "test": {
        "snapshot": {"sources": [{"max_bytes": 3_000_000}], "evaluation_share": 0.3},
        "tokenize": {"vocab_size": 512, "train_bytes": 300_000, "validation_share": 0.05},
        "pretrain": {
            "hidden_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "context_length": 128,
            "steps": 40,
            "batch_size": 8,
            "evaluations": 2,
            "evaluation_tokens": 5_000,
            "ngram_tokens": 200_000,
            "samples": 4,
        },
        "finetune": {"steps": 30, "validation_pairs": 32, "eval_prompts": 24, "max_new_tokens": 12, "samples": 8},
        "rank": {
            "max_prompts": 48,
            "max_new_tokens": 12,
            "validation_fraction": 0.25,
            "rater": {"tie_margin": 0.0},  # such small models' answers are all about as bad
        },
        "reward": {"epochs": 1, "evaluate_every": 10},
        "ppo": {
            "iterations": 4,
            "batch_size": 16,
            "max_new_tokens": 12,
            "epochs": 2,
            "evaluation_prompts": 32,
            "evaluation_samples": 1,
            "watch_every": 2,
            "watch_prompts": 16,
        },
        "evaluate": {"eval_prompts": 24, "samples": 1, "eval_tokens": 4_000, "max_new_tokens": 12},
    },
    # The default text, a model some twenty times as large, and budgets to match: about eight passes over the text, past
    # which repeating it teaches little (Muennighoff et al. 2023, section 6). On an H100 a model of this size overfitted
    # the pairs at the demo's rates of fine-tuning, and PPO at the demo's rate left it in a few iterations.
    "gpu": {
        "tokenize": {"vocab_size": 16_384, "train_bytes": 30_000_000},
        "pretrain": {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "num_key_value_heads": 4,
            "intermediate_size": 2048,
            "context_length": 1024,
            "tokens": 150_000_000,
            "batch_size": 64,
            "lr": 2e-3,
            "adamw_lr": 1.5e-3,
        },
        "finetune": {"lr": 5e-4, "adamw_lr": 3e-4},
        "ppo": {"iterations": 300, "batch_size": 256, "minibatches": 4, "lr": 1e-5, "value_lr": 3e-5},
        "resources": {"device": "cuda", "compile": True},
    },
}
