"""Workers that train together: started on Ray or on this machine, and all restarted when one of them dies."""

from jobs.launch.ray import prepare_on_ray, train_on_ray
from jobs.launch.restarts import Attempt, keep_trying
from jobs.launch.torchrun import prepare_here, train_here

__all__ = ["Attempt", "keep_trying", "prepare_here", "prepare_on_ray", "train_here", "train_on_ray"]
