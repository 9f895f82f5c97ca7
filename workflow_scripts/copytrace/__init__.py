"""copytrace: finding edited copies of pictures. Plain functions; nothing here knows Snakemake."""
