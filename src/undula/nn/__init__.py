"""Modules that own parameters and know no model."""
