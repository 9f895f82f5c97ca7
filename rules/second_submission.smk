# Second submission: known pairs → a training set like a synthesised one; its models' pairs → results/matching_second.csv.
# What lies between, training, descriptors, matching and vote, are the rules of every family.


rule render_pairs:
    """The training set of a pair family: a query and its reference are a class."""
    input:
        pairs=pairs_source() if PAIR_FAMILIES else [],
        manifest=manifest("pairs"),
    output:
        tar=f"{RESULTS}/pairs/{{family}}.tar",
        index=f"{RESULTS}/pairs/{{family}}.parquet",
    log:
        f"{RESULTS}/logs/render_pairs/{{family}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/render_pairs/{{family}}.tsv"
    conda:
        "../envs/synthesis.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=minutes(240),
    params:
        code=code_of("render_pairs.py", "synthesis"),
        side=config["synthesis"]["side"],
        quality=config["synthesis"]["quality"],
        grey=lambda w: "--grey" if config["family_table"][w.family]["grey"] else "",
    shell:
        'python "$SCRIPTS/render_pairs.py" --pairs {input.pairs:q} --manifest {input.manifest}'
        " --side {params.side} --quality {params.quality} {params.grey} --threads {threads}"
        " --tar {output.tar} --index {output.index} > {log} 2>&1"


rule combine_second:
    """For each pair of pictures the larger score: of the first list, or of the models trained on pairs."""
    input:
        first=f"{RESULTS}/matching.csv",
        voted=expand(f"{RESULTS}/ensembling/{{family}}.parquet", family=PAIR_FAMILIES),
        queries=manifest("queries"),
    output:
        f"{RESULTS}/matching_second.csv",
    log:
        f"{RESULTS}/logs/combine_second.log",
    benchmark:
        f"{RESULTS}/benchmarks/combine_second.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory(64000),
        runtime=minutes(120),
    params:
        code=code_of("combine_second.py", "tables"),
        ensembling=section("ensembling"),
    shell:
        'python "$SCRIPTS/combine_second.py" --first {input.first} --voted {input.voted} --queries {input.queries}'
        " --ensembling {params.ensembling:q} --threads {threads} --output {output} > {log} 2>&1"
