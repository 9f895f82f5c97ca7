# Verification: candidate pairs → local features, geometry, aligned pixels → a probability, and evidence: results/matches.csv.
# Ours, in none of the published systems (docs/verification.md).


rule extract_features:
    """Local features of the pictures of one shard; of the training pictures a few hundred, spread over all."""
    input:
        manifest=lambda w: pictures_of(w.role),
    output:
        f"{RESULTS}/verification/features/{{role}}/{{shard}}-of-{{shards}}.h5",
    log:
        f"{RESULTS}/logs/extract_features/{{role}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract_features/{{role}}.{{shard}}-of-{{shards}}.tsv"
    wildcard_constraints:
        role="training|references|queries|originals|pool",
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
    """The index of the references' local features, built once for a collection, or of the originals'."""
    input:
        lambda w: features_of(w.role),
    output:
        f"{RESULTS}/verification/{{role}}.faiss",
    log:
        f"{RESULTS}/logs/index_references/{{role}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/index_references/{{role}}.tsv"
    wildcard_constraints:
        role="references|originals",
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
    """The candidates of one shard of queries, or of trial queries, and all that is measured of each pair."""
    input:
        queries=f"{RESULTS}/verification/features/{{role}}/{{shard}}-of-{{shards}}.h5",
        references=lambda w: features_of(collection_of(w.role)),
        background=f"{RESULTS}/verification/background.faiss",
        index=lambda w: local_candidates(w.role),
        final=lambda w: ranked_candidates(w.role),
        listed=lambda w: listed_candidates(w.role),
    output:
        f"{RESULTS}/verification/pairs/{{role}}/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{RESULTS}/logs/measure_pairs/{{role}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_pairs/{{role}}.{{shard}}-of-{{shards}}.tsv"
    wildcard_constraints:
        role="queries|trials",
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
        listed=lambda w, input: flag("--list", input.listed),
        candidates=section("verification", "candidates_per_query"),
        search=section("verification", "search"),
    shell:
        'python "$SCRIPTS/measure_pairs.py" --queries {input.queries} --references {input.references}'
        " --background {input.background} {params.index} {params.final} {params.listed}"
        " --candidates {params.candidates:q} --search {params.search:q} --threads {threads} --output {output} > {log} 2>&1"


rule choose_trial_pictures:
    """Training pictures that play references, are negatives, or are the pool of look-alikes, to fit trees to."""
    input:
        pictures=manifest("training"),
        background=features_of("training"),
    output:
        originals=f"{RESULTS}/verification/trials/originals.parquet",
        negatives=f"{RESULTS}/verification/trials/negatives.parquet",
        pool=f"{RESULTS}/verification/trials/pool.parquet",
    log:
        f"{RESULTS}/logs/choose_trial_pictures.log",
    benchmark:
        f"{RESULTS}/benchmarks/choose_trial_pictures.tsv"
    conda:
        "../envs/verification.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        code=code_of("choose_trial_pictures.py", "verification"),
        sizes=json.dumps(configuration.trial_pictures(config)),
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/choose_trial_pictures.py" --pictures {input.pictures} --background {input.background}'
        " --sizes {params.sizes:q} --seed {params.seed} --threads {threads} --originals {output.originals}"
        " --negatives {output.negatives} --pool {output.pool} > {log} 2>&1"


rule plan_trials:
    """Look-alikes of the originals, mined from the pool, and the list of all trial queries with their truth."""
    input:
        originals=f"{RESULTS}/verification/trials/originals.parquet",
        negatives=f"{RESULTS}/verification/trials/negatives.parquet",
        pool=f"{RESULTS}/verification/trials/pool.parquet",
        features=features_of("pool"),
        index=f"{RESULTS}/verification/originals.faiss",
    output:
        f"{RESULTS}/verification/trials/plan.parquet",
    log:
        f"{RESULTS}/logs/plan_trials.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan_trials.tsv"
    conda:
        "../envs/verification.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(120),
    params:
        code=code_of("plan_trials.py", "verification"),
        copies=VERIFICATION["fitting"]["copies"],
        look_alikes=VERIFICATION["fitting"]["look_alikes"],
        search=section("verification", "search"),
    shell:
        'python "$SCRIPTS/plan_trials.py" --originals {input.originals} --negatives {input.negatives}'
        " --pool {input.pool} --features {input.features} --index {input.index} --copies {params.copies}"
        " --look-alikes {params.look_alikes} --search {params.search:q} --threads {threads} --output {output}"
        " > {log} 2>&1"


rule extract_trials:
    """Local features of one shard of trial queries, which are edited on the way."""
    input:
        plan=f"{RESULTS}/verification/trials/plan.parquet",
        foreign=f"{RESULTS}/verification/trials/pool.parquet",
    output:
        f"{RESULTS}/verification/features/trials/{{shard}}-of-{{shards}}.h5",
    log:
        f"{RESULTS}/logs/extract_trials/{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/extract_trials/{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/verification.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(120),
    params:
        code=code_of("extract_trials.py", "verification"),
        features=section("verification", "features"),
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/extract_trials.py" --plan {input.plan} --foreign {input.foreign}'
        " --features {params.features:q} --seed {params.seed} --shard {wildcards.shard} --shards {wildcards.shards}"
        " --threads {threads} --output {output} > {log} 2>&1"


rule fit_fusion:
    """Trees fitted to the trial queries' pairs, their decision, and whether their probabilities hold."""
    input:
        pairs=measured_pairs("trials"),
        truth=f"{RESULTS}/verification/trials/plan.parquet",
    output:
        trees=f"{RESULTS}/verification/trials/trees.json",
        reliability=report(
            f"{RESULTS}/evaluation/fitting_table.csv",
            category="Evaluation",
            labels={"figure": "7 reliability of the fitted trees as a table (CSV)"},
            caption="../report/fitting.rst",
        ),
        figure=report(
            f"{RESULTS}/evaluation/fitting.png",
            category="Evaluation",
            labels={"figure": "6 reliability of the fitted trees"},
            caption="../report/fitting.rst",
        ),
    log:
        f"{RESULTS}/logs/fit_fusion.log",
    benchmark:
        f"{RESULTS}/benchmarks/fit_fusion.tsv"
    conda:
        "../envs/fitting.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        code=code_of("fit_fusion.py", "fitting"),
        precision=VERIFICATION["fitting"]["precision"],
    shell:
        'python "$SCRIPTS/fit_fusion.py" --pairs {input.pairs} --truth {input.truth} --precision {params.precision}'
        " --threads {threads} --output {output.trees} --reliability {output.reliability} --figure {output.figure}"
        " > {log} 2>&1"


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
