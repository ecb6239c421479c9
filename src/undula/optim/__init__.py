"""Optimizers: which parameters decay, how the learning rate moves."""
