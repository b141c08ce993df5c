"""Losses as functions of tensors and typed settings: segmentation, masked images, prompted masks."""
