# Rebuilds the tables and figures of five medical-segmentation papers from raw data.
#   snakemake --profile demo                                   everything, on a laptop, from a phantom
#   snakemake --profile slurm results/table1_totalseg.csv      one table, at the paper's scale, on a cluster
#   snakemake -n                                               what would run at the paper's scale
from snakemake.utils import min_version

min_version("9.1.0")


configfile: f"{workflow.basedir}/config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/networks.smk"
include: "workflow/rules/cost.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/pages.smk"
include: "workflow/rules/cases.smk"
include: "workflow/rules/page.smk"


localrules:
    all,


# An included file cannot set the default target, so this rule stands here.
rule all:
    default_target: True
    input:
        products.published_files(),
