import numpy as np

from t2i_shards.extractors.maps.coco_classes import PALETTE, voc

# The first colours of the PASCAL-VOC palette, as its development kit lists them.
VOC_COLORS = [
    (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128),
    (128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128),
    (64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128),
]  # fmt: skip


def test_voc_is_the_palette_of_the_challenge() -> None:
    assert [voc(i) for i in range(21)] == VOC_COLORS
    assert voc(255) == (224, 224, 192)


def test_a_stored_value_has_the_colour_of_the_next_id_and_unlabelled_is_black() -> None:
    assert tuple(PALETTE[0]) == (128, 0, 0)  # person
    assert tuple(PALETTE[19]) == (0, 64, 128)
    assert [tuple(c) for c in PALETTE[:182]] == [voc(v + 1) for v in range(182)]
    assert not PALETTE[255].any()


def test_colours_tell_labels_apart() -> None:
    assert PALETTE.shape == (256, 3)
    assert len(np.unique(PALETTE, axis=0)) == 256
