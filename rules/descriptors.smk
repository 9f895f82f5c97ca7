# Descriptors: model + parts → whitening fitted on training pictures, then shards of unit vectors.


rule fit_whitening:
    """Whitening of a unit's models, per scale, and the descriptors of the pictures that it was fitted on."""
    input:
        training=manifest("training"),
        weights=lambda w: [weights_of(model) for model in UNITS[w.unit]],
    output:
        whitening=f"{RESULTS}/descriptors/{{unit}}/whitening.h5",
        sample=f"{RESULTS}/descriptors/{{unit}}/sample.h5",
    log:
        f"{RESULTS}/logs/fit_whitening/{{unit}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit_whitening/{{unit}}.tsv"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=minutes(240),
        gpu=1,
    params:
        code=code_of("fit_whitening.py", "networks"),
        models=lambda w: models_json(w.unit, "training"),
        scales=lambda w: scales_of(w.unit, "training"),
        descriptors=lambda w: describing(w.unit),
        whitening=lambda w: whitening_settings(w.unit),
        storage=config["descriptors"]["storage"],
    shell:
        'python "$SCRIPTS/fit_whitening.py" --training {input.training} --models {params.models:q} --scales {params.scales}'
        " --descriptors {params.descriptors:q} --whitening {params.whitening:q} --storage {params.storage}"
        ' --execution "$EXECUTION" --threads {threads} --sample {output.sample} --output {output.whitening} > {log} 2>&1'


rule describe:
    """Describe one shard of a role's parts with all models and scales of a unit."""
    input:
        manifest=lambda w: manifest(role_of(w.role)),
        parts=lambda w: parts_input(w.unit, w.role),
        whitening=lambda w: whitening_of(w.unit),
        weights=lambda w: [weights_of(model) for model in UNITS[w.unit]],
    output:
        f"{RESULTS}/descriptors/{{unit}}/{{role}}/{{shard}}-of-{{shards}}.h5",
    log:
        f"{RESULTS}/logs/describe/{{unit}}.{{role}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/describe/{{unit}}.{{role}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=minutes(480),
        gpu=1,
    params:
        code=code_of("describe.py", "networks"),
        models=lambda w: models_json(w.unit, w.role),
        scales=lambda w: scales_of(w.unit, w.role),
        descriptors=lambda w: describing(w.unit),
        parts=lambda w, input: flag("--parts", input.parts),
        whitening=lambda w, input: flag("--whitening", input.whitening),
        storage=config["descriptors"]["storage"],
    shell:
        'python "$SCRIPTS/describe.py" --manifest {input.manifest} {params.parts} {params.whitening}'
        " --models {params.models:q} --scales {params.scales} --descriptors {params.descriptors:q}"
        " --storage {params.storage}"
        ' --shard {wildcards.shard} --shards {wildcards.shards} --execution "$EXECUTION" --threads {threads} --output {output} > {log} 2>&1'
