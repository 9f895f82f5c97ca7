# Synthesis: training manifest → one set of edited copies per family, as tar shards with an index.


rule synthesise:
    """Render one shard of a family's training set."""
    input:
        training=manifest("training"),
        backgrounds=manifest(BACKGROUNDS),
        faces=lambda w: needs_faces(w.family),
    output:
        tar=f"{RESULTS}/synthesis/{{family}}/{{shard}}-of-{{shards}}.tar",
        index=f"{RESULTS}/synthesis/{{family}}/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{RESULTS}/logs/synthesise/{{family}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/synthesise/{{family}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/synthesis.yaml"
    threads: 1
    resources:
        mem_mb=memory(3000),
        runtime=minutes(600),
    params:
        code=code_of("synthesise.py", "synthesis"),
        synthesis=section("synthesis"),
        family=lambda w: chosen(config["family_table"][w.family], "grey", "chain"),
        faces=lambda w, input: flag("--faces", input.faces),
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/synthesise.py" --training {input.training} --backgrounds {input.backgrounds} {params.faces}'
        " --family {wildcards.family} --synthesis {params.synthesis:q} --family-settings {params.family:q}"
        " --shard {wildcards.shard} --shards {wildcards.shards} --seed {params.seed} --threads {threads}"
        " --tar {output.tar} --index {output.index} > {log} 2>&1"
