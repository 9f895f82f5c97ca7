# Evaluation: matches + ground truth → figures for the whole and for each part of it, beside a perceptual hash.


rule hash_baseline:
    """The baseline everybody has: PDQ hashes of whole pictures."""
    input:
        queries=manifest("queries"),
        references=manifest("references"),
    output:
        f"{RESULTS}/evaluation/hash.csv",
    log:
        f"{RESULTS}/logs/hash_baseline.log",
    benchmark:
        f"{RESULTS}/benchmarks/hash_baseline.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(240),
    params:
        code=code_of("hash_baseline.py", "evaluation"),
        pairs=config["matching"]["pairs_per_query"],
    shell:
        'python "$SCRIPTS/hash_baseline.py" --queries {input.queries} --references {input.references}'
        " --pairs-per-query {params.pairs} --threads {threads} --output {output} > {log} 2>&1"


rule evaluate:
    """Every figure of the matching track, with intervals, and what each ingredient is worth."""
    input:
        final=f"{RESULTS}/matching.csv",
        second=second_submission(),
        pair_votes=expand(f"{RESULTS}/ensembling/{{family}}.parquet", family=PAIR_FAMILIES),
        pairs=pairs_of(FAMILIES + UNTRAINED),
        tiles=tile_pairs(TILE_FAMILIES),
        parts=f"{RESULTS}/parts/queries.parquet",
        faces=face_references(),
        hash=f"{RESULTS}/evaluation/hash.csv",
        truth=f"{RESULTS}/images/ground_truth.csv",
        queries=manifest("queries"),
        references=manifest("references"),
    output:
        summary=f"{RESULTS}/evaluation/matching.json",
        table=report(
            f"{RESULTS}/evaluation/matching_table.csv",
            category="Evaluation",
            labels={"figure": "3 all rows as a table (CSV)"},
            caption="../report/table.rst",
        ),
        curve=f"{RESULTS}/evaluation/precision_recall.csv",
        figure=report(
            f"{RESULTS}/evaluation/precision_recall.png",
            category="Evaluation",
            labels={"figure": "1 precision and recall"},
            caption="../report/precision_recall.rst",
        ),
        ablation=report(
            f"{RESULTS}/evaluation/ablation.png",
            category="Evaluation",
            labels={"figure": "2 what each ingredient is worth"},
            caption="../report/ablation.rst",
        ),
    log:
        f"{RESULTS}/logs/evaluate.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(64000),
        runtime=minutes(120),
    params:
        code=code_of("evaluate.py", "evaluation"),
        tiles=lambda w, input: flag("--tile-pairs", input.tiles),
        faces=lambda w, input: flag("--faces", input.faces),
        ensembling=section("ensembling"),
        evaluation=section("evaluation"),
        second=lambda w, input: flag("--second", input.second),
        pair_votes=lambda w, input: flag("--pair-votes", input.pair_votes),
        second_submission=section("second_submission"),
        sides=minimum_sides(FAMILIES + UNTRAINED),
        families=FAMILIES,
        untrained=flag("--untrained", UNTRAINED),
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/evaluate.py" --final {input.final} --pairs {input.pairs} {params.tiles}'
        " --parts {input.parts} {params.faces} --hash {input.hash} --ground-truth {input.truth}"
        " --queries {input.queries} --references {input.references} --ensembling {params.ensembling:q}"
        " --evaluation {params.evaluation:q} --family-sides {params.sides:q} --families {params.families}"
        " {params.untrained} {params.second} {params.pair_votes} --second-submission {params.second_submission:q} --seed {params.seed} --threads {threads} --output {output.summary}"
        " --table {output.table} --curve {output.curve} --figure {output.figure}"
        " --ablation-figure {output.ablation} > {log} 2>&1"


rule evaluate_matches:
    """The verified matches beside the ranked list, step by step, at their decision, and whether probabilities hold."""
    input:
        matches=f"{RESULTS}/matches.csv",
        final=f"{RESULTS}/matching.csv",
        pairs=measured_pairs(),
        edits=f"{RESULTS}/images/drawn/edits.csv" if SAMPLE else [],
        truth=f"{RESULTS}/images/ground_truth.csv",
        queries=manifest("queries"),
    output:
        summary=f"{RESULTS}/evaluation/matches.json",
        table=report(
            f"{RESULTS}/evaluation/matches_table.csv",
            category="Evaluation",
            labels={"figure": "5 verified matches as a table (CSV)"},
            caption="../report/matches_table.rst",
        ),
        figure=report(
            f"{RESULTS}/evaluation/reliability.png",
            category="Evaluation",
            labels={"figure": "4 reliability of the probabilities"},
            caption="../report/reliability.rst",
        ),
        curves=report(
            f"{RESULTS}/evaluation/matches_precision_recall.png",
            category="Evaluation",
            labels={"figure": "1 precision and recall, verified"},
            caption="../report/matches_precision_recall.rst",
        ),
    log:
        f"{RESULTS}/logs/evaluate_matches.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate_matches.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=minutes(60),
    params:
        code=code_of("evaluate_matches.py", "evaluation"),
        edits=lambda w, input: flag("--edits", input.edits),
        evaluation=chosen(config["evaluation"], "queries", "bootstrap_samples", "confidence"),
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/evaluate_matches.py" --matches {input.matches} --final {input.final}'
        " --pairs {input.pairs} --ground-truth {input.truth} --queries {input.queries} {params.edits}"
        " --evaluation {params.evaluation:q}"
        " --seed {params.seed} --threads {threads} --output {output.summary} --table {output.table}"
        " --figure {output.figure} --curves {output.curves} > {log} 2>&1"


rule measure_training_gain:
    """Each trained model beside its own initialisation, on held-out edited copies of its own."""
    input:
        validation=[f for unit in configuration.units_measured(config) for f in descriptors_of(unit, "validation")],
        references=[f for unit in configuration.units_measured(config) for f in descriptors_of(unit, "references")],
        background=[f for unit in configuration.units_measured(config) for f in descriptors_of(unit, "training")],
        training=manifest("training"),
        faces=trained_faces(TRAINED),
        truth=f"{RESULTS}/images/drawn/validation_truth.csv",
    output:
        summary=f"{RESULTS}/evaluation/training_gain.json",
        table=f"{RESULTS}/evaluation/training_gain.csv",
        figure=report(
            f"{RESULTS}/evaluation/training_gain.png",
            category="Training",
            labels={"figure": "1 gain of each training"},
            caption="../report/training_gain.rst",
        ),
    log:
        f"{RESULTS}/logs/measure_training_gain.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_training_gain.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(32000),
        runtime=minutes(240),
    params:
        code=code_of("measure_training_gain.py", "evaluation"),
        descriptors=lambda w, input: Path(input.references[0]).parents[2],
        shards=shards_measured(),
        pairs=json.dumps(configuration.initialisations(config)),
        units=json.dumps({model: unit for unit, models in configuration.all_units(config).items() for model in models}),
        scale=SCALES[0],
        matching=section("matching"),
        exclude=exclude_trained(TRAINED),
        faces=lambda w, input: flag("--faces", input.faces),
        samples=config["evaluation"]["bootstrap_samples"],
        confidence=config["evaluation"]["confidence"],
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/measure_training_gain.py" --descriptors {params.descriptors} --shards {params.shards:q}'
        " --pairs {params.pairs:q} --units {params.units:q} --scale {params.scale}"
        " --training {input.training} {params.faces} {params.exclude}"
        " --ground-truth {input.truth} --matching {params.matching:q} --samples {params.samples}"
        " --confidence {params.confidence} --seed {params.seed} --threads {threads}"
        " --output {output.summary} --table {output.table} --figure {output.figure} > {log} 2>&1"
