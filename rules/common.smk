# Lookups and paths that several rule files share; no rules.

import argparse
import json
import shlex
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

SCRIPTS = Path(workflow.basedir) / "workflow_scripts"
ENVS = Path(workflow.basedir) / "envs"
sys.path.insert(0, str(SCRIPTS))

from copytrace import configuration, folders, provenance, resources, run_record, sharding, validation
from copytrace.errors import InputError

schema = Path(workflow.basedir) / "schemas" / "config.schema.yaml"
try:
    # libyaml's loader where PyYAML has it: every command waits for the schema to be read
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    validation.check_schema(config, yaml.load(schema.read_text(), Loader=loader))
    configuration.check(config)
except InputError as mistake:
    raise WorkflowError(f"config: {mistake}") from None


def steps_of(family):
    return configuration.training_of(config, family)["steps"]


RESULTS = config["results"]
IMAGES = config["images"]
SAMPLE = configuration.uses_sample(config)
DRAWN = configuration.drawn_roles(config)
FAMILIES = config["families"]
PAIR_FAMILIES = configuration.pair_families(config)
UNTRAINED = configuration.untrained_families(config)
BACKBONES = config["backbones"]
SCALES = config["scales"]
SEARCHES = config["matching"]["shards"]  # jobs that a search is split over
TILE_FAMILIES = config["tiles"]["families"]
TRAINED = [f for f in FAMILIES if steps_of(f)]
PRETRAINED = configuration.pretrained(config)
HAS_TRUTH = SAMPLE or IMAGES["ground_truth"] is not None
GALLERIES = ["right", "wrong", "missed"] if HAS_TRUTH else ["best"]
EVIDENCE = ["copies", "doubtful"]
DETECTS = configuration.detects(config)
VERIFICATION = config["verification"]
VERIFIES = configuration.verifies(config)
BACKGROUNDS = "backgrounds" if IMAGES["backgrounds"] else "training"
PRETRAINING = "pretraining" if IMAGES["pretraining"] else "training"

# A unit is what one descriptor job works through: the models of a family, or one model. TRACK is that of the
# descriptor track, and SYNTHESISED are the families whose training pictures are known as classes of a synthesis.
TRACK = configuration.track_model(config)
UNITS = configuration.all_units(config) | {TRACK: [TRACK]}
SYNTHESISED = TRAINED + [f for f in [config["descriptor_track"]["family"]] if steps_of(f)]

# What one training is spread over.
DEVICES, NODES = config["training"]["devices"], config["training"]["nodes"]


def launcher():
    """What starts a training: Python, or for several devices torch's launcher, which starts a process for each.

    On several nodes SLURM starts a launcher on each; they meet on the first, where the job's script runs.
    """
    if DEVICES * NODES == 1:
        return "python"
    if NODES == 1:
        return f"python -m torch.distributed.run --standalone --nproc-per-node={DEVICES}"
    return (
        f"srun --nodes={NODES} --ntasks={NODES} --cpus-per-task={DEVICES} --kill-on-bad-exit=1"
        f" python -m torch.distributed.run --nnodes={NODES} --nproc-per-node={DEVICES} --rdzv-backend=c10d"
        ' --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$(hostname):$((20000 + SLURM_JOB_ID % 10000))"'
    )


# Rules say `python "$SCRIPTS/x.py"`, `launch "$SCRIPTS/x.py"` and `"$EXECUTION"`: the same text wherever the clone lies
# and however the work is carried out, so that neither reruns anything.
prefix = f"SCRIPTS={shlex.quote(str(SCRIPTS))}; EXECUTION={shlex.quote(json.dumps(config['execution']))}; "
prefix += f'launch() {{ {launcher()} "$@"; }}; '
shell.prefix(prefix.replace("{", "{{").replace("}", "}}"))


wildcard_constraints:
    role="[a-z]+",
    unit="[A-Za-z0-9_.]+",
    family="[A-Za-z0-9_]+",
    backbone="[A-Za-z0-9_]+",
    shard=r"\d+",
    shards=r"\d+",


def memory(first):
    """Memory of a job in MB, for `resources`: more at every new attempt."""
    return lambda wildcards, attempt: resources.grown(first, attempt, config["cluster"]["memory_limit"])


def minutes(first):
    """Time of a job in minutes, for `resources`: more at every new attempt."""
    return lambda wildcards, attempt: resources.grown(first, attempt, config["cluster"]["time_limit"])


def several_nodes():
    """What a training on several nodes asks SLURM for beside the rest: a task on each, which `launch` starts itself."""
    if NODES == 1:
        return {}
    return {
        "nodes": NODES,
        "tasks": NODES,
        "tasks_per_gpu": 0,  # none stated: the plugin would take `tasks` for it
        "mpi": "srun",
        "slurm_extra": f"--gpus-per-node={DEVICES}",
    }


def code_of(script, env):
    """Digest of a script, the library modules it imports and its environment file, for `params`."""
    return provenance.value_digest(provenance.code_digest(SCRIPTS / script), (ENVS / f"{env}.yaml").read_text())


def section(*keys):
    """One section of the configuration as JSON, for a script's flag of the same name."""
    value = config
    for key in keys:
        value = value[key]
    return json.dumps(value)


def chosen(settings, *keys):
    """Some keys of a section as JSON: a change of the others reruns nothing."""
    return json.dumps({key: settings[key] for key in keys})


def manifest(role):
    return f"{RESULTS}/images/{role}.parquet"


def shard_files(template, shards):
    """`template` with {shard} and {shards} filled in, one path per shard."""
    return [template.format(shard=shard, shards=shards) for shard in range(shards)]


def needs_faces(family):
    """The faces of the training pictures, for a family whose classes include them."""
    return f"{RESULTS}/parts/faces.training.parquet" if config["family_table"][family]["faces"] else []


def weights_of(model):
    """The file of a model FAMILY.BACKBONE: trained, or the backbone itself where nothing is trained."""
    family, backbone = model.split(".", 1)
    if steps_of(family):
        return f"{RESULTS}/models/{model}.safetensors"
    return f"{RESULTS}/pretraining/{backbone}.safetensors"


def descriptors_of(unit, role):
    """The descriptor files of a unit and a role, all shards; of training pictures perhaps only the sample."""
    if role == "training" and config["matching"]["background"] == "sample" and unit != TRACK:
        return [f"{RESULTS}/descriptors/{unit}/sample.h5"]
    shards = IMAGES["shards"]["references" if role == "tiles" else role]
    return shard_files(f"{RESULTS}/descriptors/{unit}/{role}/{{shard}}-of-{{shards}}.h5", shards)


def search_shard(wildcards, role):
    """The descriptor files that one job of a search goes through."""
    return sharding.shard_of(descriptors_of(wildcards.unit, role), int(wildcards.shard), int(wildcards.shards))


def normalisation_of(unit):
    """What is subtracted from the similarities of a unit's query parts."""
    return shard_files(f"{RESULTS}/matching/normalisation/{unit}/{{shard}}-of-{{shards}}.h5", SEARCHES)


def units_of_family(family):
    return list(configuration.units_of(config, family))


def pairs_of(families):
    """The unvoted pairs of some families, a file per unit."""
    return [f"{RESULTS}/matching/{unit}.parquet" for f in families for unit in units_of_family(f)]


def picture_source(role):
    """Where a role's pictures come from: a folder, list or CSV of the user, or what the workflow draws."""
    if role == "validation":
        return f"{RESULTS}/images/drawn/validation"
    if role == "pairs":
        return pairs_source()
    return f"{RESULTS}/images/drawn/{role}" if role in DRAWN else folders.expanded(IMAGES[role])


def pairs_source():
    """The CSV of known pairs: the sample's, or the user's."""
    return f"{RESULTS}/images/drawn/pairs.csv" if SAMPLE else folders.expanded(IMAGES["training_pairs"])


def ground_truth_source():
    """The sample's ground truth, or the user's; "" where there is none."""
    return f"{RESULTS}/images/drawn/ground_truth.csv" if SAMPLE else folders.expanded(IMAGES["ground_truth"] or "")


def ground_truth_input():
    """The same as a file to depend on; one that is missing is named by the job itself."""
    source = ground_truth_source()
    return source if SAMPLE or folders.is_file(source) else []


def picture_source_input(role):
    """What `list_images` depends on as files: a list file, a CSV of pairs, or what the workflow draws.

    A user's folder is watched by its digest instead; a source that is missing is named by the job itself.
    """
    source = picture_source(role)
    drawn = SAMPLE or role in ("validation", *DRAWN)
    return source if drawn or folders.is_file(source) else []


def folder_state(role):
    """Digest of a user's folder, so that a new picture is noticed. (Params that look at `input` are not compared.)"""
    return "" if picture_source_input(role) else folders.folder_digest(picture_source(role))


def billed_sources():
    """The pictures of each role for the bill: how many are drawn, or where they are."""
    drawn = configuration.sample_pictures(config)
    return json.dumps(
        {role: drawn[role] if role in DRAWN or SAMPLE else picture_source(role) for role in given_roles()}
    )


def given_roles():
    """The roles whose pictures the user names, or the sample has."""
    return configuration.given_roles(config)


def roles():
    return given_roles() + (["validation"] if configuration.initialisations(config) else [])


def role_of(described):
    """The role whose pictures are described: tiles are parts of the references."""
    return "references" if described == "tiles" else described


def parts_input(unit, described):
    """The parts table of what is described; training and validation pictures are described whole."""
    if unit == TRACK:
        return replaced_queries() if described == "queries" else []
    return f"{RESULTS}/parts/{described}.parquet" if described in ("queries", "tiles") else []


def replaced_queries():
    """What the descriptor track describes of each query, where that is not always the whole."""
    replaces = config["descriptor_track"]["replacement"]["confidence"] is not None
    return f"{RESULTS}/descriptor_track/queries.parquet" if replaces else []


def scales_of(unit, described):
    if unit == TRACK:
        return config["descriptor_track"]["scales"]
    if family_of(unit) in PAIR_FAMILIES:
        return config["second_submission"]["scales"]
    return config["tiles"]["scales"] if described == "tiles" else SCALES


def vote_of(family):
    """How many backbones of a family must agree on a pair of query part and reference."""
    return config["second_submission" if family in PAIR_FAMILIES else "ensembling"]["vote"]


def models_json(unit, described):
    """Name, weights and preprocessing of a unit's models for pictures of one role."""
    return json.dumps(
        [
            {
                "name": model,
                "weights": weights_of(model),
                **configuration.preprocessing_of(config, model, described),
            }
            for model in UNITS[unit]
        ]
    )


def second_submission():
    """The second list of matches, where known pairs are trained on."""
    return [f"{RESULTS}/matching_second.csv"] if PAIR_FAMILIES else []


def verified_matches():
    """The verified matches, where any are."""
    return [f"{RESULTS}/matches.csv"] if VERIFIES else []


def pictures_of(role):
    """The manifest of a role whose local features are extracted; originals and pool are training pictures."""
    return f"{RESULTS}/verification/trials/{role}.parquet" if role in ("originals", "pool") else manifest(role)


def verification_shards(role):
    """Jobs that describe the pictures of a role by local features; of the training pictures only some are described."""
    if role == "training":
        return 1
    return VERIFICATION["fitting"]["shards"] if role in ("originals", "pool", "trials") else IMAGES["shards"][role]


def features_of(role):
    """The files of local features of a role."""
    template = f"{RESULTS}/verification/features/{role}/{{shard}}-of-{{shards}}.h5"
    return shard_files(template, verification_shards(role))


def measured_pairs(role="queries"):
    """The tables of measured pairs of all queries, or of all trial queries."""
    return shard_files(
        f"{RESULTS}/verification/pairs/{role}/{{shard}}-of-{{shards}}.parquet", verification_shards(role)
    )


def collection_of(role):
    """What queries are held against: the references; trial queries against the training pictures that play them."""
    return "originals" if role == "trials" else "references"


def local_candidates(role):
    """The index in which local features look for candidates, where they do; for trial queries always."""
    looks = role == "trials" or "local" in VERIFICATION["candidates"]
    return f"{RESULTS}/verification/{collection_of(role)}.faiss" if looks else []


def ranked_candidates(role):
    """The ranked list that candidates are taken from, where they are; it has no trial queries."""
    taken = role == "queries" and "matching" in VERIFICATION["candidates"]
    return f"{RESULTS}/matching.csv" if taken else []


def listed_candidates(role):
    """A list of the user, or the descriptor track's, that candidates are taken from."""
    taken = role == "queries" and "list" in VERIFICATION["candidates"]
    return folders.expanded(VERIFICATION["list"]) if taken else []


def fusion_file():
    """The run's own trees, or a user's. Those of copytrace are no input but a digest: a clone may lie anywhere."""
    if VERIFICATION["fusion"] == "shipped":
        return []
    if VERIFICATION["fusion"] == "fitted":
        return f"{RESULTS}/verification/trials/trees.json"
    return folders.expanded(VERIFICATION["fusion"])


def fusion_digest():
    """Digest of the trees that come with copytrace, where they are used."""
    shipped = SCRIPTS / "copytrace" / "verification" / "default_fusion.json"
    return provenance.file_digest(shipped) if VERIFICATION["fusion"] == "shipped" else None


def evaluation_results():
    """What `rule all` asks for beside the matches."""
    results = [f"{RESULTS}/evaluation/matching.json"] if HAS_TRUTH else []
    results += [f"{RESULTS}/evaluation/matches.json"] if HAS_TRUTH and VERIFIES else []
    results += [f"{RESULTS}/evaluation/detection.json"] if DETECTS else []
    return results + ([f"{RESULTS}/evaluation/training_gain.json"] if configuration.initialisations(config) else [])


def track_evaluation():
    """What `rule descriptor_track` asks for beside the descriptors."""
    return [f"{RESULTS}/evaluation/descriptors.json"] if HAS_TRUTH else []


def track_figures():
    """The figures that the report shows of the descriptor track beside the evaluation's."""
    figures = [f"{RESULTS}/report/descriptor_track/{kind}.png" for kind in GALLERIES]
    if steps_of(family_of(TRACK)):
        figures += [f"{RESULTS}/report/descriptor_track/training_curve.png"]
        figures += [f"{RESULTS}/report/synthesis/{family_of(TRACK)}.jpg"]
    return figures


def one_of(names):
    """A wildcard constraint that admits these names and no other."""
    return "|".join(names) or "none-of-this-kind"


def backbones_from(*sources):
    return [b for b, slot in config["backbone_table"].items() if slot["weights"]["source"] in sources]


def pretrained_by(method):
    return [b for b in PRETRAINED if config["backbone_table"][b]["weights"]["source"] == method]


def weights_file(backbone):
    """The file that a backbone's weights come from, as an input: a new one is noticed."""
    weights = config["backbone_table"][backbone]["weights"]
    return folders.expanded(weights["path"]) if weights["source"] == "file" else []


def training_set(family, ending):
    """The files of what a family is trained on: its synthesised copies, or the known pairs."""
    if family in PAIR_FAMILIES:
        return [f"{RESULTS}/pairs/{family}.{ending}"]
    return shard_files(
        f"{RESULTS}/synthesis/{family}/{{shard}}-of-{{shards}}.{ending}",
        config["synthesis"]["shards"],
    )


def kind_of(unit):
    """Which vector of its models a unit's descriptors are; an untrained model has neither embedding nor second head."""
    kind = config["descriptors"]["kind"] if steps_of(family_of(unit)) else "feature"
    return "matrix" if unit == TRACK and kind == "embedding" else kind


def whitening_of(unit):
    """The whitening of a unit, but for the second head's descriptors, which are short as they are."""
    return [] if kind_of(unit) == "matrix" else f"{RESULTS}/descriptors/{unit}/whitening.h5"


def whitening_settings(unit):
    """The section `whitening`; the descriptor track's vectors have no more dimensions than they may."""
    section = config["whitening"]
    most = config["descriptor_track"]["dimensions"] if unit == TRACK else section["dimensions"]
    return json.dumps(section | {"dimensions": min(section["dimensions"], most)})


def describing(unit):
    """What of the section `descriptors` changes a unit's descriptors."""
    return json.dumps(
        {
            "kind": kind_of(unit),
            **{k: config["descriptors"][k] for k in ("gem", "precision", "batch")},
        }
    )


def family_of(unit):
    return UNITS[unit][0].split(".", 1)[0]


def trained_faces(families):
    """The faces of the training pictures, where trained classes to leave out of the background depend on them."""
    trained = [f for f in families if f in SYNTHESISED] if config["matching"]["exclude_trained"] else []
    return next(filter(None, map(needs_faces, trained)), [])


def detecting():
    """What of the section `detection` changes which boxes are found."""
    return chosen(config["detection"], "confidence", "nms_iou", "limit", "batch", "precision")


def exclude_trained(families):
    """The flag that leaves the classes of trained families out of the background (D²LV sheet, E20)."""
    if config["matching"]["exclude_trained"] and any(f in SYNTHESISED for f in families):
        return f"--class-stride {config['synthesis']['class_stride']}"
    return ""


def tile_pairs(families):
    return [f"{RESULTS}/matching/tiles/{unit}.parquet" for f in families for unit in units_of_family(f)]


def face_references():
    """Faces in references, where they strike out rows of the tiles."""
    return (
        f"{RESULTS}/parts/faces.references.parquet"
        if TILE_FAMILIES and config["ensembling"]["drop_face_references"]
        else []
    )


def minimum_sides(families):
    return json.dumps({f: config["family_table"][f]["minimum_side"] for f in families})


def flag(name, values):
    """A flag with its values for a command line, or nothing where there are none."""
    return f"{name} {values if isinstance(values, str) else ' '.join(values)}" if values else ""


def shards_measured():
    """How many descriptor files each role has there; none for a background that is the whitening's sample."""
    shards = {role: IMAGES["shards"][role] for role in ("validation", "references")}
    return json.dumps(
        shards | {"training": (IMAGES["shards"]["training"] if config["matching"]["background"] == "all" else 0)}
    )


def all_weights():
    """The weights of every model of `rule all`, of its detector and of the backbones they started from."""
    models = [weights_of(model) for models in configuration.all_units(config).values() for model in models]
    detector = [f"{RESULTS}/detection/detector.safetensors"] if DETECTS else []
    backbones = [f"{RESULTS}/pretraining/{backbone}.safetensors" for backbone in configuration.used_backbones(config)]
    return sorted({*models, *detector, *backbones})


def computed():
    """The configuration without `execution` and `cluster`: what decides the results."""
    return {key: value for key, value in config.items() if key not in ("execution", "cluster")}


def code_of_rules():
    """The digest of each rule's code, as its params carry it."""
    return {rule.name: rule.params.code for rule in workflow.rules if "code" in rule.params.keys()}


def record_run():
    """Write what the run begins with; its jobs on a cluster find the file by an environment variable."""
    code = code_of_rules()
    path = Path(RESULTS, "logs", "runs", f"{provenance.value_digest(computed(), code)}.json").absolute()
    run_record.write(path, computed(), code)
    os.environ.update(COPYTRACE_RUN=str(path))


def check_run():
    """Stop a job on a cluster that finds another configuration, or other code of its rule, than its run began with."""
    command = argparse.ArgumentParser()
    command.add_argument("--allowed-rules", nargs="+", default=[])  # with this Snakemake tells a job what it is
    mine = command.parse_known_args()[0].allowed_rules
    code = {rule: digest for rule, digest in code_of_rules().items() if rule in mine}
    record = os.environ.get("COPYTRACE_RUN")  # an executor that shares no file system passes it on no more than edits
    try:
        if record:
            run_record.check(Path(record), computed(), code)
    except InputError as mistake:
        raise WorkflowError(str(mistake)) from None


def configuration_as_json():
    """What the run computes, every key resolved."""
    return json.dumps(computed())


def configuration_as_yaml():
    """The same as YAML."""
    plain = json.loads(configuration_as_json())  # so that what two keys share is written out for both
    return yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def threads_of_rules():
    """Threads per rule as JSON, `--set-threads` included."""
    return json.dumps({rule.name: rule.resources["_cores"].value for rule in workflow.rules})


def report_figures():
    """The figures that the report shows beside the evaluation's."""
    figures = [f"{RESULTS}/report/matches/{kind}.png" for kind in GALLERIES + (EVIDENCE if VERIFIES else [])]
    figures += [f"{RESULTS}/report/training_curves.png"] if TRAINED else []
    methods = [method for method in configuration.PRETRAINING_METHODS if pretrained_by(method)]
    figures += [f"{RESULTS}/report/pretraining/{method}.png" for method in methods]
    figures += [f"{RESULTS}/report/detector_curve.png", f"{RESULTS}/report/detection.jpg"] if DETECTS else []
    figures += [f"{RESULTS}/report/synthesis/{family}.jpg" for family in TRAINED]
    return figures
