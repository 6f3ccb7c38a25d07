"""States under names."""
