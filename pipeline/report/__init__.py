"""The report: what a dataset holds and how a training went, as one page and one picture.

`collect` and `training` gather `facts`; `sample_stats` is the stage that looks at every sample, `gather` adds up
what it saw; `search_index` is what the page searches, in itself or in `side_files`; `plots` lays out, `page` and
`contact_sheet` show it all.
"""

from t2i_shards.pipeline.report.collect import Look, collect_dataset
from t2i_shards.pipeline.report.contact_sheet import check_fonts, draw_sheet
from t2i_shards.pipeline.report.facts import DatasetFacts
from t2i_shards.pipeline.report.page import render_page
from t2i_shards.pipeline.report.training import TrainingFacts, read_training

__all__ = [
    "DatasetFacts",
    "Look",
    "TrainingFacts",
    "check_fonts",
    "collect_dataset",
    "draw_sheet",
    "read_training",
    "render_page",
]
