"""The training loop: transformers' Trainer with our optimizer, evaluation, records and checkpoints."""
