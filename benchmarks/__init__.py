"""Benchmarks that can be run again by anybody."""
