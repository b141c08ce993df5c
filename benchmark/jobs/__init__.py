"""What Snakemake asks: inputs and parameters of jobs, their place and time on a cluster, the user's configuration."""
