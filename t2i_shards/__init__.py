"""t2i-shards: pictures into WebDataset shards with the conditions of T2I-Adapter, and a trainer that streams them.

In the repository the four packages are folders of the top level, and this folder holds links to them; an installed
wheel holds them here. Both are imported by the same name: `t2i_shards.extractors`, `t2i_shards.pipeline`,
`t2i_shards.adapters`, `t2i_shards.jobs`.
"""

__version__ = "0.1.0"
