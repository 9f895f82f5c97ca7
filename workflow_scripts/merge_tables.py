"""Joins the tables of all shards (parts or faces), in the order given, without holding them all in memory."""

import pyarrow.parquet as pq

from copytrace import runtime
from copytrace.errors import InputError
from copytrace.tables import read_footer


def main() -> None:
    """Read the shards one after the other, write one table."""
    parser = runtime.Arguments(__doc__)
    parser.add_input("--tables", required=True, nargs="+", help="Parquet files with the same columns, in order")
    parser.add_output("--output", required=True)
    args = parser.parse()
    runtime.set_threads(1)

    schema = read_footer(args.tables[0]).schema.to_arrow_schema()
    with (
        runtime.Throughput("rows", threads=1) as done,
        runtime.atomic_output(args.output) as temporary,
        pq.ParquetWriter(temporary, schema) as writer,
    ):
        for path in args.tables:
            table = pq.read_table(path)
            if table.schema.names != schema.names:
                raise InputError(f"{path} has other columns than {args.tables[0]}: they are not shards of one.")
            writer.write_table(table.cast(schema))
            done.add(table.num_rows)


if __name__ == "__main__":
    runtime.run(main)
