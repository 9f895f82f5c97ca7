# Pretraining: one file of weights per backbone slot, whatever the source.


rule prepare_backbone:
    """Bring weights from a file, an address, timm or a random draw into the project's form."""
    input:
        file=lambda w: weights_file(w.backbone),
    output:
        f"{RESULTS}/pretraining/{{backbone}}.safetensors",
    log:
        f"{RESULTS}/logs/prepare_backbone/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare_backbone/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=one_of(backbones_from("none", "timm", "file", "url")),
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        code=code_of("prepare_backbone.py", "networks"),
        network=lambda w: config["backbone_table"][w.backbone]["network"],
        weights=lambda w: section("backbone_table", w.backbone, "weights"),
        file=lambda w, input: flag("--file", shlex.quote(str(input.file)) if input.file else ""),
        # What a model's network must be fit for; nothing of it is in the output, so a change makes no backbone anew.
        fit=lambda w, input: (
            f"--dimensions {configuration.feature_dimensions(config)} {'--waveblock' if configuration.waves(config) else ''}"
            if w.backbone in BACKBONES
            else ""
        ),
        downloads=f"{RESULTS}/downloads",
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/prepare_backbone.py" --backbone {wildcards.backbone} --network {params.network:q} --weights {params.weights:q}'
        " --downloads {params.downloads} --seed {params.seed} --threads {threads} {params.file} {params.fit} --output {output} > {log} 2>&1"


rule pretrain_backbone:
    """Barlow Twins or Momentum² teacher, without labels and from a random draw."""
    input:
        pictures=manifest(PRETRAINING),
    output:
        weights=f"{RESULTS}/pretraining/{{backbone}}.safetensors",
        curve=f"{RESULTS}/pretraining/{{backbone}}.curve.csv",
    log:
        f"{RESULTS}/logs/pretrain_backbone/{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pretrain_backbone/{{backbone}}.tsv"
    wildcard_constraints:
        backbone=one_of(backbones_from(*configuration.PRETRAINING_METHODS)),
    priority: 10  # the trainings wait for it
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(10080),
        gpu=1,
    params:
        code=code_of("pretrain_backbone.py", "networks"),
        network=lambda w: config["backbone_table"][w.backbone]["network"],
        method=lambda w: config["backbone_table"][w.backbone]["weights"]["source"],
        settings=lambda w: json.dumps(configuration.pretraining_of(config, w.backbone)),
        checkpoints=f"{RESULTS}/checkpoints",
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/pretrain_backbone.py" --pictures {input.pictures} --backbone {wildcards.backbone}'
        " --network {params.network:q} --method {params.method} --settings {params.settings:q} --seed {params.seed}"
        ' --execution "$EXECUTION" --threads {threads} --checkpoints {params.checkpoints} --curve {output.curve} --output {output.weights} > {log} 2>&1'
