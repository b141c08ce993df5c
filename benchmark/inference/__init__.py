"""Trained networks on cases: sliding windows, slices, whole images, receptive fields."""
