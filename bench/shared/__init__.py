"""What several benchmarks do alike."""
