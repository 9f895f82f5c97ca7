"""What the configuration says, looked up and checked beyond what its schema can.

Standard library only: Snakemake calls this while it parses the workflow.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from copytrace import counts, folders
from copytrace.errors import InputError
from copytrace.networks import names
from copytrace.suggestions import hint
from copytrace.synthesis import plan

Config = dict[str, Any]

#: What every user of own pictures names.
ROLES = ("training", "references", "queries")
#: What one may name beside them.
OTHER_ROLES = ("backgrounds", "pretraining")
#: Ways to make a backbone's weights here: sections of `pretraining`, and sources of weights.
PRETRAINING_METHODS = ("barlow_twins", "momentum_teacher")
#: Keys of `descriptor_track` that its training has beside those of `training`.
MATRIX_KEYS = ("dimensions", "cross_entropy_weight", "distillation_weight", "temperature", "detach_teacher")


def uses_sample(config: Config) -> bool:
    """Whether the pictures are the built-in sample: no picture source is named."""
    return not any(config["images"][role] for role in ROLES)


def drawn_roles(config: Config) -> list[str]:
    """The roles whose pictures are drawn: the sample's, or training pictures where the user has none."""
    return [role for role in ROLES if not config["images"][role]]


def given_roles(config: Config) -> list[str]:
    """The roles whose pictures the user names, or the sample has."""
    given = {
        "backgrounds": config["images"]["backgrounds"],
        "pretraining": config["images"]["pretraining"] and pretrained(config),
        "pairs": pair_families(config),
    }
    return [*ROLES, *(role for role in given if given[role])]


def training_of(config: Config, family: str) -> dict[str, Any]:
    """The section `training` as it holds for a family: its steps times the table's `steps_factor`, and `augment`.

    That of the descriptor track has a second head, too, `matrix`. Without `devices` and `nodes`: how a training is
    spread is no matter of its result, so that it may change on the way and reruns nothing.
    """
    factor = config["family_table"][family].get("steps_factor", 1)
    augment = family not in pair_families(config) or config["second_submission"]["augment"]
    track = config["descriptor_track"]
    matrix = {"matrix": {key: track[key] for key in MATRIX_KEYS}} if family == track["family"] else {}
    section = {key: value for key, value in config["training"].items() if key not in ("devices", "nodes")}
    return section | {"steps": round(section["steps"] * factor), "augment": augment} | matrix


def pair_families(config: Config) -> list[str]:
    """The families that are trained on known pairs instead of a synthesis."""
    return config["second_submission"]["families"]


def trained_families(config: Config) -> list[str]:
    """The families whose models are trained, on a synthesis or on pairs."""
    return [f for f in [*config["families"], *pair_families(config)] if training_of(config, f)["steps"]]


def pretrained(config: Config) -> list[str]:
    """The backbones whose weights are trained here without labels."""
    table = config["backbone_table"]
    return [name for name in used_backbones(config) if table[name]["weights"]["source"] in PRETRAINING_METHODS]


def pretraining_of(config: Config, backbone: str) -> dict[str, Any]:
    """The settings of a backbone's pretraining: its method's section, with the steps and batch of its own row."""
    weights = config["backbone_table"][backbone]["weights"]
    own = {key: weights[key] for key in ("steps", "batch") if key in weights}
    return config["pretraining"][weights["source"]] | own


def units_of(config: Config, family: str) -> dict[str, list[str]]:
    """The units of a family: {unit: its models}; a model is named FAMILY.BACKBONE."""
    models = [f"{family}.{backbone}" for backbone in config["backbones"]]
    if config["descriptors"]["unit"] == "family":
        return {family: models}
    return {model: [model] for model in models}


def untrained_families(config: Config) -> list[str]:
    """The families that are measured beside those of `families`."""
    return [family for family in config["evaluation"]["untrained_families"] if family not in config["families"]]


def all_units(config: Config) -> dict[str, list[str]]:
    """The units of the matching track, the untrained ones and those of pairs too: {unit: its models}."""
    families = config["families"] + untrained_families(config) + pair_families(config)
    return {unit: models for family in families for unit, models in units_of(config, family).items()}


def track_model(config: Config) -> str:
    """The model of the descriptor track, FAMILY.BACKBONE; it is a unit of its own."""
    track = config["descriptor_track"]
    return f"{track['family']}.{track['backbone'] or config['backbones'][0]}"


def initialisations(config: Config) -> dict[str, str]:
    """Per trained model the untrained one that it started from: same backbone, same grey flag."""
    pairs = {}
    families = config["families"] + untrained_families(config)
    for family in config["families"]:
        if not training_of(config, family)["steps"]:
            continue
        grey = config["family_table"][family]["grey"]
        untrained = [
            f for f in families if not training_of(config, f)["steps"] and config["family_table"][f]["grey"] == grey
        ]
        for backbone in config["backbones"] if untrained else []:
            pairs[f"{family}.{backbone}"] = f"{untrained[0]}.{backbone}"
    return pairs


def units_measured(config: Config) -> list[str]:
    """The units whose models take part in the measurement of the training's gain."""
    models = {model for pair in initialisations(config).items() for model in pair}
    return sorted(unit for unit, members in all_units(config).items() if models & set(members))


def preprocessing_of(config: Config, model: str, role: str) -> dict[str, Any]:
    """Grey and blur flags of a model for pictures of a role (D²LV sheet, 5.4 and E9)."""
    family = config["family_table"][model.split(".", 1)[0]]
    return {
        "grey": family["grey"],
        "blur": family["query_blur" if role in ("queries", "validation") else "blur"],
        "blur_reference_side": config["descriptors"]["blur_reference_side"],
    }


def check(config: Config) -> None:
    """Raise InputError with one sentence for the first value that can't work with the others.

    `config` has passed `validation.check_schema`. What depends on folders, lists and ground truth is left to the
    job `check_inputs`.
    """
    _check_names(config)
    _check_pair_families(config)
    _check_descriptor_track(config)
    _check_votes(config)
    _check_parts(config)
    _check_backbones(config)
    _check_detection(config)
    _check_training(config)
    _check_chains(config)
    _check_dimensions(config)
    _check_verification(config)
    _check_pictures(config)
    _check_results(config)
    _check_shards(config)
    if uses_sample(config):
        counts.check(demand(config), sample_pictures(config))


def sample_pictures(config: Config) -> dict[str, int]:
    """How many pictures of each role the sample has; a pair is a copy and its reference, which several may share."""
    sample = config["sample"]
    in_pairs = sample["pairs"] + min(sample["pairs"], sample["references"])
    return {role: sample[role] for role in ROLES} | ({"pairs": in_pairs} if pair_families(config) else {})


def detects(config: Config) -> bool:
    """Whether an overlay detector is made: a kind of parts asks for it."""
    return "detected_overlay" in config["parts"]["kinds"]


def verifies(config: Config) -> bool:
    """Whether matches are verified: some source of candidates is named."""
    return bool(config["verification"]["candidates"])


def fits_fusion(config: Config) -> bool:
    """Whether the run fits trees to its own training pictures."""
    return verifies(config) and config["verification"]["fusion"] == "fitted"


def trial_pictures(config: Config) -> dict[str, int]:
    """How many training pictures play each part in that."""
    return {part: config["verification"]["fitting"][part] for part in ("originals", "negatives", "pool")}


def used_backbones(config: Config) -> list[str]:
    """The rows of backbone_table that are used: those of the models, and the detector's."""
    return list(dict.fromkeys([*config["backbones"], *([config["detection"]["backbone"]] if detects(config) else [])]))


def demand(config: Config) -> dict[str, Any]:
    """What the configuration asks of the numbers of pictures, for `counts.check`.

    Where nothing is trained the numbers that training needs are ones that every set of pictures meets; likewise
    where faces, not known yet, may make more classes. Pairs count only where the pictures have the role `pairs`.
    """
    trained = [family for family in config["families"] if training_of(config, family)["steps"]]
    counted = [family for family in trained if not config["family_table"][family]["faces"]]
    return {
        "shards": config["images"]["shards"],
        "dimensions": config["whitening"]["dimensions"],
        "samples": config["whitening"]["samples"],
        "background": config["matching"]["background"],
        "neighbours": config["matching"]["neighbours"],
        "exclude_trained": config["matching"]["exclude_trained"] and bool(trained),
        "class_stride": config["synthesis"]["class_stride"],
        "classes_per_batch": config["training"]["classes_per_batch"] if counted else 1,
        "pairs_per_batch": config["training"]["classes_per_batch"],
        "synthesis_shards": config["synthesis"]["shards"] if counted else 1,
        "rows_per_query": config["ensembling"]["rows_per_query"],
        "trial_pictures": trial_pictures(config) if fits_fusion(config) else {},
        "background_pictures": config["verification"]["background_pictures"] if fits_fusion(config) else 0,
        "held_out": config["detection"]["held_out"] if detects(config) else None,
        "pretraining_batches": dict(_pretraining_batch(config, backbone) for backbone in pretrained(config)),
    }


def _pretraining_batch(config: Config, backbone: str) -> tuple[str, int]:
    """The batch of a backbone's pretraining, behind the key that says it."""
    weights = config["backbone_table"][backbone]["weights"]
    own = "batch" in weights
    key = f"backbone_table.{backbone}.weights.batch" if own else f"pretraining.{weights['source']}.batch"
    return key, pretraining_of(config, backbone)["batch"]


def feature_dimensions(config: Config) -> int:
    """How wide a backbone's feature has to be for the whitening; 0 where only embeddings are whitened."""
    described = [*config["families"], *config["evaluation"]["untrained_families"]]
    if config["descriptors"]["kind"] == "feature" or not all(training_of(config, f)["steps"] for f in described):
        return config["whitening"]["dimensions"]
    return 0


def waves(config: Config) -> bool:
    """Whether any training adds a WaveBlock to the backbones."""
    return config["training"]["waveblock"] and bool(trained_families(config))


def _check_names(config: Config) -> None:
    """Lists of names point into tables, and at what is made."""
    for key, table in (("families", "family_table"), ("backbones", "backbone_table")):
        for name in config[key]:
            if name not in config[table]:
                raise InputError(f"{key} names {name}, which is not in {table}; {hint(name, config[table])}")
    backbone = config["detection"]["backbone"]
    if backbone not in config["backbone_table"]:
        known = hint(backbone, config["backbone_table"])
        raise InputError(f"detection.backbone is {backbone}, which is not in backbone_table; {known}")
    for name in config["evaluation"]["untrained_families"]:
        if name not in config["family_table"]:
            raise InputError(
                f"evaluation.untrained_families names {name}, which is not in family_table; "
                f"{hint(name, config['family_table'])}"
            )
        if training_of(config, name)["steps"]:
            raise InputError(f"evaluation.untrained_families names {name}, whose steps_factor is not 0: it is trained")
    for name in pair_families(config):
        if name not in config["family_table"]:
            raise InputError(
                f"second_submission.families names {name}, which is not in family_table; "
                f"{hint(name, config['family_table'])}"
            )
    for name in config["tiles"]["families"]:
        if name not in config["families"]:
            raise InputError(
                f"tiles.families names {name}, which is not among families: its models are not made; "
                f"{hint(name, config['families'])}"
            )
    for scale in config["tiles"]["scales"]:
        if scale not in config["scales"]:
            raise InputError(f"tiles.scales names {scale}, which is not among scales: queries are not described at it")
    if config["tiles"]["families"] and not config["tiles"]["scales"]:
        raise InputError("tiles.scales is empty: name a scale, or leave tiles out by an empty tiles.families")


def _check_pair_families(config: Config) -> None:
    """Families of pairs are trained, on pairs alone, and described at some scale."""
    for name in pair_families(config):
        where, row = f"second_submission.families names {name}", config["family_table"][name]
        if name in config["families"]:
            raise InputError(f"{where}, and so does families: a family is trained on pairs or on a synthesis")
        if not training_of(config, name)["steps"]:
            raise InputError(f"{where}, but training.steps times its steps_factor is 0: nothing is learned from pairs")
        for key, neutral in (("faces", "false"), ("chain", "{}"), ("minimum_side", "0")):
            if row[key]:
                raise InputError(
                    f"{where}, whose {key} is not {neutral}: pairs are neither chosen, edited nor filtered"
                )
    if pair_families(config) and not config["second_submission"]["scales"]:
        raise InputError("second_submission.scales is empty: name a scale, or leave it out by an empty families")


def _check_descriptor_track(config: Config) -> None:
    """The descriptor track has a family of its own, and a detector where it replaces queries."""
    track = config["descriptor_track"]
    family, backbone = track["family"], track["backbone"]
    where = f"descriptor_track.family is {family}"
    if family not in config["family_table"]:
        raise InputError(f"{where}, which is not in family_table; {hint(family, config['family_table'])}")
    others = {
        "families": config["families"],
        "evaluation.untrained_families": config["evaluation"]["untrained_families"],
        "second_submission.families": pair_families(config),
    }
    for key, named in others.items():
        if family in named:
            raise InputError(f"{where}, which {key} names, too: the descriptor track's model is another one")
    if backbone is not None and backbone not in config["backbones"]:
        known = hint(backbone, config["backbones"])
        raise InputError(f"descriptor_track.backbone is {backbone}, which is not among backbones; {known}")
    if not track["cross_entropy_weight"] and not track["distillation_weight"]:
        raise InputError(
            "descriptor_track.cross_entropy_weight and descriptor_track.distillation_weight are both 0: the second "
            "head would learn nothing"
        )
    confidence = track["replacement"]["confidence"]
    if confidence is not None and not detects(config):
        raise InputError(
            f"descriptor_track.replacement.confidence is {confidence}, but parts.kinds does not name detected_overlay: "
            "there is no detector"
        )


def _check_shards(config: Config) -> None:
    shards = config["images"]["shards"]
    for role in ("queries", "references"):
        files, searches = shards[role], config["matching"]["shards"]
        if searches > files:
            raise InputError(f"matching.shards asks for {searches} jobs, but images.shards.{role} is only {files}")
    copies, jobs = config["evaluation"]["validation_copies"], shards["validation"]
    if jobs > copies:
        raise InputError(
            f"images.shards.validation asks for {jobs} jobs, but evaluation.validation_copies is only {copies}"
        )


def _check_votes(config: Config) -> None:
    votes = {f"ensembling.{key}": config["ensembling"][key] for key in ("vote", "tile_vote")}
    if pair_families(config):
        votes["second_submission.vote"] = config["second_submission"]["vote"]
    for key, wanted in votes.items():
        there = len(config["backbones"])
        if wanted > there:
            raise InputError(f"{key} asks for {wanted} agreeing backbones, but backbones names {there}")


def _check_parts(config: Config) -> None:
    for key in ("parts", "tiles"):
        if config[key]["kinds"][0] != "whole":
            raise InputError(f"{key}.kinds must begin with whole: part 0 of every picture is the picture itself")
    for kind in config["parts"]["kinds"]:
        if kind not in config["ensembling"]["penalties"]:
            raise InputError(
                f"ensembling.penalties has no penalty for parts of the kind {kind}, which parts.kinds names"
            )
    search = config["parts"]["selective_search"]
    low, high = search["aspect"]
    if low > high:
        raise InputError(f"parts.selective_search.aspect is [{low}, {high}], but should be [narrowest, widest]")
    smallest, largest = search["min_region_fraction"], search["max_region_fraction"]
    if largest is not None and smallest > largest:
        raise InputError(
            f"parts.selective_search.min_region_fraction is {smallest}, more than its max_region_fraction {largest}"
        )


def _check_backbones(config: Config) -> None:
    for name in used_backbones(config):
        slot, where = config["backbone_table"][name], f"backbone_table.{name}"
        try:
            names.check_name(slot["network"])
        except InputError as mistake:
            raise InputError(f"{where}.network: {mistake}") from None
        source = slot["weights"]["source"]
        if source == "timm" and not slot["network"].startswith(names.TIMM_PREFIX):
            raise InputError(
                f"{where}.weights has source timm, but its network {slot['network']} is not one of timm "
                f"({names.TIMM_PREFIX}NAME)"
            )
        for key in {"file": ("path", "mapping"), "url": ("url", "mapping")}.get(source, ()):
            if not slot["weights"].get(key):
                raise InputError(f"{where}.weights has source {source}, but no {key}")
        if source != "file":
            continue
        path = _expanded(slot["weights"]["path"], f"{where}.weights.path")
        if not folders.is_file(path):
            raise InputError(f"{where}.weights.path names {path}, which is not there or not a file")


def _check_detection(config: Config) -> None:
    """The overlay detector: its backbone, its sizes, and scenes that can be drawn."""
    detection, scenes = config["detection"], config["detection"]["scenes"]
    network = config["backbone_table"][detection["backbone"]]["network"]
    if detects(config) and network.startswith(names.TIMM_PREFIX):
        raise InputError(
            f"detection.backbone is {detection['backbone']}, whose network {network} is timm's: choose one with a "
            f"network of {', '.join(names.FEATURE_WIDTHS)}"
        )
    for key, factor in (("side", 64), ("channels", 32)):
        if detection[key] % factor:
            raise InputError(f"detection.{key} is {detection[key]}, but must be a multiple of {factor}")
    pairs = {key: scenes[key] for key in ("aspect", "crop", "quality")}
    pairs |= {f"{kind}.{key}": value for kind in ("pictures", "emoji") for key, value in scenes[kind].items()}
    for key, value in pairs.items():
        if isinstance(value, list) and value[0] > value[1]:
            raise InputError(f"detection.scenes.{key} is {value}, but should be [lowest, highest]")
    for name, settings in scenes["edits"].items():
        where = f"step {name} of detection.scenes.edits"
        step = plan.plan_step(name, settings, where)
        if step.operation not in plan.STILL:
            raise InputError(
                f"{where}: {step.operation} moves what is in the picture or adds to it, so boxes would no longer fit; "
                f"possible are {', '.join(plan.STILL)}"
            )


def _check_training(config: Config) -> None:
    _check_devices(config["training"])
    for family in [*config["families"], *pair_families(config), config["descriptor_track"]["family"]]:
        settings = training_of(config, family)
        steps, epochs = settings["steps"], settings["epochs"]
        factor = config["family_table"][family].get("steps_factor", 1)
        if not config["training"]["steps"] or not factor:
            continue
        of_family = f" for {family} (family_table.{family}.steps_factor: {factor})" if factor != 1 else ""
        if steps < epochs:
            raise InputError(
                f"training.steps is {steps}{of_family}, fewer than training.epochs ({epochs}): "
                "the learning rate would not come down"
            )
        warmup = settings["warmup_epochs"]
        if warmup >= epochs:
            raise InputError(f"training.warmup_epochs is {warmup}, but must be less than training.epochs ({epochs})")
        if settings["flat_epochs"] < warmup:
            raise InputError(
                f"training.flat_epochs is {settings['flat_epochs']}, but the cosine can't begin before the end of "
                f"training.warmup_epochs ({warmup})"
            )
        if not settings["cross_entropy_weight"] and not settings["triplet_weight"]:
            raise InputError("training.cross_entropy_weight and training.triplet_weight are both 0: nothing is learned")
    for backbone in config["backbones"] if waves(config) else []:
        network = config["backbone_table"][backbone]["network"]
        if network in names.WITHOUT_STAGES:
            raise InputError(
                f"training.waveblock is true, but backbone {backbone} ({network}) has no stages layer2 and layer3"
            )


def _check_devices(training: dict[str, Any]) -> None:
    """The devices of a training share the classes of a batch evenly, and one factor scales the losses of all."""
    devices, classes = training["devices"] * training["nodes"], training["classes_per_batch"]
    if classes % devices:
        raise InputError(
            f"training.classes_per_batch is {classes}, which {devices} devices (training.devices × training.nodes) "
            "can't share evenly"
        )
    if devices > 1 and training["precision"] == "fp16":
        raise InputError(
            "training.precision is fp16, whose scale of the loss is one device's own: take bf16 or fp32, or set "
            "training.devices and training.nodes to 1"
        )


def _check_chains(config: Config) -> None:
    """The edits of the families that are trained, and of the two views where backbones are pretrained."""
    synthesis = config["synthesis"]
    for name, settings in synthesis["chain"]["steps"].items():
        plan.plan_step(name, settings, f"synthesis.chain.steps.{name}")
    for family in [*config["families"], config["descriptor_track"]["family"]]:
        if training_of(config, family)["steps"]:
            row = config["family_table"][family]
            steps = plan.plan_chain(
                synthesis["chain"], family, row["chain"], row["grey"], synthesis["faithful"]["partial_grey"]
            )
            plan.check_sizes(steps, f"the chain of family {family}")
    for method in PRETRAINING_METHODS:
        for number, view in enumerate(config["pretraining"][method]["views"], 1):
            where = f"view {number} of pretraining.{method}.views"
            steps = [plan.plan_step(name, settings, f"{where}, {name}") for name, settings in view.items()]
            plan.check_sizes(steps, where)
            foreign = [step.name for step in steps if plan.FORMS[step.operation].foreign]
            if foreign:
                raise InputError(f"{where} has the step {foreign[0]}, but there are no foreign pictures in pretraining")


def _check_dimensions(config: Config) -> None:
    """Whitening can't make more dimensions than it gets; a network of timm is asked once it is loaded."""
    dimensions = config["whitening"]["dimensions"]
    if dimensions >= config["whitening"]["samples"]:
        raise InputError(
            f"whitening.dimensions is {dimensions} and needs more pictures than that, but whitening.samples is "
            f"{config['whitening']['samples']}"
        )
    width = config["training"]["embedding"]
    if trained_families(config) and config["descriptors"]["kind"] == "embedding" and dimensions > width:
        raise InputError(f"whitening.dimensions is {dimensions}, but training.embedding is only {width}")
    for backbone in config["backbones"]:
        network = config["backbone_table"][backbone]["network"]
        if network in names.FEATURE_WIDTHS:
            names.check_width(backbone, network, names.FEATURE_WIDTHS[network], feature_dimensions(config))


def _check_verification(config: Config) -> None:
    """No more keypoints are indexed or searched for than pictures have; lists and trees are there, or can be made."""
    section = config["verification"]
    for key in ("index", "search"):
        wanted, most = section[key]["keypoints"], section["features"]["keypoints"]
        if wanted > most:
            raise InputError(
                f"verification.{key}.keypoints is {wanted}, but verification.features.keypoints is only {most}"
            )
    if "list" in section["candidates"]:
        made = f"{config['results']}/descriptors.csv"
        if section["list"] is None:
            raise InputError(
                f"verification.candidates names list, but verification.list names no file: name one, or {made} for "
                "the descriptor track's"
            )
        path = _expanded(section["list"], "verification.list")
        if path != made and not folders.is_file(path):
            raise InputError(f"verification.list names {path}, which is no file; the descriptor track's is {made}")
    if section["fusion"] not in ("shipped", "fitted"):
        path = _expanded(section["fusion"], "verification.fusion")
        if not folders.is_file(path):
            raise InputError(f"verification.fusion names {path}, which is neither shipped, nor fitted, nor a file")
    fitting = section["fitting"]
    for part, of in (("copies", "originals"), ("look_alikes", "pool")):
        if fitting[part] > fitting[of]:
            raise InputError(
                f"verification.fitting.{part} is {fitting[part]}, but verification.fitting.{of} is only {fitting[of]}"
            )


def _check_pictures(config: Config) -> None:
    images = config["images"]
    if not uses_sample(config):
        missing = [role for role in drawn_roles(config) if role != "training"]
        if missing:
            raise InputError(f"images.{missing[0]} is not set: name references and queries, or no pictures at all")
        learning = [*trained_families(config), *pretrained(config)]
        if not images["training"] and learning:
            raise InputError(
                f"images.training is not set, but {learning[0]} learns from training pictures: name some, or take "
                "networks that are not trained, as profiles/photos.yaml does"
            )
    files = (*OTHER_ROLES, "ground_truth", "training_pairs")
    for key in files:
        if images[key] and uses_sample(config):
            raise InputError(f"images.{key} goes with pictures of your own, not with the sample")
    if pair_families(config) and not uses_sample(config) and not images["training_pairs"]:
        raise InputError(
            "images.training_pairs is not set, but second_submission.families wants pairs to train on: name a CSV of "
            "them, or set families: []"
        )
    for key in (*ROLES, *files):
        if images[key]:
            _expanded(images[key], f"images.{key}")
    if config["bill"]["rates"]:
        _expanded(config["bill"]["rates"], "bill.rates")


def _check_results(config: Config) -> None:
    if config["results"].startswith("-"):
        raise InputError(f"results is {config['results']}, which commands would take for a flag: write ./ before it")
    results = Path(os.path.realpath(config["results"]))
    for role in (*ROLES, *OTHER_ROLES):
        source = os.path.realpath(folders.expanded(config["images"][role])) if config["images"][role] else None
        if source and results.is_relative_to(source) and Path(source).is_dir():
            raise InputError(
                f"results ({results}) lies in the folder of images.{role}: its own pictures would be found"
            )
    there = next(place for place in (results, *results.parents) if os.path.lexists(place))
    if not there.is_dir():
        raise InputError(f"results is {config['results']}, but {there} is a file and not a folder")
    if not os.access(there, os.W_OK):
        raise InputError(f"results is {config['results']}, but nothing can be written in {there}")


def _expanded(path: str, key: str) -> str:
    """A path with ~ and its environment variables filled in; InputError for a variable that is not set."""
    if "\0" in path:
        raise InputError(f"{key} contains a null character")
    expanded = folders.expanded(path)
    unset = re.search(r"\$\{?(\w+)", expanded)
    if unset and not os.path.lexists(expanded):
        raise InputError(f"{key} is {path}, but the environment variable {unset[1]} is not set")
    return expanded
