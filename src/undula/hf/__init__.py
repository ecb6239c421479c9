"""Hugging Face: configuration, model and cache; importing `undula.hf.modeling` registers them with the Auto classes."""
