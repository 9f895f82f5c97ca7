# Detection: an overlay detector, trained on synthetic scenes, and what it finds in the queries. Made where
# parts.kinds names detected_overlay.


rule train_detector:
    """Train the overlay detector; its loss curve beside it."""
    input:
        pictures=manifest(BACKGROUNDS),
        backbone=f"{RESULTS}/pretraining/{config['detection']['backbone']}.safetensors",
    output:
        weights=f"{RESULTS}/detection/detector.safetensors",
        curve=f"{RESULTS}/detection/detector.curve.csv",
    log:
        f"{RESULTS}/logs/train_detector.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_detector.tsv"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=minutes(2880),
        gpu=1,
    params:
        code=code_of("train_detector.py", "networks"),
        detection=chosen(
            config["detection"],
            *("channels", "side", "steps", "batch", "learning_rate", "weight_decay"),
            *("warmup", "precision", "held_out", "scenes"),
        ),
        checkpoints=f"{RESULTS}/checkpoints",
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/train_detector.py" --pictures {input.pictures} --backbone-weights {input.backbone}'
        " --detection {params.detection:q} --seed {params.seed}"
        ' --execution "$EXECUTION" --threads {threads} --checkpoints {params.checkpoints} --curve {output.curve} --output {output.weights} > {log} 2>&1'


rule detect_overlays:
    """Pasted pictures and emoji in one shard of queries."""
    input:
        queries=manifest("queries"),
        detector=f"{RESULTS}/detection/detector.safetensors",
    output:
        f"{RESULTS}/detection/queries/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{RESULTS}/logs/detect_overlays/{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/detect_overlays/{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(480),
        gpu=1,
    params:
        code=code_of("detect_overlays.py", "networks"),
        detecting=detecting(),
    shell:
        'python "$SCRIPTS/detect_overlays.py" --queries {input.queries} --detector {input.detector}'
        " --detecting {params.detecting:q} --shard {wildcards.shard} --shards {wildcards.shards}"
        ' --execution "$EXECUTION" --threads {threads} --output {output} > {log} 2>&1'


rule evaluate_detector:
    """Precision and recall on scenes of pictures that were kept apart; some of them to look at."""
    input:
        pictures=manifest(BACKGROUNDS),
        detector=f"{RESULTS}/detection/detector.safetensors",
    output:
        summary=f"{RESULTS}/evaluation/detection.json",
        sheet=report(
            f"{RESULTS}/report/detection.jpg",
            category="Evaluation",
            labels={"figure": "4 overlay detector"},
            caption="../report/detection.rst",
        ),
    log:
        f"{RESULTS}/logs/evaluate_detector.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate_detector.tsv"
    conda:
        "../envs/networks.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(240),
        gpu=1,
    params:
        code=code_of("evaluate_detector.py", "networks"),
        detecting=detecting(),
        scenes=section("detection", "scenes"),
        held_out=config["detection"]["held_out"],
        number=config["detection"]["held_out_scenes"],
        shown=config["report"]["sheet_scenes"],
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/evaluate_detector.py" --pictures {input.pictures} --detector {input.detector}'
        " --detecting {params.detecting:q} --scenes {params.scenes:q} --held-out {params.held_out}"
        " --number {params.number} --shown {params.shown} --seed {params.seed} --threads {threads}"
        " --sheet {output.sheet} --output {output.summary} > {log} 2>&1"
