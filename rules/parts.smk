# Parts: regions and rotations of pictures as tables, and which pictures show faces.


rule cut_query_parts:
    """Query parts of one shard: fixed ones, regions that selective search proposes, and detected overlays."""
    input:
        queries=manifest("queries"),
        detections=f"{RESULTS}/detection/queries/{{shard}}-of-{{shards}}.parquet" if DETECTS else [],
    output:
        f"{RESULTS}/parts/queries/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{RESULTS}/logs/cut_query_parts/{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/cut_query_parts/{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/regions.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(240),
    params:
        code=code_of("cut_query_parts.py", "regions"),
        parts=section("parts"),
        detections=lambda w, input: flag("--detections", input.detections),
    shell:
        'python "$SCRIPTS/cut_query_parts.py" --queries {input.queries} {params.detections}'
        " --parts {params.parts:q} --shard {wildcards.shard} --shards {wildcards.shards} --threads {threads} --output {output} > {log} 2>&1"


rule merge_query_parts:
    """Join the shards of the query parts."""
    input:
        shard_files(
            f"{RESULTS}/parts/queries/{{shard}}-of-{{shards}}.parquet",
            IMAGES["shards"]["queries"],
        ),
    output:
        f"{RESULTS}/parts/queries.parquet",
    log:
        f"{RESULTS}/logs/merge_query_parts.log",
    benchmark:
        f"{RESULTS}/benchmarks/merge_query_parts.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        code=code_of("merge_tables.py", "tables"),
    shell:
        'python "$SCRIPTS/merge_tables.py" --tables {input}' " --output {output} > {log} 2>&1"


rule cut_reference_tiles:
    """Tiles of the references, for the whole queries to be held against."""
    input:
        references=manifest("references"),
    output:
        f"{RESULTS}/parts/tiles.parquet",
    log:
        f"{RESULTS}/logs/cut_reference_tiles.log",
    benchmark:
        f"{RESULTS}/benchmarks/cut_reference_tiles.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        code=code_of("cut_reference_tiles.py", "tables"),
        tiles=chosen(config["tiles"], "kinds"),
    shell:
        'python "$SCRIPTS/cut_reference_tiles.py" --references {input.references} --tiles {params.tiles:q}'
        " --output {output} > {log} 2>&1"


rule find_faces:
    """Count the faces in the pictures of one shard."""
    input:
        manifest=lambda w: manifest(w.role),
    output:
        f"{RESULTS}/parts/faces/{{role}}/{{shard}}-of-{{shards}}.parquet",
    log:
        f"{RESULTS}/logs/find_faces/{{role}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/find_faces/{{role}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/faces.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(480),
    params:
        code=code_of("find_faces.py", "faces"),
        faces=section("faces"),
    shell:
        'python "$SCRIPTS/find_faces.py" --manifest {input.manifest} --faces {params.faces:q} --shard {wildcards.shard}'
        " --shards {wildcards.shards} --threads {threads} --output {output} > {log} 2>&1"


rule merge_faces:
    """Join the shards of a role's faces."""
    input:
        lambda w: shard_files(
            f"{RESULTS}/parts/faces/{w.role}/{{shard}}-of-{{shards}}.parquet",
            IMAGES["shards"][w.role],
        ),
    output:
        f"{RESULTS}/parts/faces.{{role}}.parquet",
    log:
        f"{RESULTS}/logs/merge_faces/{{role}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/merge_faces/{{role}}.tsv"
    conda:
        "../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        code=code_of("merge_tables.py", "tables"),
    shell:
        'python "$SCRIPTS/merge_tables.py" --tables {input}' " --output {output} > {log} 2>&1"
