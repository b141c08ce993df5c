"""Retable: rebuilds the tables and figures of five medical-segmentation papers from raw data, cell by cell."""

from benchmark.environment import correct_environment

__version__ = "0.1.0"

correct_environment()
