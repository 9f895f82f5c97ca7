# Report: what a person looks at beside the evaluation. Everything here is cheap and changes no match.


rule draw_gallery:
    """Matches to look at: query beside reference, with the parts that matched drawn on both."""
    input:
        final=f"{RESULTS}/matching.csv",
        voted=expand(f"{RESULTS}/ensembling/{{family}}.parquet", family=FAMILIES),
        tile_votes=expand(f"{RESULTS}/ensembling/tiles/{{family}}.parquet", family=TILE_FAMILIES),
        parts=f"{RESULTS}/parts/queries.parquet",
        tiles=f"{RESULTS}/parts/tiles.parquet" if TILE_FAMILIES else [],
        faces=face_references(),
        queries=manifest("queries"),
        references=manifest("references"),
        truth=f"{RESULTS}/images/ground_truth.csv" if HAS_TRUTH else [],
    output:
        [
            report(
                f"{RESULTS}/report/matches/{kind}.png",
                category="Matches",
                labels={"gallery": f"{number} {kind}"},
                caption=f"../report/matches_{kind}.rst",
            )
            for number, kind in enumerate(GALLERIES, start=1)
        ],
    log:
        f"{RESULTS}/logs/draw_gallery.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_gallery.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(64000),
        runtime=minutes(60),
    params:
        code=code_of("draw_gallery.py", "evaluation"),
        tile_votes=lambda w, input: flag("--tile-votes", input.tile_votes),
        tiles=lambda w, input: flag("--tiles", input.tiles),
        faces=lambda w, input: flag("--faces", input.faces),
        truth=lambda w, input: flag("--ground-truth", input.truth),
        counted=config["evaluation"]["queries"],
        ensembling=section("ensembling"),
        sides=minimum_sides(FAMILIES),
        matches=config["report"]["gallery_matches"],
        verified="--verified" if VERIFIES else "",
    shell:
        'python "$SCRIPTS/draw_gallery.py" --final {input.final} --voted {input.voted} {params.tile_votes}'
        " --parts {input.parts} {params.tiles} {params.faces} --queries {input.queries} --references {input.references}"
        " {params.truth} --count {params.counted} --ensembling {params.ensembling:q} --family-sides {params.sides:q}"
        " --matches {params.matches} {params.verified} --threads {threads} --sheets {output} > {log} 2>&1"


rule draw_evidence:
    """Verified matches to look at: where two pictures agree, and both laid over each other."""
    input:
        matches=f"{RESULTS}/matches.csv",
        pairs=measured_pairs(),
        queries=manifest("queries"),
        references=manifest("references"),
        truth=f"{RESULTS}/images/ground_truth.csv" if HAS_TRUTH else [],
    output:
        **{
            kind: report(
                f"{RESULTS}/report/matches/{kind}.png",
                category="Matches",
                labels={"gallery": f"verified, {number} {kind}"},
                caption=f"../report/matches_{kind}.rst",
            )
            for number, kind in enumerate(EVIDENCE, start=1)
        },
    log:
        f"{RESULTS}/logs/draw_evidence.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_evidence.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        code=code_of("draw_evidence.py", "evaluation"),
        truth=lambda w, input: flag("--ground-truth", input.truth),
        counted=config["evaluation"]["queries"],
        rows=config["report"]["gallery_matches"],
    shell:
        'python "$SCRIPTS/draw_evidence.py" --matches {input.matches} --pairs {input.pairs} --queries {input.queries}'
        " --references {input.references} {params.truth} --count {params.counted} --rows {params.rows}"
        " --threads {threads} --copies {output.copies} --doubtful {output.doubtful} > {log} 2>&1"


rule draw_training_curves:
    """The cross-entropy of every training beside that of a guess."""
    input:
        expand(
            f"{RESULTS}/models/{{family}}.{{backbone}}.curve.csv", family=TRAINED + PAIR_FAMILIES, backbone=BACKBONES
        ),
    output:
        report(
            f"{RESULTS}/report/training_curves.png",
            category="Training",
            labels={"figure": "2 loss of the trainings"},
            caption="../report/training_curves.rst",
        ),
    log:
        f"{RESULTS}/logs/draw_training_curves.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_training_curves.tsv"
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


rule draw_pretraining_curves:
    """The loss of every pretraining by one method."""
    input:
        lambda w: expand(f"{RESULTS}/pretraining/{{backbone}}.curve.csv", backbone=pretrained_by(w.method)),
    output:
        report(
            f"{RESULTS}/report/pretraining/{{method}}.png",
            category="Training",
            labels={"figure": "3 loss of the pretrainings, {method}"},
            caption="../report/pretraining_curves.rst",
        ),
    log:
        f"{RESULTS}/logs/draw_pretraining_curves/{{method}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_pretraining_curves/{{method}}.tsv"
    wildcard_constraints:
        method=one_of(configuration.PRETRAINING_METHODS),
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        code=code_of("draw_loss_curves.py", "evaluation"),
    shell:
        'python "$SCRIPTS/draw_loss_curves.py" --curves {input} --loss loss --label "loss of {wildcards.method}"'
        " --threads {threads} --output {output} > {log} 2>&1"


rule draw_detector_curve:
    """The loss of the overlay detector."""
    input:
        f"{RESULTS}/detection/detector.curve.csv",
    output:
        report(
            f"{RESULTS}/report/detector_curve.png",
            category="Training",
            labels={"figure": "4 loss of the overlay detector"},
            caption="../report/detector_curve.rst",
        ),
    log:
        f"{RESULTS}/logs/draw_detector_curve.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_detector_curve.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        code=code_of("draw_loss_curves.py", "evaluation"),
    shell:
        'python "$SCRIPTS/draw_loss_curves.py" --curves {input} --loss loss --label "loss of the detector"'
        " --threads {threads} --output {output} > {log} 2>&1"


rule draw_synthesis_sheet:
    """Some classes of a family's training set: each picture and its edited copies in a row."""
    input:
        index=lambda w: training_set(w.family, "parquet"),
        tars=lambda w: training_set(w.family, "tar"),
    output:
        report(
            f"{RESULTS}/report/synthesis/{{family}}.jpg",
            category="Synthesised pictures",
            labels={"family": "{family}"},
            caption="../report/synthesis.rst",
        ),
    log:
        f"{RESULTS}/logs/draw_synthesis_sheet/{{family}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_synthesis_sheet/{{family}}.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        code=code_of("draw_synthesis_sheet.py", "evaluation"),
        classes=config["report"]["sheet_classes"],
        copies=config["report"]["sheet_copies"],
    shell:
        'python "$SCRIPTS/draw_synthesis_sheet.py" --index {input.index} --classes {params.classes}'
        " --copies {params.copies} --threads {threads} --output {output} > {log} 2>&1"


rule list_provenance:
    """Versions, machine, configuration, seeds, hashes of weights, run times; made when all results are there."""
    input:
        matches=[f"{RESULTS}/matching.csv", *second_submission(), *verified_matches()],
        rejected=f"{RESULTS}/images/rejected.csv",
        evaluation=evaluation_results(),
        figures=report_figures(),
        weights=all_weights(),
    output:
        report(
            f"{RESULTS}/report/provenance.html",
            category="Provenance",
            labels={"page": "versions, configuration, weights, run times"},
            caption="../report/provenance.rst",
        ),
    log:
        f"{RESULTS}/logs/list_provenance.log",
    benchmark:
        f"{RESULTS}/benchmarks/list_provenance.tsv"
    conda:
        "../envs/evaluation.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        code=code_of("list_provenance.py", "evaluation"),
        # Compared by its digest, so that the reason of a rerun is short; what is derived from the input is not compared.
        configuration_digest=provenance.value_digest(configuration_as_yaml()),
        configuration=lambda w, input: configuration_as_yaml(),
        snakemake=snakemake.__version__,
        seeds=json.dumps({"seed": config["seed"], "whitening.seed": config["whitening"]["seed"]}),
        rule_threads=threads_of_rules(),
        benchmarks=f"{RESULTS}/benchmarks",
    shell:
        'python "$SCRIPTS/list_provenance.py" --configuration {params.configuration:q}'
        ' --snakemake {params.snakemake} --execution "$EXECUTION"'
        " --seeds {params.seeds:q} --rule-threads {params.rule_threads:q}"
        ' --code "$SCRIPTS/.." --weights {input.weights} --benchmarks {params.benchmarks} --rejected {input.rejected}'
        " --threads {threads} --output {output} > {log} 2>&1"
