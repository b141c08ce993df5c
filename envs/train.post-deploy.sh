# Snakemake runs this in the new environment, in the folder where Snakemake was started: the clone.
exec sh envs/install.sh python
