# copytrace: pictures in, ranked matches out. This file is the map; each stage is one file in rules/, each
# rule one script in workflow_scripts/, each script a short way into the library workflow_scripts/copytrace/.

from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/progress.smk"
include: "rules/images.smk"
include: "rules/synthesis.smk"
include: "rules/pretraining.smk"
include: "rules/training.smk"
include: "rules/detection.smk"
include: "rules/parts.smk"
include: "rules/descriptors.smk"
include: "rules/matching.smk"
include: "rules/ensembling.smk"
include: "rules/second_submission.smk"
include: "rules/verification.smk"
include: "rules/evaluation.smk"
include: "rules/descriptor_track.smk"
include: "rules/report.smk"
include: "rules/bill.smk"


localrules:
    all,
    descriptor_track,
    bill,


rule all:
    """Checked inputs, matches, rejected pictures, where the truth is known the evaluation, and the report's figures."""
    default_target: True
    input:
        f"{RESULTS}/images/counts.csv",
        f"{RESULTS}/matching.csv",
        second_submission(),
        verified_matches(),
        f"{RESULTS}/images/rejected.csv",
        evaluation_results(),
        report_figures(),
        f"{RESULTS}/report/provenance.html",


rule descriptor_track:
    """The second system, BoT: the contest's file of descriptors and, where the truth is known, its evaluation."""
    input:
        f"{RESULTS}/descriptors.h5",
        f"{RESULTS}/images/rejected.csv",
        track_evaluation(),
        track_figures(),


rule bill:
    """What a run of this configuration takes, before it starts."""
    input:
        f"{RESULTS}/bill/bill.md",


onstart:
    record_run()
    report_progress()


onsuccess:
    report_outcome()


# A job on a cluster reads this file again, perhaps hours later: it computes only what its run began with.
if not workflow.is_main_process:
    check_run()
