"""Typed view of paper_tables and the registries. Never imports torch."""

from benchmark.catalog.catalog import Catalog, load_catalog

__all__ = ["Catalog", "load_catalog"]
