"""Runs in folders: train, resume, load, evaluate."""
