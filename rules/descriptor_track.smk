# Descriptor track, BoT: a second system on the same stages → results/descriptors.h5. Its model is trained and describes
# by the rules of every family; here is what is new: what is described of a query, and what becomes of the descriptors.


rule replace_queries:
    """The part of each query that is described: a confidently detected overlay, or the whole."""
    input:
        queries=manifest("queries"),
        detections=shard_files(
            f"{RESULTS}/detection/queries/{{shard}}-of-{{shards}}.parquet",
            IMAGES["shards"]["queries"],
        ),
    output:
        f"{RESULTS}/descriptor_track/queries.parquet",
    log:
        f"{RESULTS}/logs/replace_queries.log",
    benchmark:
        f"{RESULTS}/benchmarks/replace_queries.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        code=code_of("replace_queries.py", "tables"),
        replacement=section("descriptor_track", "replacement"),
    shell:
        'python "$SCRIPTS/replace_queries.py" --queries {input.queries} --detections {input.detections}'
        " --replacement {params.replacement:q} --threads {threads} --output {output} > {log} 2>&1"


rule stretch_descriptors:
    """All scales averaged, queries stretched: the file that the contest's evaluator reads, and its nearest pairs."""
    input:
        query_vectors=descriptors_of(TRACK, "queries"),
        reference_vectors=descriptors_of(TRACK, "references"),
        background=descriptors_of(TRACK, "training"),
        queries=manifest("queries"),
        references=manifest("references"),
        training=manifest("training"),
        faces=trained_faces([family_of(TRACK)]),
    output:
        descriptors=f"{RESULTS}/descriptors.h5",
        pairs=f"{RESULTS}/descriptors.csv",
    log:
        f"{RESULTS}/logs/stretch_descriptors.log",
    benchmark:
        f"{RESULTS}/benchmarks/stretch_descriptors.tsv"
    conda:
        "../envs/matching.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=minutes(240),
        gpu=1,
    params:
        code=code_of("stretch_descriptors.py", "matching"),
        model=TRACK,
        scales=scales_of(TRACK, "queries"),
        stretching=section("descriptor_track", "stretching"),
        faces=lambda w, input: flag("--faces", input.faces),
        exclude=exclude_trained([family_of(TRACK)]),
        pairs=config["ensembling"]["rows_per_query"],
    shell:
        'python "$SCRIPTS/stretch_descriptors.py" --query-vectors {input.query_vectors}'
        " --reference-vectors {input.reference_vectors} --background {input.background}"
        " --queries {input.queries} --references {input.references}"
        " --training {input.training} {params.faces} {params.exclude} --model {params.model} --scales {params.scales}"
        " --stretching {params.stretching:q} --pairs-per-query {params.pairs} --threads {threads}"
        " --output {output.descriptors} --list {output.pairs} > {log} 2>&1"


rule evaluate_descriptors:
    """The nearest pairs measured as the contest does; what scales and stretching are worth."""
    input:
        nearest=f"{RESULTS}/descriptors.csv",
        query_vectors=descriptors_of(TRACK, "queries"),
        reference_vectors=descriptors_of(TRACK, "references"),
        background=descriptors_of(TRACK, "training"),
        replaced=replaced_queries(),
        training=manifest("training"),
        faces=trained_faces([family_of(TRACK)]),
        queries=manifest("queries"),
        truth=f"{RESULTS}/images/ground_truth.csv",
    output:
        summary=f"{RESULTS}/evaluation/descriptors.json",
        table=report(
            f"{RESULTS}/evaluation/descriptors_table.csv",
            category="Evaluation",
            labels={"figure": "6 descriptor track as a table (CSV)"},
            caption="../report/descriptors_table.rst",
        ),
        curves=report(
            f"{RESULTS}/evaluation/descriptors_precision_recall.png",
            category="Evaluation",
            labels={"figure": "7 descriptor track: precision and recall"},
            caption="../report/descriptors_precision_recall.rst",
        ),
    log:
        f"{RESULTS}/logs/evaluate_descriptors.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate_descriptors.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(32000),
        runtime=minutes(600),
    params:
        code=code_of("evaluate_descriptors.py", "evaluation"),
        model=TRACK,
        scales=scales_of(TRACK, "queries"),
        stretching=section("descriptor_track", "stretching"),
        normalisation=chosen(config["matching"], "neighbours", "weight"),
        replaced=lambda w, input: flag("--replaced", input.replaced),
        faces=lambda w, input: flag("--faces", input.faces),
        exclude=exclude_trained([family_of(TRACK)]),
        pairs=config["ensembling"]["rows_per_query"],
        evaluation=section("evaluation"),
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/evaluate_descriptors.py" --list {input.nearest}'
        " --query-vectors {input.query_vectors} --reference-vectors {input.reference_vectors}"
        " --background {input.background} {params.replaced} --training {input.training} {params.faces} {params.exclude}"
        " --queries {input.queries} --ground-truth {input.truth} --model {params.model} --scales {params.scales}"
        " --stretching {params.stretching:q} --normalisation {params.normalisation:q} --pairs-per-query {params.pairs}"
        " --evaluation {params.evaluation:q} --seed {params.seed} --threads {threads}"
        " --output {output.summary} --table {output.table} --curves {output.curves} > {log} 2>&1"


rule draw_nearest:
    """Pairs of the descriptor track's list to look at."""
    input:
        nearest=f"{RESULTS}/descriptors.csv",
        queries=manifest("queries"),
        references=manifest("references"),
        replaced=replaced_queries(),
        truth=f"{RESULTS}/images/ground_truth.csv" if HAS_TRUTH else [],
    output:
        [
            report(
                f"{RESULTS}/report/descriptor_track/{kind}.png",
                category="Matches",
                labels={"gallery": f"descriptor track, {number} {kind}"},
                caption="../report/nearest.rst",
            )
            for number, kind in enumerate(GALLERIES, start=1)
        ],
    log:
        f"{RESULTS}/logs/draw_nearest.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_nearest.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        code=code_of("draw_nearest.py", "evaluation"),
        replaced=lambda w, input: flag("--replaced", input.replaced),
        truth=lambda w, input: flag("--ground-truth", input.truth),
        counted=config["evaluation"]["queries"],
        matches=config["report"]["gallery_matches"],
    shell:
        'python "$SCRIPTS/draw_nearest.py" --list {input.nearest} --queries {input.queries}'
        " --references {input.references} {params.replaced} {params.truth} --count {params.counted}"
        " --matches {params.matches} --threads {threads} --sheets {output} > {log} 2>&1"


rule draw_track_curve:
    """The cross-entropy of the track's training beside that of a guess."""
    input:
        f"{RESULTS}/models/{TRACK}.curve.csv",
    output:
        report(
            f"{RESULTS}/report/descriptor_track/training_curve.png",
            category="Training",
            labels={"figure": "5 loss of the descriptor track's training"},
            caption="../report/training_curves.rst",
        ),
    log:
        f"{RESULTS}/logs/draw_track_curve.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_track_curve.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        code=code_of("draw_loss_curves.py", "evaluation"),
    shell:
        'python "$SCRIPTS/draw_loss_curves.py" --curves {input} --loss cross_entropy --label cross-entropy'
        " --threads {threads} --output {output} > {log} 2>&1"
