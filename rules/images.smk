# Images: folders, lists or the built-in sample → one manifest per role.


rule draw_sample:
    """Draw the built-in sample's pictures of one role; the queries' edits and truth beside them."""
    output:
        pictures=directory(f"{RESULTS}/images/drawn/{{role}}"),
    log:
        f"{RESULTS}/logs/draw_sample/{{role}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_sample/{{role}}.tsv"
    wildcard_constraints:
        role="training|references",
    conda:
        "../envs/pictures.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        code=code_of("draw_sample.py", "pictures"),
        pictures=lambda w: config["sample"][w.role],
        # Where photographs stand among the references depends on their number; training pictures do not.
        references=lambda w: (config["sample"]["references"] if w.role == "references" else 1),
        side=config["sample"]["side"],
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/draw_sample.py" --role {wildcards.role} --count {params.pictures}'
        " --references {params.references} --side {params.side}"
        " --seed {params.seed} --threads {threads} --output {output.pictures} > {log} 2>&1"


rule draw_sample_queries:
    """Draw the sample's queries: edited copies of references, look-alikes, and pictures without a source."""
    output:
        pictures=directory(f"{RESULTS}/images/drawn/queries"),
        truth=f"{RESULTS}/images/drawn/ground_truth.csv",
        edits=f"{RESULTS}/images/drawn/edits.csv",
    log:
        f"{RESULTS}/logs/draw_sample_queries.log",
    benchmark:
        f"{RESULTS}/benchmarks/draw_sample_queries.tsv"
    conda:
        "../envs/pictures.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(30),
    params:
        code=code_of("draw_sample.py", "pictures"),
        pictures=config["sample"]["queries"],
        references=config["sample"]["references"],
        side=config["sample"]["side"],
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/draw_sample.py" --role queries --count {params.pictures} --references {params.references}'
        " --side {params.side} --seed {params.seed} --threads {threads} --output {output.pictures}"
        " --ground-truth {output.truth} --edits {output.edits} > {log} 2>&1"


rule edit_validation_copies:
    """Edited copies of references, other than the queries, by which the gain of each training is judged."""
    input:
        references=manifest("references"),
        foreign=manifest(BACKGROUNDS),
    output:
        pictures=directory(f"{RESULTS}/images/drawn/validation"),
        truth=f"{RESULTS}/images/drawn/validation_truth.csv",
        edits=f"{RESULTS}/images/drawn/validation_edits.csv",
    log:
        f"{RESULTS}/logs/edit_validation_copies.log",
    benchmark:
        f"{RESULTS}/benchmarks/edit_validation_copies.tsv"
    conda:
        "../envs/pictures.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        code=code_of("edit_copies.py", "pictures"),
        copies=config["evaluation"]["validation_copies"],
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/edit_copies.py" --manifest {input.references} --foreign {input.foreign}'
        " --copies {params.copies} --seed {params.seed} --threads {threads} --output {output.pictures}"
        " --ground-truth {output.truth} --edits {output.edits} > {log} 2>&1"


rule edit_pairs:
    """The sample's known pairs: edited copies of references, drawn apart from the queries, beside their originals.

    Each has mild edits on top of its own: a plain mirror image could be the very file that is a query.
    """
    input:
        references=manifest("references"),
        foreign=manifest(BACKGROUNDS),
    output:
        pictures=directory(f"{RESULTS}/images/drawn/pairs"),
        pairs=f"{RESULTS}/images/drawn/pairs.csv",
        truth=f"{RESULTS}/images/drawn/pairs_truth.csv",
        edits=f"{RESULTS}/images/drawn/pairs_edits.csv",
    log:
        f"{RESULTS}/logs/edit_pairs.log",
    benchmark:
        f"{RESULTS}/benchmarks/edit_pairs.tsv"
    conda:
        "../envs/pictures.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(60),
    params:
        code=code_of("edit_copies.py", "pictures"),
        copies=config["sample"]["pairs"],
        seed=config["seed"],
    shell:
        'python "$SCRIPTS/edit_copies.py" --manifest {input.references} --foreign {input.foreign}'
        " --copies {params.copies} --mild 1 --draw pairs --seed {params.seed} --threads {threads}"
        " --output {output.pictures} --pairs {output.pairs}"
        " --ground-truth {output.truth} --edits {output.edits} > {log} 2>&1"


rule list_images:
    """List a role's pictures and name them; a folder's listing is digested, so a new picture is noticed."""
    input:
        lambda w: picture_source_input(w.role),
    output:
        listing=f"{RESULTS}/images/listings/{{role}}.parquet",
        rejected=f"{RESULTS}/images/listings/{{role}}.rejected.csv",
    log:
        f"{RESULTS}/logs/list_images/{{role}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/list_images/{{role}}.tsv"
    priority: 100  # a user's mistake shows before anything expensive starts
    conda:
        "../envs/pictures.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        code=code_of("list_images.py", "pictures"),
        source=lambda w: picture_source(w.role),
        folder=lambda w: folder_state(w.role),
    shell:
        'python "$SCRIPTS/list_images.py" --source {params.source:q} --role {wildcards.role}'
        " --listing {output.listing} --rejected {output.rejected} > {log} 2>&1"


rule check_inputs:
    """Hold ground truth, settings and known pairs against the pictures of all roles, before anything expensive.

    By its priority (where many jobs run at once, scans may have begun), not as an input: a picture more in one
    role must not make anew what other roles made, and
    behind an ancient() input of a job that runs Snakemake overlooks changed settings.
    """
    input:
        listings=expand(f"{RESULTS}/images/listings/{{role}}.parquet", role=given_roles()),
        truth=ground_truth_input(),
    output:
        counts=f"{RESULTS}/images/counts.csv",
        truth=[f"{RESULTS}/images/ground_truth.csv"] if HAS_TRUTH else [],
    log:
        f"{RESULTS}/logs/check_inputs.log",
    benchmark:
        f"{RESULTS}/benchmarks/check_inputs.tsv"
    priority: 100
    conda:
        "../envs/pictures.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(30),
    params:
        code=code_of("check_inputs.py", "pictures"),
        demand=json.dumps(configuration.demand(config)),
        roles=given_roles(),
        truth=lambda w, output: (
            f"--ground-truth {shlex.quote(ground_truth_source())} --output {output.truth}" if HAS_TRUTH else ""
        ),
    shell:
        'python "$SCRIPTS/check_inputs.py" --roles {params.roles} --listings {input.listings} --demand {params.demand:q}'
        " {params.truth} --counts {output.counts} > {log} 2>&1"


rule scan_images:
    """Decode every picture of a shard fully: the one place that rejects."""
    input:
        listing=f"{RESULTS}/images/listings/{{role}}.parquet",
        drawn=lambda w: picture_source_input(w.role),
    output:
        manifest=f"{RESULTS}/images/shards/{{role}}/{{shard}}-of-{{shards}}.parquet",
        rejected=f"{RESULTS}/images/shards/{{role}}/{{shard}}-of-{{shards}}.rejected.csv",
    log:
        f"{RESULTS}/logs/scan_images/{{role}}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/scan_images/{{role}}.{{shard}}-of-{{shards}}.tsv"
    conda:
        "../envs/pictures.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(240),
    params:
        code=code_of("scan_images.py", "pictures"),
        max_pixels=IMAGES["max_pixels"],
    shell:
        'python "$SCRIPTS/scan_images.py" --listing {input.listing} --role {wildcards.role}'
        " --shard {wildcards.shard} --shards {wildcards.shards} --max-pixels {params.max_pixels}"
        " --threads {threads} --manifest {output.manifest} --rejected {output.rejected} > {log} 2>&1"


rule merge_manifests:
    """Join a role's shards to its manifest."""
    input:
        manifests=lambda w: shard_files(
            f"{RESULTS}/images/shards/{w.role}/{{shard}}-of-{{shards}}.parquet",
            IMAGES["shards"][w.role],
        ),
        rejected=lambda w: [
            f"{RESULTS}/images/listings/{w.role}.rejected.csv",
            *shard_files(
                f"{RESULTS}/images/shards/{w.role}/{{shard}}-of-{{shards}}.rejected.csv",
                IMAGES["shards"][w.role],
            ),
        ],
    output:
        manifest=f"{RESULTS}/images/{{role}}.parquet",
        rejected=f"{RESULTS}/images/rejected/{{role}}.csv",
    log:
        f"{RESULTS}/logs/merge_manifests/{{role}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/merge_manifests/{{role}}.tsv"
    conda:
        "../envs/pictures.yaml"
    threads: 1
    resources:
        mem_mb=memory(8000),
        runtime=minutes(60),
    params:
        code=code_of("merge_manifests.py", "pictures"),
        # Derived from the input and so not compared: a manifest that has been made stays as it is.
        on_bad_image=lambda w, input: IMAGES["on_bad_image"],
    shell:
        'python "$SCRIPTS/merge_manifests.py" --manifests {input.manifests} --rejected {input.rejected}'
        " --on-bad-image {params.on_bad_image}"
        " --manifest {output.manifest} --rejected-out {output.rejected} > {log} 2>&1"


rule collect_rejected:
    """All rejected pictures with their reasons in one list."""
    input:
        expand(f"{RESULTS}/images/rejected/{{role}}.csv", role=roles()),
    output:
        f"{RESULTS}/images/rejected.csv",
    log:
        f"{RESULTS}/logs/collect_rejected.log",
    benchmark:
        f"{RESULTS}/benchmarks/collect_rejected.tsv"
    conda:
        "../envs/pictures.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(10),
    params:
        code=code_of("collect_rejected.py", "pictures"),
    shell:
        'python "$SCRIPTS/collect_rejected.py" --rejected {input} --output {output} > {log} 2>&1'
