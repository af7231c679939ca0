"""Which outputs are models, and what MLflow's registry calls them."""

MODEL_KINDS = ("model", "reward_model")  # of artifacts

MODEL_NAMES = {
    "pretrain": "pedigree-pretrained",
    "finetune": "pedigree-finetuned",
    "reward": "pedigree-reward",
    "ppo": "pedigree-aligned",
    "adopt_model": "pedigree-adopted",
}
"""Stage → the name that its models are registered by."""
