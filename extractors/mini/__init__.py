"""Variant `mini`: small networks that this project has trained itself, on its own procedural scenes, and ships.

    sketch.safetensors   PiDiNet tiny, in the published layout, kernels not yet folded
    depth.safetensors    timm's mobilenetv3_small_100 under a MiDaS-style decoder
    seg.safetensors      the same encoder and decoder with a score for each of 44 COCO-Stuff classes
    keypose.safetensors  RTMO with a narrow backbone
    *-simple.safetensors variant `mini-simple`: seg and keypose, trained further to measure pictures of --base mini
    SHA256SUMS           the output of `sha256sum`; a file of another digest is refused (weights/resolve.py)

They have seen nothing but scenes (pipeline/scenes), and are for demonstrations and tests; on photographs they are
poor. Made by `t2i-shards mini-weights`, on one core, from a seed; the files are licensed as this project is.
No other weights went into them. tests/extractors/test_mini_accuracy.py measures them on 500 scenes that they never
saw; depth and seg miss their bars there so far.

Variant `mini-simple` knows simple scenes of 128 pixels enlarged to 256, plain and through mini's autoencoder, and
nothing else: `t2i-shards mini-weights --only seg keypose --through mini` makes it. jobs/miniature measures by it;
docs/results.md has what it gets.
"""
