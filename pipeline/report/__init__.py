"""The report: what a dataset holds and how a training went, as one page and one picture.

`collect` and `training` gather facts, `chart` lays out the loss curve, `page` and `sheet` show it all.
"""

from pipeline.report.collect import DatasetFacts, collect_dataset
from pipeline.report.page import render_page
from pipeline.report.sheet import draw_sheet
from pipeline.report.training import Training, read_training

__all__ = ["DatasetFacts", "Training", "collect_dataset", "draw_sheet", "read_training", "render_page"]
