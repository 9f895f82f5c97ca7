"""Fit the whitening of a unit's models, per scale, on a sample of the training pictures; whiten the sample too."""

import json

import numpy as np
import pandas as pd

from copytrace import descriptor_files, descriptors, runtime
from copytrace.errors import InputError
from copytrace.parts import whole_pictures
from copytrace.whitening import fit_whitening


def main() -> None:
    """Read the arguments, describe the sample, fit and write."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--training", required=True, help="manifest of the training pictures")
    parser.add_argument("--models", required=True, type=json.loads, help="name, weights, grey, blur of each model")
    parser.add_argument("--scales", required=True, type=int, nargs="+")
    parser.add_argument("--descriptors", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--whitening", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--storage", choices=["float32", "float16"], required=True, help="numbers in the file")
    parser.add_argument("--execution", required=True, type=json.loads, help="the section of that name")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_output("--sample", required=True, help="descriptor file of the sample to write")
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.log_files("input", "weights", [model["weights"] for model in args.models])
    runtime.set_threads(args.threads)
    settings = args.whitening
    manifest = pd.read_parquet(args.training)
    if settings["dimensions"] >= min(settings["samples"], len(manifest)):
        raise InputError(
            f"whitening.dimensions is {settings['dimensions']}, which needs more than the "
            f"{min(settings['samples'], len(manifest))} training pictures of whitening.samples and images.training"
        )
    if len(manifest) > settings["samples"]:
        # The published draw (D²LV sheet, 5.4): NumPy's RandomState, without replacement.
        rows = np.random.RandomState(settings["seed"]).choice(len(manifest), settings["samples"], replace=False)
        manifest = manifest.iloc[np.sort(rows)]
    models = descriptors.load_models(args.models)
    parts = whole_pictures(manifest)
    features = descriptors.describe(
        manifest,
        parts,
        models,
        args.scales,
        descriptors.DescriptorSettings(**args.descriptors),
        args.threads,
        args.execution["workers"],
    )
    whitenings = {
        key: fit_whitening(block, settings["dimensions"], settings["power"]) for key, block in features.items()
    }
    descriptor_files.write_whitening(args.output, whitenings)
    whitened = {key: whitening.apply(features[key]) for key, whitening in whitenings.items()}
    descriptor_files.write_descriptors(
        args.sample, parts, whitened, {m.name: m.attributes() for m in models}, args.storage
    )


if __name__ == "__main__":
    runtime.run(main)
