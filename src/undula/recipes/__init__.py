"""Whole runs by name: functions that return a complete, typed configuration."""
