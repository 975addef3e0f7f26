"""COCO 2017 in its official layout: captions, licences, people and label maps of every picture."""
