"""Sample photos carry the orientation and the time that the engine reads."""

from datetime import datetime

import cv2
import numpy as np
from PIL import Image

from pitchmodels.samples import EXIF_DATE_TIME_ORIGINAL, EXIF_SUB, save_jpeg


def test_an_upright_photo_is_stored_on_its_side_and_read_upright(tmp_path):
    upright = np.zeros((80, 48, 3), np.uint8)
    upright[:20] = 255
    save_jpeg(tmp_path / "a.jpg", upright, 90, upright=True)
    with Image.open(tmp_path / "a.jpg") as stored:
        assert stored.size == (80, 48)
    read = cv2.imread(str(tmp_path / "a.jpg"))
    assert read.shape == (80, 48, 3)
    assert read[:16].mean() > 240
    assert read[30:].mean() < 15


def test_the_time_of_the_photo_is_recorded(tmp_path):
    save_jpeg(tmp_path / "b.jpg", np.zeros((8, 8, 3), np.uint8), 90, taken=datetime(2026, 7, 11, 9, 35, 10))
    with Image.open(tmp_path / "b.jpg") as photo:
        assert photo.getexif().get_ifd(EXIF_SUB)[EXIF_DATE_TIME_ORIGINAL] == "2026:07:11 09:35:10"
