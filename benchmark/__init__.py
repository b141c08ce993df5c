"""Retable: rebuilds the tables and figures of five medical-segmentation papers from raw data, cell by cell."""

__version__ = "0.1.0"
