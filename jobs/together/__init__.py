"""Workers that train together: started on Ray or on this machine, and all again when one of them dies."""

from jobs.together.attempts import Attempt, keep_trying
from jobs.together.launcher import place_here, train_here
from jobs.together.raytrain import place_on_ray, train_on_ray

__all__ = ["Attempt", "keep_trying", "place_here", "place_on_ray", "train_here", "train_on_ray"]
