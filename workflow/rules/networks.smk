# Trained weights to what the networks see: receptive fields and features, which figures draw, and images that they fill in.


rule measure_receptive_field:
    input:
        prepared=kept(wiring.prepared, changes.receptive_field),
        split=kept(wiring.split, changes.receptive_field),
        weights=kept(wiring.weights, changes.receptive_field),
        changed=changes.receptive_field,
    output:
        map=f"{RESULTS}/runs/{{run}}/receptive_field.npy",
        record=f"{RESULTS}/runs/{{run}}/receptive_field.json",
    log:
        f"{RESULTS}/logs/runs/{{run}}/receptive_field.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}/receptive_field.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 8
    resources:
        gpu=0 if DEMO else 1,
        mem_mb=2500 if DEMO else 32000,
        runtime=120,
    params:
        options=told(OPTIONS),
        measure=products.receptive_field_options,
    message:
        "{wildcards.run}: how far its encoder sees"
    shell:
        "python -m benchmark receptive-field {wildcards.run:q} {params.options:q} {params.measure:q} --store {input.prepared:q}"
        " --split {input.split:q} --weights {input.weights:q} --out {output.map:q} > {log:q} 2>&1"


rule extract_features:
    input:
        prepared=kept(wiring.prepared, changes.features),
        split=kept(wiring.split, changes.features),
        weights=kept(wiring.weights, changes.features),
        changed=changes.features,
    output:
        maps=f"{RESULTS}/runs/{{run}}/features.npz",
        record=f"{RESULTS}/runs/{{run}}/features.json",
    log:
        f"{RESULTS}/logs/runs/{{run}}/features.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}/features.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 8
    resources:
        mem_mb=2500 if DEMO else 16000,
        runtime=30,
    params:
        options=told(OPTIONS),
        shown=products.feature_options,
    message:
        "{wildcards.run}: what its layers see"
    shell:
        "python -m benchmark features {wildcards.run:q} {params.options:q} {params.shown:q} --store {input.prepared:q}"
        " --split {input.split:q} --weights {input.weights:q} --out {output.maps:q} > {log:q} 2>&1"


rule reconstruct_images:
    input:
        prepared=kept(wiring.prepared, changes.reconstruction),
        split=kept(wiring.split, changes.reconstruction),
        weights=kept(wiring.weights, changes.reconstruction),
        changed=changes.reconstruction,
    output:
        sheet=report(
            f"{RESULTS}/runs/{{run}}/reconstruction.png",
            caption="../report/reconstruction.rst",
            category="Training",
            labels=products.reconstruction_labels,
        ),
        record=f"{RESULTS}/runs/{{run}}/reconstruction.json",
    log:
        f"{RESULTS}/logs/runs/{{run}}/reconstruction.log",
    benchmark:
        f"{RESULTS}/benchmarks/runs/{{run}}/reconstruction.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1 if DEMO else 8
    resources:
        mem_mb=2500 if DEMO else 16000,
        runtime=30,
    params:
        options=told(OPTIONS),
    message:
        "{wildcards.run}: filling in hidden parts of images"
    shell:
        "python -m benchmark reconstruct {wildcards.run:q} {params.options:q} --store {input.prepared:q}"
        " --split {input.split:q} --weights {input.weights:q} --out {output.sheet:q} > {log:q} 2>&1"
