"""Pictures: functions that take arrays or waves and return matplotlib figures, without touching pyplot."""
