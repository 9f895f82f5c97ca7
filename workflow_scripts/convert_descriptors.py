"""Convert descriptors between the contest's submission format and the working format of its organisers' tool.

    python workflow_scripts/convert_descriptors.py --submission results/descriptors.h5 \\
        --write-queries queries.hdf5 --write-references references.hdf5
    python workflow_scripts/convert_descriptors.py --queries queries.hdf5 --references r_0.hdf5 r_1.hdf5 \\
        --query-ids queries.txt --reference-ids references.txt --write-submission submission.h5

What the contest would refuse is an error of one sentence: more than 256 dimensions, missing ids, numbers that are not
finite.
"""

from pathlib import Path

from copytrace import runtime, submission
from copytrace.errors import InputError


def main() -> None:
    """Read the arguments, read one format, check, write the other."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--submission", help="file in the submission format")
    parser.add_input("--queries", nargs="+", help="or files in the working format, the queries")
    parser.add_input("--references", nargs="+", help="the references")
    parser.add_input("--query-ids", type=Path, help="list of the ids that the queries must have, one per line")
    parser.add_input("--reference-ids", type=Path, help="the same of the references")
    parser.add_output("--write-submission", help="file in the submission format")
    parser.add_output("--write-queries", help="file in the working format, the queries")
    parser.add_output("--write-references", help="the references")
    args = parser.parse()
    if bool(args.submission) == bool(args.queries and args.references):
        raise InputError("name either --submission, or both --queries and --references")
    if args.submission:
        queries, references = submission.read_submission(args.submission)
    else:
        queries, references = submission.read_working(args.queries), submission.read_working(args.references)
    for side, wanted, what in ((queries, args.query_ids, "queries"), (references, args.reference_ids, "references")):
        if wanted:
            submission.check_ids(
                side, filter(None, wanted.read_text().splitlines()), f"the {what}, compared with {wanted},"
            )
    if args.write_submission:
        submission.write_submission(args.write_submission, queries, references)
    for path, side in ((args.write_queries, queries), (args.write_references, references)):
        if path:
            submission.write_working(path, side)
    runtime.log.info(
        "%d queries and %d references of %d dimensions", len(queries.ids), len(references.ids), queries.vectors.shape[1]
    )


if __name__ == "__main__":
    runtime.run(main)
