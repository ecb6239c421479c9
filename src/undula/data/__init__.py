"""Text to windows of token ids: corpora, splits without leakage, tokenizers, memory-mapped streams."""
