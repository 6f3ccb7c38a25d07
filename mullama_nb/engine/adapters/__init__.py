"""LoRA and control vectors: as values, as files, and on in a context."""
