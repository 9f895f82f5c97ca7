"""What a run takes, worked out before it starts: jobs, work by kind, storage, memory, and with rates hours.

Work is counted from the configuration and the numbers of pictures. Each kind of it has a rate (`rates`), which is so
much of the kind per second on one thread, or on one GPU. Hours are work over rate; where a rate is not known the
hours are not, and nothing is guessed in its place.

Not counted beyond the start of their processes are the jobs that only list, join, draw or evaluate tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from copytrace import configuration
from copytrace.configuration import Config
from copytrace.descriptor_files import BLOCK_ROWS

FLOAT, DOUBLE = 4, 8  # bytes
STORED = {"float32": 4, "float16": 2}

#: Parts of each kind in a picture; those of selective search depend on the picture.
QUERY_PARTS = {"whole": 1, "rotation": 3, "mirror": 1, "centre": 1, "third": 4, "half": 4}
TILES = {"whole": 1, "grid2": 4, "centre": 1, "grid3": 9, "third": 4}

#: Local features: bytes of a keypoint in a file and by kind of index (ivf_pq: beside its code), and pages of overlays.
KEYPOINT, INDEXED, PAGES = 144, {"exact": 520, "ivf_sq8": 136, "ivf_pq": 8}, 96
GREY_PICTURE = 160 * 120

#: Lists of such an index that are found one by one; of more a graph looks at 64 nodes of 64 links (`descriptor_index`).
FLAT_LISTS, VISITED = 4096, 64 * 64

#: Matching: bytes of a row's name and part, of a pair while lists are merged, and on disk by its rows.
NAME, PAIR, PAIR_ROWS = 60, 150, 14


@dataclass(frozen=True)
class Cost:
    """What a backbone costs for one picture at one side.

    `multiply_adds`: of convolutions and matrix products in one forward pass. `parameters`: their number. `width`: of
    the feature. `peak`: bytes in float32 that the largest layer's input and output take. `saved`: bytes in float32
    that a forward pass keeps for the backward pass.
    """

    multiply_adds: int
    parameters: int
    width: int
    peak: int
    saved: int


@dataclass(frozen=True)
class Pictures:
    """How many pictures each role has, and what they are like.

    `megapixels`: mean size of a picture. `found_parts`: mean number of parts that selective search and the overlay
    detector find in a query. `pair_classes`: that known pairs make in a training. `copy_bytes`: mean size of a
    synthesised JPEG, bytes per megapixel. `row_bytes`: of a pair in its table. None: not known.
    """

    count: Mapping[str, int]
    megapixels: float
    found_parts: float
    pair_classes: int = 0
    copy_bytes: float | None = None
    row_bytes: float | None = None


@dataclass(frozen=True)
class Work:
    """One rule's jobs, or those of one role or backbone where a rule has several.

    `count` and `unit` say what the jobs do in words a person counts in. `tasks` and `loading` are amounts by kind of
    rate, all jobs together; `loading` is done by the `execution.workers`, where there are any. `stored`: bytes that
    the jobs leave behind, `memory`: bytes that the data of the largest job take beside its process; None: not known.
    """

    stage: str
    rule: str
    script: str
    jobs: int
    count: float
    unit: str
    what: str = ""
    tasks: Mapping[str, float] = field(default_factory=dict)
    loading: Mapping[str, float] = field(default_factory=dict)
    stored: float | None = 0.0
    memory: float | None = None


def plan(
    config: Config,
    pictures: Pictures,
    cost: Callable[[str, int], Cost],
    detector_cost: Callable[[str, int, int], Cost],
) -> list[Work]:
    """All work of `rule all` where nothing has been made yet, in the order in which the data flows.

    `cost(network, side)` is the cost of a backbone, `detector_cost(network, channels, side)` that of the detector on
    it. Numbers of classes do not include faces, which are not known yet.
    """
    planned = _Plan(config, pictures, cost, detector_cost)
    return [work for work in planned.everything() if work.jobs]


def plan_track(
    config: Config,
    pictures: Pictures,
    cost: Callable[[str, int], Cost],
    detector_cost: Callable[[str, int, int], Cost],
) -> list[Work]:
    """What `snakemake descriptor_track` adds to `rule all`, in the order in which the data flows; as `plan`."""
    planned = _Plan(config, pictures, cost, detector_cost)
    return [replace(work, stage="descriptor track") for work in planned.descriptor_track() if work.jobs]


class _Plan:
    def __init__(
        self,
        config: Config,
        pictures: Pictures,
        cost: Callable[[str, int], Cost],
        detector_cost: Callable[[str, int, int], Cost],
    ):
        self.config, self.pictures, self.cost, self.detector_cost = config, pictures, cost, detector_cost
        self.count = dict(pictures.count) | {"validation": config["evaluation"]["validation_copies"]}
        self.shards = config["images"]["shards"]
        self.families, self.backbones = config["families"], config["backbones"]
        self.pair_families = configuration.pair_families(config)
        self.detects = configuration.detects(config)
        self.trained = [family for family in self.families if self.training(family)["steps"]]
        self.tile_families = config["tiles"]["families"]
        self.track = configuration.track_model(config)
        self.units = configuration.all_units(config) | {self.track: [self.track]}
        self.measured = configuration.units_measured(config)
        self.sample = configuration.uses_sample(config)
        self.has_truth = self.sample or config["images"]["ground_truth"] is not None
        self.classes = -(-self.count["training"] // config["synthesis"]["class_stride"])
        tiles = sum(TILES[kind] for kind in config["tiles"]["kinds"])
        self.parts = {"queries": query_parts(config, pictures), "tiles": self.count["references"] * tiles}

    def everything(self) -> Iterator[Work]:
        yield from self.images()
        yield from self.synthesis()
        yield from self.pretrainings()
        yield from self.rendered_pairs()
        yield from self.trainings()
        yield from self.detection()
        yield from self.cutting()
        yield from self.descriptors()
        yield from self.matching()
        yield from self.ensembling()
        yield self.starting("second submission", "combine_second", "combine_second.py", bool(self.pair_families))
        if configuration.verifies(self.config):
            yield from self.verification()
        yield from self.evaluation()
        yield from self.report()

    # What several stages ask for

    def training(self, family: str) -> dict[str, Any]:
        return configuration.training_of(self.config, family)

    def network(self, backbone: str) -> str:
        return self.config["backbone_table"][backbone]["network"]

    def pixels(self, pictures: float) -> float:
        """Megapixels of so many pictures at full size."""
        return pictures * self.pictures.megapixels

    def starting(self, stage: str, rule: str, script: str, jobs: int, what: str = "") -> Work:
        """A rule whose jobs are billed as their starts."""
        return Work(stage, rule, script, int(jobs), int(jobs), "jobs", what)

    # The stages

    def images(self) -> Iterator[Work]:
        given = configuration.given_roles(self.config)
        validation = ["validation"] if configuration.initialisations(self.config) else []
        roles = given + validation
        drawn = configuration.drawn_roles(self.config)
        for role in ("training", "references"):
            if role in drawn:
                yield self.counted_pictures("draw_sample", "draw_sample.py", 1, role, {"draw": 1})
        if self.sample:
            yield self.counted_pictures("draw_sample_queries", "draw_sample.py", 1, "queries", {"draw": 1})
        copies = {"decode": 2.0}  # the picture, and a foreign one
        if validation:
            yield self.counted_pictures("edit_validation_copies", "edit_copies.py", 1, "validation", copies)
        if self.sample and self.pair_families:
            number = self.config["sample"]["pairs"]
            yield self.counted_pictures("edit_pairs", "edit_copies.py", 1, "pairs", copies, number)
        yield self.starting("images", "list_images", "list_images.py", len(roles))
        yield self.starting("images", "check_inputs", "check_inputs.py", 1)
        for role in roles:
            yield self.counted_pictures("scan_images", "scan_images.py", self.shards[role], role, {"decode": 1})
        yield self.starting("images", "merge_manifests", "merge_manifests.py", len(roles))
        yield self.starting("images", "collect_rejected", "collect_rejected.py", 1)

    def counted_pictures(
        self, rule: str, script: str, jobs: int, role: str, per_pixel: dict[str, float], number: int | None = None
    ) -> Work:
        number = self.count[role] if number is None else number
        tasks = {rate: factor * self.pixels(number) for rate, factor in per_pixel.items()}
        return Work("images", rule, script, jobs, number, "pictures", role, tasks)

    def synthesis(self) -> Iterator[Work]:
        yield self.synthesised(self.trained)

    def synthesised(self, families: list[str]) -> Work:
        section = self.config["synthesis"]
        copies = len(families) * self.classes * (1 + section["copies"])
        megapixels = copies * section["side"] ** 2 / 1e6
        size = self.pictures.copy_bytes
        return Work(
            "synthesis", "synthesise", "synthesise.py", section["shards"] * len(families), copies, "copies",
            tasks={"render": megapixels}, stored=None if size is None else size * megapixels,
        )  # fmt: skip

    def rendered_pairs(self) -> Iterator[Work]:
        number = len(self.pair_families) * self.count.get("pairs", 0)
        megapixels, size = number * self.config["synthesis"]["side"] ** 2 / 1e6, self.pictures.copy_bytes
        yield Work(
            "second submission", "render_pairs", "render_pairs.py", len(self.pair_families), number, "pictures",
            tasks={"unedited": self.pixels(number)}, stored=None if size is None else size * megapixels,
        )  # fmt: skip

    def pretrainings(self) -> Iterator[Work]:
        pretrained = configuration.pretrained(self.config)
        for backbone in configuration.used_backbones(self.config):
            network = self.network(backbone)
            if backbone not in pretrained:
                stored = FLOAT * self.cost(network, self.config["scales"][0]).parameters
                yield Work(
                    "pretraining", "prepare_backbone", "prepare_backbone.py", 1, 1, "jobs", backbone, stored=stored
                )
                continue
            method = self.config["backbone_table"][backbone]["weights"]["source"]
            section = configuration.pretraining_of(self.config, backbone)
            cost = self.cost(network, section["side"])
            views = 2 * section["batch"] * section["steps"]
            yield Work(
                "pretraining", "pretrain_backbone", "pretrain_backbone.py", 1, views, "views", backbone,
                tasks={f"{method}.{network}": views * pretraining_multiply_adds(method, cost, section)},
                loading={f"views.{method}": views * section["side"] ** 2 / 1e6},
                stored=FLOAT * cost.parameters,
                memory=_pretraining_memory(method, cost, section),
            )  # fmt: skip

    def trainings(self) -> Iterator[Work]:
        for families, classes, of in ((self.trained, self.classes, ""), (self.pair_families, None, " of pairs")):
            for backbone in self.backbones if families else []:
                yield self.models(families, backbone, f"{backbone}{of}", classes or self.pictures.pair_classes)

    def models(self, families: list[str], backbone: str, what: str, classes: int) -> Work:
        """The trainings of some families on one backbone."""
        section, side, network = self.training(families[0]), self.config["synthesis"]["side"], self.network(backbone)
        batch = section["classes_per_batch"] * section["copies_per_class"]
        number = batch * sum(self.training(family)["steps"] for family in families)
        cost = self.cost(network, side)
        head = layers(heads(cost, section))
        classifier = sum(heads(cost, section)[2:]) * classes
        return Work(
            "training", "train_model", "train_model.py", len(families), number, "pictures", what,
            tasks={f"train.{network}": number * training_multiply_adds(cost, section, classes)},
            loading={"batch": number * side**2 / 1e6},
            stored=len(families) * FLOAT * (cost.parameters + head),
            memory=_fitting(cost, cost.parameters + head + classifier, batch),
        )  # fmt: skip

    def detection(self) -> Iterator[Work]:
        if not self.detects:
            return
        section, network = self.config["detection"], self.network(self.config["detection"]["backbone"])
        canvas, batch = section["side"] ** 2 / 1e6, section["batch"]
        cost = self.detector_cost(network, section["channels"], section["side"])
        scenes = section["steps"] * batch
        yield Work(
            "detection", "train_detector", "train_detector.py", 1, scenes, "scenes",
            tasks={f"train_detector.{network}": scenes * 3 * cost.multiply_adds},
            loading={"scenes": scenes * canvas},
            stored=FLOAT * cost.parameters,
            memory=_fitting(cost, cost.parameters, batch),
        )  # fmt: skip
        queries, shards, held = self.count["queries"], self.shards["queries"], FLOAT * cost.parameters
        yield Work(
            "detection", "detect_overlays", "detect_overlays.py", shards, queries, "queries",
            tasks={f"detect.{network}": shards * _filled(_largest(queries, shards), batch) * cost.multiply_adds},
            loading={"decode": self.pixels(queries), "canvas": queries * canvas},
            memory=held + batch * cost.peak,
        )  # fmt: skip
        scenes = section["held_out_scenes"]
        yield Work(
            "detection", "evaluate_detector", "evaluate_detector.py", 1, scenes, "scenes",
            tasks={"scenes": scenes * canvas, f"detect.{network}": _filled(scenes, batch) * cost.multiply_adds},
            memory=held + batch * cost.peak + 3e6 * scenes * canvas,
        )  # fmt: skip

    def cutting(self) -> Iterator[Work]:
        queries = self.count["queries"]
        search = "selective_search" in self.config["parts"]["kinds"]
        yield Work(
            "parts", "cut_query_parts", "cut_query_parts.py", self.shards["queries"], queries, "queries",
            tasks={"proposals": self.pixels(queries)} if search else {},
        )  # fmt: skip
        yield self.starting("parts", "merge_query_parts", "merge_tables.py", 1)
        yield self.starting("parts", "cut_reference_tiles", "cut_reference_tiles.py", bool(self.tile_families))
        roles = ["training"] if any(self.config["family_table"][f]["faces"] for f in self.trained) else []
        if self.tile_families and self.config["ensembling"]["drop_face_references"]:
            roles.append("references")
        for role in roles:
            number = self.count[role]
            yield Work(
                "parts", "find_faces", "find_faces.py", self.shards[role], number, "pictures", role,
                tasks={"faces": self.pixels(number)},
            )  # fmt: skip
        yield self.starting("parts", "merge_faces", "merge_tables.py", len(roles))

    def matched(self) -> list[str]:
        """Units whose pairs somebody asks for."""
        untrained = configuration.untrained_families(self.config) if self.has_truth else []
        families = self.families + untrained + self.pair_families
        return [unit for family in families for unit in configuration.units_of(self.config, family)]

    def described(self) -> dict[str, list[str]]:
        """The units that describe each role."""
        both = [unit for unit in self.units if unit in self.matched() or unit in self.measured]
        return {
            "training": both if self.config["matching"]["background"] == "all" else [],
            "references": both,
            "queries": self.matched(),
            "tiles": [unit for f in self.tile_families for unit in configuration.units_of(self.config, f)],
            "validation": self.measured,
        }

    def scales(self, unit: str, role: str) -> list[int]:
        """The scales at which a unit describes a role."""
        if unit == self.track:
            return self.config["descriptor_track"]["scales"]
        if self.units[unit][0].split(".", 1)[0] in self.pair_families:
            return self.config["second_submission"]["scales"]
        return self.config["tiles"]["scales"] if role == "tiles" else self.config["scales"]

    def descriptors(self) -> Iterator[Work]:
        described = self.described()
        fitted = min(self.config["whitening"]["samples"], self.count["training"])
        yield self.describing("fit_whitening", "fit_whitening.py", described["references"], "training", 1, fitted)
        for role, units in described.items():
            rows = self.parts[role] if role in self.parts else self.count[role]
            shards = self.shards["references" if role == "tiles" else role]
            yield self.describing("describe", "describe.py", units, role, shards, rows)

    def describing(self, rule: str, script: str, units: list[str], role: str, shards: int, rows: int) -> Work:
        """Jobs that describe `rows` pictures or parts of a role with every model of `units`."""
        section = self.config["descriptors"]
        whole = rows if rule == "fit_whitening" else self.count["references" if role == "tiles" else role]
        tasks: dict[str, float] = {}
        loading: dict[str, float] = {}
        passes = stored = memory = 0.0
        largest = _largest(rows, shards)
        for unit in units:
            models = self.units[unit]
            family, scales = models[0].split(".", 1)[0], self.scales(unit, role)
            kept = self.dimensions(unit)
            look = configuration.preprocessing_of(self.config, models[0], role)
            _add(loading, "decode", self.pixels(whole))
            _add(loading, "blur" if look["blur"] else "", self.pixels(whole))
            _add(loading, "grey" if look["grey"] else "", self.pixels(whole))
            cut = "cut_parts" if role in self.parts and unit != self.track else "cut_whole"
            _add(loading, cut, rows * sum(scale**2 for scale in scales) / 1e6)
            held = active = longest = fitting = 0
            for model in models:
                network = self.network(model.split(".", 1)[1])
                for scale in scales:
                    cost = self.cost(network, scale)
                    width, head = self.descriptor(cost, family)
                    _add(tasks, f"forward.{network}", rows * (cost.multiply_adds + head))
                    _add(tasks, "project" if self.whitened(unit) else "", rows * width * kept)
                    block = FLOAT * largest * (width if rule == "fit_whitening" else kept)
                    held, longest = held + block, max(longest, block)
                    active = max(active, cost.peak * min(section["batch"], largest))
                    if rule == "fit_whitening":
                        _add(tasks, "fit", whitening_multiply_adds(rows, width))
                        stored += FLOAT * width * kept
                        fitting = max(fitting, DOUBLE * (rows + 3 * width) * width)
                    passes += rows
                    stored += STORED[section["storage"]] * kept * rows
            # vectors of all models and scales, one of them twice while its batches are joined; then the fit
            memory = max(memory, held + max(longest, active, fitting))
        return Work(
            "descriptors", rule, script, shards * len(units), passes, "forward passes", role,
            tasks, loading, stored, memory,
        )  # fmt: skip

    def descriptor(self, cost: Cost, family: str) -> tuple[int, int]:
        """Length of a raw descriptor, and multiply-adds of what follows the backbone."""
        section = self.training(family)
        if self.config["descriptors"]["kind"] == "feature" or not section["steps"]:
            return cost.width, 0
        return heads(cost, section)[-1], layers(heads(cost, section))

    def whitened(self, unit: str) -> bool:
        """Whether a unit's descriptors are whitened: all but those of a second head."""
        feature = self.config["descriptors"]["kind"] == "feature"
        return unit != self.track or feature or not self.training(unit.split(".", 1)[0])["steps"]

    def dimensions(self, unit: str) -> int:
        """Length of a unit's descriptors as they are kept."""
        track, whitened = self.config["descriptor_track"]["dimensions"], self.config["whitening"]["dimensions"]
        if unit != self.track:
            return whitened
        return min(track, whitened) if self.whitened(unit) else track

    def matching(self) -> Iterator[Work]:
        parts, units = self.matched(), self.described()["tiles"]
        training, queries = self.count["training"], self.count["queries"]
        everything = self.config["matching"]["background"] == "all"
        background = training if everything else min(self.config["whitening"]["samples"], training)
        # a unit's queries are normalised once, for both directions
        yield self.searching("normalise_queries", list(dict.fromkeys(parts + units)), self.parts["queries"], background)
        yield self.searching("match_parts", parts, self.parts["queries"], self.count["references"])
        yield self.searching("match_tiles", units, queries, self.parts["tiles"])
        yield self.merging("merge_pairs", parts, self.count["references"])
        yield self.merging("merge_tile_pairs", units, self.parts["tiles"])

    def searching(self, rule: str, units: list[str], queries: int, others: int) -> Work:
        """Jobs that hold `queries` vectors against `others`, per model and scale."""
        normalises = rule == "normalise_queries"
        role = "tiles" if rule == "match_tiles" else "queries"
        searches = sum(len(self.units[unit]) * len(self.scales(unit, role)) for unit in units)
        similarities = searches * queries * others
        dimensions, shards = self.config["whitening"]["dimensions"], self.config["matching"]["shards"]
        pairs = 0 if normalises else self.kept()
        held = _largest(queries, shards) if normalises else queries
        return Work(
            "matching", rule, "normalise_queries.py" if normalises else "match_parts.py", shards * len(units),
            similarities, "similarities",
            tasks={"search": similarities * dimensions},
            stored=FLOAT * searches * queries if normalises else PAIR_ROWS * pairs * searches * shards,
            memory=search_memory(held, others, pairs, dimensions, self.parts["queries"]),
        )  # fmt: skip

    def merging(self, rule: str, units: list[str], references: int) -> Work:
        """Jobs that join the shards of a search."""
        role = "tiles" if rule == "merge_tile_pairs" else "queries"
        lists = [len(self.units[unit]) * len(self.scales(unit, role)) for unit in units]
        row = self.pictures.row_bytes
        return Work(
            "matching", rule, "merge_pairs.py", len(units), len(units), "jobs",
            stored=None if row is None else row * self.kept() * sum(lists),
            memory=merge_memory(self.kept() * max(lists, default=0), self.parts["queries"] + references),
        )  # fmt: skip

    def kept(self) -> int:
        """Pairs that a model keeps at a scale."""
        return self.config["matching"]["pairs_per_query"] * self.count["queries"]

    def ensembling(self) -> Iterator[Work]:
        rows = self.kept() * len(self.backbones)
        voted = rows * len(self.config["scales"]) * len(self.families)
        tiles = rows * len(self.config["tiles"]["scales"]) * len(self.tile_families)
        of_pairs = rows * len(self.config["second_submission"]["scales"]) * len(self.pair_families)
        for families, number, what in ((self.families, voted, ""), (self.pair_families, of_pairs, "of pairs")):
            yield Work(
                "ensembling", "vote_backbones", "vote_backbones.py", len(families), number, "rows", what,
                tasks={"vote": number}, stored=None,
            )  # fmt: skip
        yield Work(
            "ensembling", "vote_tiles", "vote_backbones.py", len(self.tile_families), tiles, "rows",
            tasks={"vote": tiles}, stored=None,
        )  # fmt: skip
        yield Work(
            "ensembling", "combine_families", "combine_families.py", 1, voted + tiles, "rows at most",
            tasks={"combine": voted + tiles}, stored=None,
        )  # fmt: skip

    def verification(self) -> Iterator[Work]:
        section, background = self.config["verification"], self.background_pictures()
        yield self.local_features("training", background, 1)
        for role in ("references", "queries"):
            yield self.local_features(role, self.count[role], self.shards[role])
        yield self.local_index("references", self.count["references"], self.shards["references"])
        unrelated = (background + PAGES) * section["features"]["keypoints"]
        yield Work(
            "verification", "index_background", "index_background.py", 1, unrelated, "keypoints",
            tasks={"assign": indexing_multiply_adds(unrelated, section["index"]), "local_features": PAGES},
        )  # fmt: skip
        per_query = sum(section["candidates_per_query"][source] for source in section["candidates"])
        queries, references = self.count["queries"], self.count["references"]
        yield self.measured_pairs("queries", queries, self.shards["queries"], "references", references, per_query)
        if configuration.fits_fusion(self.config):
            yield from self.fitted_fusion(section["fitting"], section["candidates_per_query"]["local"])
        yield self.starting("verification", "judge_pairs", "judge_pairs.py", 1)

    def fitted_fusion(self, fitting: Mapping[str, Any], per_query: int) -> Iterator[Work]:
        """What trees of the run's own take; `fitting`: of `verification`, `per_query`: candidates."""
        trials = sum(fitting[part] for part in ("copies", "negatives", "look_alikes"))
        edited, shards = fitting["copies"] + fitting["negatives"], fitting["shards"]
        yield self.starting("verification", "choose_trial_pictures", "choose_trial_pictures.py", 1)
        for role in ("originals", "pool"):
            yield self.local_features(role, fitting[role], shards)
        yield self.local_index("originals", fitting["originals"], shards)
        yield Work(
            "verification", "plan_trials", "plan_trials.py", 1, fitting["pool"], "pictures",
            tasks={"neighbours": self.votes(fitting["pool"], fitting["originals"])},
        )  # fmt: skip
        yield Work(
            "verification", "extract_trials", "extract_trials.py", shards, trials, "pictures",
            # of those that are edited a foreign picture, too
            tasks={"decode": self.pixels(trials + edited), "local_features": trials},
            stored=trials * self.described_bytes(),
        )  # fmt: skip
        yield self.measured_pairs("trials", trials, shards, "originals", fitting["originals"], per_query)
        yield self.starting("verification", "fit_fusion", "fit_fusion.py", 1)

    def local_features(self, role: str, number: int, shards: int) -> Work:
        """The local features of the pictures of a role."""
        return Work(
            "verification", "extract_features", "extract_features.py", shards, number, "pictures", role,
            tasks={"decode": self.pixels(number), "local_features": number},
            stored=number * self.described_bytes(),
        )  # fmt: skip

    def described_bytes(self) -> int:
        """Bytes that a picture's local features take."""
        return KEYPOINT * self.config["verification"]["features"]["keypoints"] + GREY_PICTURE

    def local_index(self, role: str, number: int, shards: int) -> Work:
        """The index of the local features of a collection of pictures, if candidates are looked for in it."""
        index, keypoints = self.config["verification"]["index"], self.config["verification"]["features"]["keypoints"]
        indexed, held = number * index["keypoints"], self.index_bytes(number)
        return Work(
            "verification", "index_references", "index_references.py", int(self.looks(role)), indexed, "keypoints",
            role, tasks={"assign": indexing_multiply_adds(indexed, index)}, stored=held,
            memory=held + 5 * _largest(number, shards) * keypoints * KEYPOINT,
        )  # fmt: skip

    def looks(self, role: str) -> bool:
        """Whether local features look for candidates in a collection: in the originals always."""
        return role == "originals" or "local" in self.config["verification"]["candidates"]

    def index_bytes(self, pictures: int) -> int:
        """Bytes of the index of so many pictures."""
        index = self.config["verification"]["index"]
        code = index["code_bytes"] if index["kind"] == "ivf_pq" else 0
        return pictures * index["keypoints"] * (INDEXED[index["kind"]] + code)

    def votes(self, queries: int, pictures: int) -> float:
        """Distances that are computed for the votes of queries on so many indexed pictures."""
        section = self.config["verification"]
        indexed = pictures * section["index"]["keypoints"]
        return 2 * queries * section["search"]["keypoints"] * indexed * searched(indexed, section["index"])

    def measured_pairs(self, role: str, queries: int, shards: int, of: str, pictures: int, per_query: int) -> Work:
        """The pairs of the queries of a role with their candidates `of` a collection of so many pictures."""
        section = self.config["verification"]
        keypoints = section["features"]["keypoints"]
        unrelated = (self.background_pictures() + PAGES) * keypoints
        looked_at = 2 * queries * keypoints * unrelated * searched(unrelated, section["index"])
        looked_at += self.votes(queries, pictures) * self.looks(of)
        pairs = queries * per_query
        return Work(
            "verification", "measure_pairs", "measure_pairs.py", shards, pairs, "pairs", role,
            tasks={"neighbours": looked_at, "verify": pairs}, stored=None,
            memory=self.index_bytes(pictures) if self.looks(of) else None,
        )  # fmt: skip

    def background_pictures(self) -> int:
        """Training pictures that tell how common a local feature is."""
        return min(self.config["verification"]["background_pictures"], self.count["training"])

    def evaluation(self) -> Iterator[Work]:
        number = self.count["queries"] + self.count["references"]
        yield Work(
            "evaluation", "hash_baseline", "hash_baseline.py", int(self.has_truth), number, "pictures",
            tasks={"hash": self.pixels(number)},
        )  # fmt: skip
        yield self.starting("evaluation", "evaluate", "evaluate.py", self.has_truth)
        verified = configuration.verifies(self.config)
        yield self.starting("evaluation", "evaluate_matches", "evaluate_matches.py", self.has_truth and verified)
        gain = bool(configuration.initialisations(self.config))
        yield self.starting("evaluation", "measure_training_gain", "measure_training_gain.py", gain)

    def descriptor_track(self) -> Iterator[Work]:
        """The jobs of the descriptor track that `rule all` does not have."""
        family, backbone = self.track.split(".", 1)
        unit, trained = [self.track], [family] if self.training(family)["steps"] else []
        yield self.synthesised(trained)
        if trained:
            yield self.models(trained, backbone, self.track, self.classes)
        replaces = self.config["descriptor_track"]["replacement"]["confidence"] is not None
        yield self.starting("", "replace_queries", "replace_queries.py", replaces)
        if self.whitened(self.track):
            fitted = min(self.config["whitening"]["samples"], self.count["training"])
            yield self.describing("fit_whitening", "fit_whitening.py", unit, "training", 1, fitted)
        for role in ("training", "references", "queries"):
            yield self.describing("describe", "describe.py", unit, role, self.shards[role], self.count[role])
        similarities = self.count["queries"] * self.count["training"]
        vectors = self.dimensions(self.track) * (self.count["queries"] + self.count["references"])
        yield Work(
            "", "stretch_descriptors", "stretch_descriptors.py", 1, similarities, "similarities",
            tasks={"search": similarities * self.dimensions(self.track)}, stored=FLOAT * vectors,
            memory=FLOAT * (2 * vectors + self.dimensions(self.track) * self.count["training"]),
        )  # fmt: skip
        yield self.starting("", "evaluate_descriptors", "evaluate_descriptors.py", self.has_truth)
        yield self.starting("", "draw_nearest", "draw_nearest.py", 1)
        yield self.starting("", "draw_track_curve", "draw_loss_curves.py", len(trained))
        yield self.starting("", "draw_synthesis_sheet", "draw_synthesis_sheet.py", len(trained))

    def report(self) -> Iterator[Work]:
        table, curves = self.config["backbone_table"], "draw_loss_curves.py"
        methods = {table[backbone]["weights"]["source"] for backbone in configuration.pretrained(self.config)}
        yield self.starting("report", "draw_gallery", "draw_gallery.py", 1)
        yield self.starting("report", "draw_evidence", "draw_evidence.py", configuration.verifies(self.config))
        yield self.starting("report", "draw_training_curves", curves, bool(self.trained))
        yield self.starting("report", "draw_pretraining_curves", curves, len(methods))
        yield self.starting("report", "draw_detector_curve", curves, self.detects)
        yield self.starting("report", "draw_synthesis_sheet", "draw_synthesis_sheet.py", len(self.trained))
        yield self.starting("report", "list_provenance", "list_provenance.py", 1)


def query_parts(config: Config, pictures: Pictures) -> int:
    """Parts of all queries together."""
    kinds = config["parts"]["kinds"]
    found = pictures.found_parts if {"selective_search", "detected_overlay"} & set(kinds) else 0
    return round(pictures.count["queries"] * (found + sum(QUERY_PARTS.get(kind, 0) for kind in kinds)))


def pretraining_multiply_adds(method: str, cost: Cost, section: Mapping[str, Any]) -> float:
    """Of one view in a step of a method's pretraining; the backward pass counts as two forward passes.

    `section`: of `pretraining`, the method's. Half a row of the cross-correlation of Barlow Twins falls to each of the
    two views. The Momentum² teacher has no predictor and no backward pass.
    """
    if method == "barlow_twins":
        head = layers([cost.width, *section["projector"]])
        return 3 * (cost.multiply_adds + head + section["projector"][-1] ** 2 / 2)
    projector, predictor = _heads(cost, section)
    return 4 * (cost.multiply_adds + projector) + 3 * predictor


def training_multiply_adds(cost: Cost, section: Mapping[str, Any], classes: int) -> float:
    """Of one picture in a training step, head and classifier included; `section`: training."""
    widths = heads(cost, section)
    return 3 * (cost.multiply_adds + layers(widths) + sum(widths[2:]) * classes)


def heads(cost: Cost, section: Mapping[str, Any]) -> list[int]:
    """Widths of a training from the feature on: hidden, embedding, second head. All after the hidden one classify."""
    matrix = [section["matrix"]["dimensions"]] if "matrix" in section else []
    return [cost.width, section["projector_hidden"], section["embedding"], *matrix]


def whitening_multiply_adds(rows: int, width: int) -> float:
    """Of one fit: covariance, and a symmetric matrix' eigenvectors in 9 d³ operations (Golub and Van Loan, 8.3)."""
    return rows * width**2 + 4.5 * width**3


def lists_of(keypoints: float, index: Mapping[str, Any]) -> int:
    """Lists of an index of local features; `index`: of `verification`. An exact one has none."""
    return 0 if index["kind"] == "exact" else max(1, min(index["lists"], int(keypoints // 64)))


def searched(keypoints: float, index: Mapping[str, Any]) -> float:
    """The share of an index of local features that a search looks at."""
    lists = lists_of(keypoints, index)
    return min(index["probes"] / lists, 1.0) if lists else 1.0


def indexing_multiply_adds(keypoints: float, index: Mapping[str, Any]) -> float:
    """Of the k-means that places the lists, 25 rounds over 64 keypoints a list, and of finding each keypoint's list.

    Many lists are found through a graph, which looks at `VISITED` of them at most.
    """
    lists = lists_of(keypoints, index)
    looked_at = lists if lists <= FLAT_LISTS else VISITED
    return 128.0 * (25 * 64 * lists * lists + looked_at * keypoints)


def layers(widths: Sequence[int]) -> int:
    """Multiply-adds of linear layers one after the other, which are their weights, too."""
    return sum(before * after for before, after in pairwise(widths))


def _fitting(cost: Cost, parameters: int, batch: int, moments: int = 2) -> float:
    """Bytes of a training: weights, gradients, and moments each; activations of a batch."""
    return (2 + moments) * FLOAT * parameters + batch * cost.saved


def _pretraining_memory(method: str, cost: Cost, section: Mapping[str, Any]) -> float:
    """Bytes of a pretraining; LARS and SGD have one moment, and a teacher has weights only."""
    views = 2 * section["batch"]
    if method == "barlow_twins":
        head = layers([cost.width, *section["projector"]])
        return _fitting(cost, cost.parameters + head, views, moments=1 if section["optimiser"] == "lars" else 2)
    projector, predictor = _heads(cost, section)
    teacher = FLOAT * (cost.parameters + projector)
    return teacher + _fitting(cost, cost.parameters + projector + predictor, views, moments=1)


def _heads(cost: Cost, section: Mapping[str, Any]) -> tuple[int, int]:
    """Weights of projector and predictor beside the Momentum² teacher's backbone."""
    hidden, output = section["hidden"], section["output"]
    return layers([cost.width, hidden, output]), layers([output, hidden, output])


def _filled(rows: int, batch: int) -> int:
    """Rows with the empty ones that fill up the last batch."""
    return -(-rows // batch) * batch


def search_memory(queries: int, others: int, pairs: int, dimensions: int, parts: int) -> int:
    """Bytes that a job of the search holds: its queries, a block of the others as it is read and as it is used,
    the pairs, and the names of all query parts.
    """
    return FLOAT * dimensions * (queries + 2 * min(others, BLOCK_ROWS)) + PAIR * pairs + NAME * parts


def merge_memory(pairs: int, names: int) -> int:
    """Bytes that merging the shards of a search holds: the pairs of all scales, and the names on both sides."""
    return PAIR * pairs + NAME * names


def _largest(rows: int, shards: int) -> int:
    """Rows of the largest shard."""
    return -(-rows // shards)


def _add(amounts: dict[str, float], rate: str, amount: float) -> None:
    if rate:
        amounts[rate] = amounts.get(rate, 0.0) + amount


@dataclass(frozen=True)
class Rate:
    """So much of a kind of work per second: on one thread of a processor, or on one GPU.

    `unit` is plural; `settings` are those of the configuration that it holds for; `device`, `processor` ("cpu" or
    "gpu"), `command` and `date` say where it comes from.
    """

    value: float
    unit: str
    device: str
    processor: str
    command: str
    date: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A row of the bill: a work with its hours. None where a rate is missing; `missing` names those rates.

    `gpu_hours` is the time that jobs hold a GPU, loading included; for work that a GPU can do and whose rate is a
    processor's it is None. `memory`: bytes of the largest job, its process included.
    """

    work: Work
    cpu_hours: float | None
    gpu_hours: float | None
    memory: float | None
    missing: tuple[str, ...]


#: Kinds of work that a GPU does, where there is one.
ON_GPU = ("forward", "train", *configuration.PRETRAINING_METHODS, "train_detector", "detect", "search")


def priced(work: Work, rates: Mapping[str, Rate], starts: Mapping[str, tuple[float, float]], workers: int) -> Entry:
    """The hours of a work.

    Args:
        work: see `plan`.
        rates: by kind.
        starts: per script, the seconds of processor time that its start takes and the bytes that it then holds.
        workers: `execution.workers`. With some, a job takes as long as the longer of computing and loading.
    """
    amounts = {**work.tasks, **work.loading}
    missing = tuple(kind for kind in amounts if kind not in rates)
    known = work.script in starts and not missing
    missing += () if work.script in starts else (f"start of {work.script}",)
    seconds = {kind: amount / rates[kind].value for kind, amount in amounts.items() if kind in rates}
    accelerated = [kind for kind in work.tasks if kind.split(".")[0] in ON_GPU]
    on_gpu = [kind for kind in accelerated if kind in rates and rates[kind].processor == "gpu"]
    start, process = starts.get(work.script, (0.0, 0.0))
    cpu = gpu = None
    if known:
        cpu = work.jobs * start + sum(s for kind, s in seconds.items() if kind not in on_gpu)
        computing = work.jobs * start + sum(seconds[kind] for kind in work.tasks)
        load = sum(seconds[kind] for kind in work.loading)
        gpu = max(computing, load / workers) if workers else computing + load
    if not accelerated:
        gpu = 0.0
    elif not on_gpu or len(on_gpu) < len(accelerated):
        gpu = None
    return Entry(
        work,
        None if cpu is None else cpu / 3600,
        None if gpu is None else gpu / 3600,
        None if work.memory is None or work.script not in starts else process + work.memory,
        missing,
    )
