"""Scoring of label maps: metrics, named conventions, streamed scores. For any two folders; never imports torch."""
