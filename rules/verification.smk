# Verification: candidate pairs → local features, geometry, aligned pixels → a probability, and evidence: results/matches.csv.
# Ours, in none of the published systems (docs/verification.md).


rule extract_features:
    """Local features of the pictures of one shard; of the training pictures a few hundred, spread over all."""
    input:
        manifest=lambda w: manifest(w.role),
    output:
        f"{RESULTS}/verification/features/{{role}}/{{shard}}-of-{{shards}}.h5",
    log:
        f"{RESULTS}/logs/extract_features/{{role}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract_features/{{role}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/verification.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(480),
    params:
        code=code_of("extract_features.py", "verification"),
        features=section("verification", "features"),
        pictures=lambda w: f"--pictures {VERIFICATION['background_pictures']}" if w.role == "training" else "",
    shell:
        'python "$SCRIPTS/extract_features.py" --manifest {input.manifest} {params.pictures}'
        " --features {params.features:q} --shard {wildcards.shard} --shards {wildcards.shards} --threads {threads}"
        " --output {output} > {log} 2>&1"


rule index_references:
    """The index of the references' local features, built once for a collection."""
    input:
        features_of("references"),
    output:
        f"{RESULTS}/verification/references.faiss",
    log:
        f"{RESULTS}/logs/index_references.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_references.tsv"
    conda:
        "../envs/verification.yaml"
    threads: 1
    resources:
        mem_mb=memory(32000),
        runtime=minutes(480),
    params:
        code=code_of("index_references.py", "verification"),
        index=section("verification", "index"),
    shell:
        'python "$SCRIPTS/index_references.py" --features {input} --index {params.index:q} --threads {threads}'
        " --output {output} > {log} 2>&1"


rule index_background:
    """The index of unrelated local features: training pictures, emoji, letters."""
    input:
        features_of("training"),
    output:
        f"{RESULTS}/verification/background.faiss",
    log:
        f"{RESULTS}/logs/index_background.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_background.tsv"
    conda:
        "../envs/verification.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        code=code_of("index_background.py", "verification"),
        features=section("verification", "features"),
        index=chosen(VERIFICATION["index"], "kind", "lists", "probes"),
    shell:
        'python "$SCRIPTS/index_background.py" --unrelated {input} --features {params.features:q}'
        " --index {params.index:q} --threads {threads} --output {output} > {log} 2>&1"


rule measure_pairs:
    """The candidates of one shard of queries, and all that is measured of each pair."""
    input:
        queries=f"{RESULTS}/verification/features/queries/{{shard}}-of-{{shards}}.h5",
        references=features_of("references"),
        background=f"{RESULTS}/verification/background.faiss",
        index=candidates_from("local", "verification/references.faiss"),
        final=candidates_from("matching", "matching.csv"),
    output:
        f"{RESULTS}/verification/pairs/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{RESULTS}/logs/measure_pairs/{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_pairs/{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/verification.yaml"
    threads: 1
    resources:
        mem_mb=memory(32000),
        runtime=minutes(480),
    params:
        code=code_of("measure_pairs.py", "verification"),
        index=lambda w, input: flag("--index", input.index),
        final=lambda w, input: flag("--final", input.final),
        candidates=section("verification", "candidates_per_query"),
        search=section("verification", "search"),
    shell:
        'python "$SCRIPTS/measure_pairs.py" --queries {input.queries} --references {input.references}'
        " --background {input.background} {params.index} {params.final} --candidates {params.candidates:q}"
        " --search {params.search:q} --threads {threads} --output {output} > {log} 2>&1"


rule judge_pairs:
    """One probability of all that was measured of a pair, and the decision."""
    input:
        pairs=measured_pairs(),
        fusion=fusion_file(),
    output:
        f"{RESULTS}/matches.csv",
    log:
        f"{RESULTS}/logs/judge_pairs.log",
    benchmark:
        f"{RESULTS}/benchmarks/judge_pairs.tsv"
    conda:
        "../envs/verification.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        code=code_of("judge_pairs.py", "verification"),
        shipped=fusion_digest(),
        fusion=lambda w, input: flag("--fusion", input.fusion),
        decision="" if VERIFICATION["decision"] is None else f"--decision {VERIFICATION['decision']}",
    shell:
        'python "$SCRIPTS/judge_pairs.py" --pairs {input.pairs} {params.fusion} {params.decision}'
        " --threads {threads} --output {output} > {log} 2>&1"
