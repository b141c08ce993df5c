# The interactive page: last, from the files of everything before it.


localrules:
    build_page,


rule build_page:
    input:
        shown=kept(products.before_the_page, changes.index),
        changed=changes.index,
    output:
        html=f"{RESULTS}/index.html",
        record=f"{RESULTS}/made/index.json",
    log:
        f"{RESULTS}/logs/pages/index.log",
    benchmark:
        f"{RESULTS}/benchmarks/pages/index.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        options=told(OPTIONS),
        handed_in=products.all_handed_in,
        made=changes.index_made,
    message:
        "page: every published number, its verdict and what it rests on"
    shell:
        "python -m benchmark page {params.options:q} {params.handed_in:q} --out {output.html:q}"
        " --made {params.made:q} --record {output.record:q} > {log:q} 2>&1"
