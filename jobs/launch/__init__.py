"""Workers that train together: started on Ray or on this machine, and all restarted when one of them dies."""

from t2i_shards.jobs.launch.ray import prepare_on_ray, train_on_ray
from t2i_shards.jobs.launch.restarts import Attempt, keep_trying
from t2i_shards.jobs.launch.torchrun import prepare_here, train_here

__all__ = ["Attempt", "keep_trying", "prepare_here", "prepare_on_ray", "train_here", "train_on_ray"]
