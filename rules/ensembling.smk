# Ensembling: pairs → vote of the backbones → families and scales merged → results/matching.csv.


rule vote_backbones:
    """Keep the pairs of a family that enough of its backbones found."""
    input:
        lambda w: pairs_of([w.family]),
    output:
        f"{RESULTS}/ensembling/{{family}}.parquet",
    log:
        f"{RESULTS}/logs/vote_backbones/{{family}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/vote_backbones/{{family}}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        code=code_of("vote_backbones.py", "tables"),
        minimum=lambda w: vote_of(w.family),
    shell:
        'python "$SCRIPTS/vote_backbones.py" --pairs {input} --family {wildcards.family} --minimum {params.minimum}'
        " --output {output} > {log} 2>&1"


rule vote_tiles:
    """The same for the tiles of references."""
    input:
        lambda w: tile_pairs([w.family]),
    output:
        f"{RESULTS}/ensembling/tiles/{{family}}.parquet",
    log:
        f"{RESULTS}/logs/vote_tiles/{{family}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/vote_tiles/{{family}}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        code=code_of("vote_backbones.py", "tables"),
        minimum=config["ensembling"]["tile_vote"],
    shell:
        'python "$SCRIPTS/vote_backbones.py" --pairs {input} --family {wildcards.family} --minimum {params.minimum}'
        " --output {output} > {log} 2>&1"


rule combine_families:
    """One score per pair of pictures from all families, scales and parts."""
    input:
        voted=expand(f"{RESULTS}/ensembling/{{family}}.parquet", family=FAMILIES),
        tiles=expand(f"{RESULTS}/ensembling/tiles/{{family}}.parquet", family=TILE_FAMILIES),
        parts=f"{RESULTS}/parts/queries.parquet",
        faces=face_references(),
        queries=manifest("queries"),
    output:
        f"{RESULTS}/matching.csv",
    log:
        f"{RESULTS}/logs/combine_families.log",
    benchmark:
        f"{RESULTS}/benchmarks/combine_families.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory(12000),
        runtime=minutes(120),
    params:
        code=code_of("combine_families.py", "tables"),
        ensembling=section("ensembling"),
        sides=minimum_sides(FAMILIES),
        tiles=lambda w, input: flag("--tile-votes", input.tiles),
        faces=lambda w, input: flag("--faces", input.faces),
    shell:
        'python "$SCRIPTS/combine_families.py" --voted {input.voted} {params.tiles} --parts {input.parts} {params.faces}'
        " --queries {input.queries} --ensembling {params.ensembling:q} --family-sides {params.sides:q}"
        " --threads {threads} --output {output} > {log} 2>&1"
