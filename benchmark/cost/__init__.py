"""What a run costs: parameters, FLOPs, time of a scan, memory, GPU-hours and disk."""
