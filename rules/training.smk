# Training: copies or known pairs + backbone weights → model. Checkpoints lie beside the outputs, so a killed job goes on.


rule train_model:
    """Train one model; its loss curve beside it. On several devices it takes a thread and the memory below for each."""
    input:
        index=lambda w: training_set(w.family, "parquet"),
        tars=lambda w: training_set(w.family, "tar"),
        backbone=f"{RESULTS}/pretraining/{{backbone}}.safetensors",
    output:
        weights=f"{RESULTS}/models/{{family}}.{{backbone}}.safetensors",
        curve=f"{RESULTS}/models/{{family}}.{{backbone}}.curve.csv",
    log:
        f"{RESULTS}/logs/train_model/{{family}}.{{backbone}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_model/{{family}}.{{backbone}}.tsv"
    conda:
        "../envs/networks.yaml"
    threads: DEVICES
    resources:
        **several_nodes(),
        mem_mb=memory(16000 * DEVICES),
        runtime=minutes(2880),
        gpu=DEVICES * NODES,
    params:
        code=code_of("train_model.py", "networks"),
        training=lambda w: json.dumps(configuration.training_of(config, w.family)),
        checkpoints=f"{RESULTS}/checkpoints",
        seed=config["seed"],
    shell:
        'launch "$SCRIPTS/train_model.py" --index {input.index} --backbone-weights {input.backbone}'
        " --model {wildcards.family}.{wildcards.backbone} --training {params.training:q} --seed {params.seed}"
        ' --execution "$EXECUTION" --threads {threads} --checkpoints {params.checkpoints} --curve {output.curve} --output {output.weights} > {log} 2>&1'
