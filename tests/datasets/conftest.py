"""The tiny TotalSegmentator set of the tests of benchmark/data."""

from tests.data.conftest import raw_root, whole_root

__all__ = ["raw_root", "whole_root"]
