# Snakemake runs a copy of this in the new environment, wherever it was started; RETABLE_CLONE is set by the workflow.
# By hand, from the clone: conda activate retable && sh envs/train.post-deploy.sh
exec sh "${RETABLE_CLONE:-.}/envs/install.sh" python
