"""Publishing: a dataset's samples packed into shards for others, indexed, described, and read back.

`publish` goes the whole way: every sample is looked at before anything is written, shards are packed, described,
read back and, last, signed. `open_published` is our own stream over a publication.
"""

from t2i_shards.pipeline.publish.config import Publication
from t2i_shards.pipeline.publish.manifest import open_published, read_manifest
from t2i_shards.pipeline.publish.run import Published, publish

__all__ = ["Publication", "Published", "open_published", "publish", "read_manifest"]
