"""Measurements of speed, memory and error: harness, cases as data, peers as adapters, records, tables."""
