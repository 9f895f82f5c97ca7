# Matching: descriptors → score-normalised best pairs, exact, per model and scale, in both directions.


rule match_parts:
    """Query parts against whole references."""
    input:
        queries=lambda w: descriptors_of(w.unit, "queries"),
        references=lambda w: descriptors_of(w.unit, "references"),
        background=lambda w: descriptors_of(w.unit, "training"),
        training=manifest("training"),
        faces=lambda w: trained_faces([family_of(w.unit)]),
    output:
        f"{RESULTS}/matching/{{unit}}.parquet",
    log:
        f"{RESULTS}/logs/match_parts/{{unit}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/match_parts/{{unit}}.tsv"
    conda:
        "../envs/matching.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=minutes(480),
        gpu=1,
    params:
        code=code_of("match_parts.py", "matching"),
        models=lambda w: UNITS[w.unit],
        matching=section("matching"),
        faces=lambda w, input: flag("--faces", input.faces),
        exclude=lambda w: exclude_trained([family_of(w.unit)]),
        scales=lambda w: scales_of(w.unit, "queries"),
    shell:
        'python "$SCRIPTS/match_parts.py" --queries {input.queries} --references {input.references}'
        " --background {input.background} --training {input.training} {params.faces} {params.exclude}"
        " --models {params.models} --scales {params.scales} --matching {params.matching:q}"
        " --threads {threads} --output {output} > {log} 2>&1"


rule match_tiles:
    """Whole queries against the tiles of references."""
    input:
        queries=lambda w: descriptors_of(w.unit, "queries"),
        references=lambda w: descriptors_of(w.unit, "tiles"),
        background=lambda w: descriptors_of(w.unit, "training"),
        training=manifest("training"),
        faces=lambda w: trained_faces([family_of(w.unit)]),
    output:
        f"{RESULTS}/matching/tiles/{{unit}}.parquet",
    log:
        f"{RESULTS}/logs/match_tiles/{{unit}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/match_tiles/{{unit}}.tsv"
    conda:
        "../envs/matching.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(480),
        gpu=1,
    params:
        code=code_of("match_parts.py", "matching"),
        models=lambda w: UNITS[w.unit],
        matching=section("matching"),
        faces=lambda w, input: flag("--faces", input.faces),
        exclude=lambda w: exclude_trained([family_of(w.unit)]),
        scales=lambda w: scales_of(w.unit, "tiles"),
    shell:
        'python "$SCRIPTS/match_parts.py" --queries {input.queries} --references {input.references} --whole-queries'
        " --background {input.background} --training {input.training} {params.faces} {params.exclude}"
        " --models {params.models} --scales {params.scales} --matching {params.matching:q}"
        " --threads {threads} --output {output} > {log} 2>&1"
