"""Scores of predictions, by definition."""

import math


def accuracy(truth, told):
    return sum(a == b for a, b in zip(truth, told, strict=True)) / len(truth) if truth else math.nan


def macro_f1(truth, told):
    each = []
    for name in sorted({*truth, *told}):
        hits = sum(a == b == name for a, b in zip(truth, told, strict=True))
        precision = hits / told.count(name) if name in told else 0.0
        recall = hits / truth.count(name) if name in truth else 0.0
        each.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return sum(each) / len(each) if each else math.nan


def r_squared(truth, told):
    mean = sum(truth) / len(truth)
    return 1 - sum((a - b) ** 2 for a, b in zip(truth, told, strict=True)) / sum((a - mean) ** 2 for a in truth)
