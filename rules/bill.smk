# Bill: the configuration, the number of pictures and measured rates → what a run takes, before it starts.

BILLED = configuration.given_roles(config)


rule measure_rates:
    """How fast this machine does each kind of work of the configuration; about two minutes."""
    output:
        f"{RESULTS}/bill/rates.yaml",
    log:
        f"{RESULTS}/logs/measure_rates.log",
    benchmark:
        f"{RESULTS}/benchmarks/measure_rates.tsv"
    conda:
        "../envs/bill.yaml"
    threads: 1
    resources:
        mem_mb=memory(16000),
        runtime=minutes(120),
        gpu=1,
    params:
        code=code_of("measure_rates.py", "bill"),
        configuration=configuration_as_json(),
    shell:
        'python "$SCRIPTS/measure_rates.py" --configuration {params.configuration:q} --threads {threads}'
        " --output {output} > {log} 2>&1"


rule write_bill:
    """Jobs, hours, storage and memory by stage and rule; printed, too."""
    input:
        rates=folders.expanded(config["bill"]["rates"] or f"{RESULTS}/bill/rates.yaml"),
        lists=[] if SAMPLE else [picture_source_input(role) for role in BILLED if role not in DRAWN],
    output:
        table=report(
            f"{RESULTS}/bill/bill.csv",
            category="Bill",
            labels={"bill": "2 by rule, as a table (CSV)"},
            caption="../report/bill_table.rst",
        ),
        page=f"{RESULTS}/bill/bill.md",
        figure=report(
            f"{RESULTS}/bill/bill.png",
            category="Bill",
            labels={"bill": "1 by stage"},
            caption="../report/bill.rst",
        ),
    log:
        f"{RESULTS}/logs/write_bill.log",
    benchmark:
        f"{RESULTS}/benchmarks/write_bill.tsv"
    conda:
        "../envs/bill.yaml"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=minutes(60),
    params:
        code=code_of("write_bill.py", "bill"),
        configuration=configuration_as_json(),
        folders=[] if SAMPLE else [folder_state(role) for role in BILLED if role not in DRAWN],
        sources=billed_sources(),
        schema=Path(workflow.basedir) / "schemas" / "rates.schema.yaml",
    shell:
        'python "$SCRIPTS/write_bill.py" --configuration {params.configuration:q} --execution "$EXECUTION"'
        " --sources {params.sources:q} --rates {input.rates:q} --rates-schema {params.schema:q} --threads {threads}"
        " --table {output.table} --page {output.page} --figure {output.figure} 2> {log}"
