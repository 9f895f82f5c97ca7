# Matching: descriptors → score-normalised best pairs, exact, per model and scale, in both directions. Each search is
# split over `matching.shards` jobs: by descriptor files of queries first, then by those of references.


rule normalise_queries:
    """How alike unrelated pictures are to each query part."""
    input:
        queries=lambda w: search_shard(w, "queries"),
        background=lambda w: descriptors_of(w.unit, "training"),
        training=manifest("training"),
        faces=lambda w: trained_faces([family_of(w.unit)]),
    output:
        f"{RESULTS}/matching/normalisation/{{unit}}/{{shard}}-of-{{shards}}.h5",
    log:
        f"{RESULTS}/logs/normalise_queries/{{unit}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/normalise_queries/{{unit}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/matching.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(480),
        gpu=1,
    params:
        code=code_of("normalise_queries.py", "matching"),
        models=lambda w: UNITS[w.unit],
        matching=chosen(config["matching"], "neighbours", "weight"),
        faces=lambda w, input: flag("--faces", input.faces),
        exclude=lambda w: exclude_trained([family_of(w.unit)]),
        scales=lambda w: scales_of(w.unit, "queries"),
    shell:
        'python "$SCRIPTS/normalise_queries.py" --queries {input.queries}'
        " --background {input.background} --training {input.training} {params.faces} {params.exclude}"
        " --models {params.models} --scales {params.scales} --matching {params.matching:q}"
        " --threads {threads} --output {output} > {log} 2>&1"


rule match_parts:
    """Query parts against some of the whole references."""
    input:
        queries=lambda w: descriptors_of(w.unit, "queries"),
        normalisation=lambda w: normalisation_of(w.unit),
        references=lambda w: search_shard(w, "references"),
    output:
        f"{RESULTS}/matching/parts/{{unit}}/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{RESULTS}/logs/match_parts/{{unit}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/match_parts/{{unit}}.{{shard}}-of-{{shards}}.tsv"
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
        pairs=config["matching"]["pairs_per_query"],
        scales=lambda w: scales_of(w.unit, "queries"),
    shell:
        'python "$SCRIPTS/match_parts.py" --queries {input.queries} --normalisation {input.normalisation}'
        " --references {input.references} --models {params.models} --scales {params.scales}"
        " --pairs-per-query {params.pairs} --threads {threads} --output {output} > {log} 2>&1"


rule match_tiles:
    """Whole queries against some of the tiles of references."""
    input:
        queries=lambda w: descriptors_of(w.unit, "queries"),
        normalisation=lambda w: normalisation_of(w.unit),
        references=lambda w: search_shard(w, "tiles"),
    output:
        f"{RESULTS}/matching/tiles/{{unit}}/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{RESULTS}/logs/match_tiles/{{unit}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/match_tiles/{{unit}}.{{shard}}-of-{{shards}}.tsv"
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
        pairs=config["matching"]["pairs_per_query"],
        scales=lambda w: scales_of(w.unit, "tiles"),
    shell:
        'python "$SCRIPTS/match_parts.py" --queries {input.queries} --normalisation {input.normalisation}'
        " --references {input.references} --whole-queries --models {params.models} --scales {params.scales}"
        " --pairs-per-query {params.pairs} --threads {threads} --output {output} > {log} 2>&1"


rule merge_pairs:
    """The best pairs of all shards of query parts against whole references."""
    input:
        pairs=lambda w: shard_files(f"{RESULTS}/matching/parts/{w.unit}/{{shard}}-of-{{shards}}.parquet", SEARCHES),
        queries=lambda w: descriptors_of(w.unit, "queries"),
        references=lambda w: descriptors_of(w.unit, "references"),
    output:
        f"{RESULTS}/matching/{{unit}}.parquet",
    log:
        f"{RESULTS}/logs/merge_pairs/{{unit}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/merge_pairs/{{unit}}.tsv"
    conda:
        "../envs/matching.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        code=code_of("merge_pairs.py", "matching"),
        models=lambda w: UNITS[w.unit],
        pairs=config["matching"]["pairs_per_query"],
        scales=lambda w: scales_of(w.unit, "queries"),
    shell:
        'python "$SCRIPTS/merge_pairs.py" --pairs {input.pairs} --queries {input.queries} --references {input.references}'
        " --models {params.models} --scales {params.scales} --pairs-per-query {params.pairs}"
        " --threads {threads} --output {output} > {log} 2>&1"


rule merge_tile_pairs:
    """The same for whole queries against tiles."""
    input:
        pairs=lambda w: shard_files(f"{RESULTS}/matching/tiles/{w.unit}/{{shard}}-of-{{shards}}.parquet", SEARCHES),
        queries=lambda w: descriptors_of(w.unit, "queries"),
        references=lambda w: descriptors_of(w.unit, "tiles"),
    output:
        f"{RESULTS}/matching/tiles/{{unit}}.parquet",
    log:
        f"{RESULTS}/logs/merge_tile_pairs/{{unit}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/merge_tile_pairs/{{unit}}.tsv"
    conda:
        "../envs/matching.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        code=code_of("merge_pairs.py", "matching"),
        models=lambda w: UNITS[w.unit],
        pairs=config["matching"]["pairs_per_query"],
        scales=lambda w: scales_of(w.unit, "tiles"),
    shell:
        'python "$SCRIPTS/merge_pairs.py" --pairs {input.pairs} --queries {input.queries} --references {input.references}'
        " --whole-queries --models {params.models} --scales {params.scales} --pairs-per-query {params.pairs}"
        " --threads {threads} --output {output} > {log} 2>&1"
