//! Boxes on the photo from the raw output of a YOLOv8 detector.

use crate::analysis::{DetectedBox, PixelBox, Size};
use crate::networks::{BoxForm, DISTANCES, Grid, NetworkError, RawBoxes};

use super::letterbox::Letterbox;

/// Which boxes count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// A score must exceed it, 0..=1.
    pub confidence: f32,
    /// Two boxes of one class whose intersection over union exceeds it are one, 0..=1.
    pub iou: f32,
}

impl Default for Thresholds {
    /// What ultralytics predicts with, but for the confidence, which is the stricter one of our users' reference.
    fn default() -> Self {
        Self {
            confidence: 0.5,
            iou: 0.7,
        }
    }
}

/// The most boxes that are reported.
const MAX_BOXES: usize = 300;

/// A box in input pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// `x1, y1, x2, y2`; the second corner lies right of and below the first one.
    pub corners: [f32; 4],
    /// Score of its class.
    pub score: f32,
    /// Index of its class.
    pub class: usize,
}

/// The boxes on the photo that pass `thresholds`, best first, at most one for each thing, at most 300.
///
/// `letterbox` is the one that made the detector's input from an image with `scale` pixels per pixel of the photo,
/// `photo` is the size of the photo, `classes` names the classes.
///
/// # Errors
/// When `raw` has no class scores, does not hold `rows * anchors` values, or has other anchors than its grids.
pub fn read(
    raw: &RawBoxes,
    thresholds: Thresholds,
    letterbox: &Letterbox,
    scale: f64,
    photo: Size,
    classes: &[String],
) -> Result<Vec<DetectedBox>, NetworkError> {
    let survivors = suppress(candidates(raw, thresholds.confidence)?, thresholds.iou);
    Ok(survivors
        .into_iter()
        .filter_map(|candidate| {
            Some(DetectedBox {
                corners: on_photo(candidate.corners, letterbox, scale, photo)?,
                // A float carries no more digits than these.
                confidence: (f64::from(candidate.score) * 1e6).round() / 1e6,
                class: classes
                    .get(candidate.class)
                    .cloned()
                    .unwrap_or_else(|| format!("class {}", candidate.class)),
            })
        })
        .collect())
}

/// Every anchor whose best class scores more than `threshold`. Anchors with a number that is not finite, and boxes
/// without area, are left out.
///
/// # Errors
/// See [`read`].
pub fn candidates(raw: &RawBoxes, threshold: f32) -> Result<Vec<Candidate>, NetworkError> {
    let RawBoxes {
        ref form,
        rows,
        anchors,
        ref values,
    } = *raw;
    let (geometry_rows, of_form) = match form {
        BoxForm::Boxes => (4, anchors),
        BoxForm::Distances(grids) => (
            4 * DISTANCES,
            grids.iter().map(|grid| grid.columns * grid.rows).sum(),
        ),
    };
    if rows <= geometry_rows || anchors != of_form || rows.checked_mul(anchors) != Some(values.len()) {
        return Err(NetworkError {
            message: format!(
                "the detector gave {} values as {rows} x {anchors}; expected are {geometry_rows} rows and one for each \
                 class, and {of_form} columns",
                values.len()
            ),
            out_of_memory: false,
        });
    }
    let row = |i: usize| &values[i * anchors..][..anchors];
    let corners_of = |anchor: usize| match form {
        BoxForm::Boxes => {
            let [x, y, width, height] = [0, 1, 2, 3].map(|i| row(i)[anchor]);
            [
                x - width / 2.0,
                y - height / 2.0,
                x + width / 2.0,
                y + height / 2.0,
            ]
        }
        BoxForm::Distances(grids) => {
            let (x, y, stride) = middle(grids, anchor);
            let [left, above, right, below] = [0, 1, 2, 3]
                .map(|side| expected_distance(|distance| row(side * DISTANCES + distance)[anchor]));
            [x - left, y - above, x + right, y + below].map(|strides| strides * stride)
        }
    };
    let candidate = |anchor: usize| {
        let mut score = f32::NEG_INFINITY;
        let mut class = 0;
        for i in geometry_rows..rows {
            if row(i)[anchor] > score {
                score = row(i)[anchor];
                class = i - geometry_rows;
            }
        }
        if !(score > threshold && score.is_finite()) {
            return None;
        }
        let corners = corners_of(anchor);
        let usable =
            corners.iter().all(|c| c.is_finite()) && corners[0] < corners[2] && corners[1] < corners[3];
        usable.then_some(Candidate {
            corners,
            score: score.min(1.0),
            class,
        })
    };
    Ok((0..anchors).filter_map(candidate).collect())
}

/// The middle of an anchor's cell and its side: in strides, and the stride in pixels.
fn middle(grids: &[Grid], anchor: usize) -> (f32, f32, f32) {
    let mut cell = anchor;
    for grid in grids {
        let cells = grid.columns * grid.rows;
        if cell < cells {
            let (x, y) = (cell % grid.columns, cell / grid.columns);
            return (x as f32 + 0.5, y as f32 + 0.5, grid.stride as f32);
        }
        cell -= cells;
    }
    (f32::NAN, f32::NAN, f32::NAN)
}

/// The mean of the distances 0 to 15 under the softmax of their logits.
fn expected_distance(logit: impl Fn(usize) -> f32) -> f32 {
    let greatest = (0..DISTANCES).map(&logit).fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for distance in 0..DISTANCES {
        let weight = (logit(distance) - greatest).exp();
        sum += weight;
        weighted += weight * distance as f32;
    }
    weighted / sum
}

/// Greedy non-maximum suppression within each class: best first, at most 300.
pub fn suppress(mut candidates: Vec<Candidate>, iou_threshold: f32) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        if kept.len() == MAX_BOXES {
            break;
        }
        let same_thing =
            |other: &Candidate| other.class == candidate.class && overlap(other, &candidate) > iou_threshold;
        if !kept.iter().any(same_thing) {
            kept.push(candidate);
        }
    }
    kept
}

/// Intersection over union, 0..=1.
fn overlap(a: &Candidate, b: &Candidate) -> f32 {
    let area = |[x1, y1, x2, y2]: [f32; 4]| (x2 - x1) * (y2 - y1);
    let [ax1, ay1, ax2, ay2] = a.corners;
    let [bx1, by1, bx2, by2] = b.corners;
    let width = (ax2.min(bx2) - ax1.max(bx1)).max(0.0);
    let height = (ay2.min(by2) - ay1.max(by1)).max(0.0);
    let intersection = width * height;
    intersection / (area(a.corners) + area(b.corners) - intersection)
}

/// Corners in whole pixels of the photo, truncated, inside it; `None` when less than a pixel is left.
fn on_photo([x1, y1, x2, y2]: [f32; 4], letterbox: &Letterbox, scale: f64, photo: Size) -> Option<PixelBox> {
    let corner = |x: f32, y: f32| {
        let [x, y] = letterbox.to_image([f64::from(x), f64::from(y)]);
        // The cast gives the nearest value that the integer has, so that negative becomes 0.
        [
            ((x / scale) as usize).min(photo.width),
            ((y / scale) as usize).min(photo.height),
        ]
    };
    let ([x1, y1], [x2, y2]) = (corner(x1, y1), corner(x2, y2));
    (x1 < x2 && y1 < y2).then_some([x1, y1, x2, y2])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::DetectorShape;
    use proptest::prelude::*;

    const SQUARE: Size = Size {
        width: 640,
        height: 640,
    };

    fn identity() -> Letterbox {
        let shape = DetectorShape {
            image_size: 640,
            stride: 32,
            fixed_square: false,
            classes: Vec::new(),
        };
        Letterbox::new(SQUARE, &shape)
    }

    /// One column per anchor: `[cx, cy, w, h, scores…]`.
    fn raw(columns: &[&[f32]]) -> RawBoxes {
        let rows = columns.first().map_or(5, |c| c.len());
        let values = (0..rows)
            .flat_map(|i| columns.iter().map(move |c| c[i]))
            .collect();
        RawBoxes {
            form: BoxForm::Boxes,
            rows,
            anchors: columns.len(),
            values,
        }
    }

    const IOU_THRESHOLD: f32 = 0.7;

    fn confidence(confidence: f32) -> Thresholds {
        Thresholds {
            confidence,
            ..Thresholds::default()
        }
    }

    fn read_square(raw: &RawBoxes, threshold: f32) -> Vec<DetectedBox> {
        read(
            raw,
            confidence(threshold),
            &identity(),
            1.0,
            SQUARE,
            &["pitch".to_owned()],
        )
        .unwrap()
    }

    #[test]
    fn the_threshold_itself_does_not_pass() {
        let raw = raw(&[
            &[100.0, 100.0, 50.0, 20.0, 0.5],
            &[300.0, 100.0, 50.0, 20.0, 0.51],
        ]);
        let boxes = read_square(&raw, 0.5);
        assert_eq!(boxes.len(), 1);
        assert_eq!(boxes[0].corners, [275, 90, 325, 110]);
    }

    #[test]
    fn overlap_of_exactly_the_threshold_survives() {
        // 100x100 and 100x70 inside it: IoU 0.7; 100x71: 0.71.
        let at = raw(&[
            &[100.0, 100.0, 100.0, 100.0, 0.9],
            &[100.0, 100.0, 100.0, 70.0, 0.8],
        ]);
        assert_eq!(read_square(&at, 0.5).len(), 2);
        let over = raw(&[
            &[100.0, 100.0, 100.0, 100.0, 0.9],
            &[100.0, 100.0, 100.0, 71.0, 0.8],
        ]);
        assert_eq!(read_square(&over, 0.5).len(), 1);
    }

    #[test]
    fn classes_do_not_suppress_each_other() {
        let raw = raw(&[
            &[100.0, 100.0, 100.0, 100.0, 0.9, 0.1],
            &[100.0, 100.0, 100.0, 100.0, 0.1, 0.8],
        ]);
        let boxes = read_square(&raw, 0.5);
        assert_eq!(
            boxes.iter().map(|b| b.class.as_str()).collect::<Vec<_>>(),
            ["pitch", "class 1"]
        );
    }

    #[test]
    fn numbers_that_are_not_finite_are_left_out() {
        let raw = raw(&[
            &[f32::NAN, 100.0, 100.0, 100.0, 0.9],
            &[100.0, 100.0, f32::INFINITY, 100.0, 0.9],
            &[100.0, 100.0, 100.0, 100.0, f32::NAN],
            &[100.0, 100.0, 100.0, 100.0, f32::INFINITY],
            &[100.0, 100.0, -3.0, 100.0, 0.9],
        ]);
        assert_eq!(read_square(&raw, 0.5), []);
    }

    #[test]
    fn boxes_reach_from_the_middle_of_their_cell_to_the_expected_distances() {
        let grids = Grid::pyramid(64, 32, 8, 3);
        let anchors = 42;
        // All distances alike: 7.5 strides each way.
        let mut values = vec![0.0; 65 * anchors];
        let mut set = |row: usize, anchor: usize, value: f32| values[row * anchors + anchor] = value;
        for anchor in [0, 33, 41] {
            set(64, anchor, 0.9);
        }
        // The second cell of the grid of stride 16: one distance is certain for each side, but two are alike below.
        for (side, distance) in [(0, 1), (1, 0), (2, 2), (3, 3), (3, 4)] {
            set(side * 16 + distance, 33, 1000.0);
        }
        // The last cell of stride 32: e^ln(3) to 1 for 1 stride against 0, nothing else.
        for side in 0..4 {
            for distance in 2..16 {
                set(side * 16 + distance, 41, -1000.0);
            }
            set(side * 16 + 1, 41, 3f32.ln());
        }
        let raw = RawBoxes {
            form: BoxForm::Distances(grids),
            rows: 65,
            anchors,
            values,
        };
        let found = candidates(&raw, 0.5).unwrap();
        let expected = [
            [4.0 - 60.0, 4.0 - 60.0, 4.0 + 60.0, 4.0 + 60.0],
            [24.0 - 16.0, 8.0, 24.0 + 32.0, 8.0 + 56.0],
            [48.0 - 24.0, 16.0 - 24.0, 48.0 + 24.0, 16.0 + 24.0],
        ];
        assert_eq!(found.len(), 3);
        for (found, expected) in found.iter().zip(expected) {
            for (ours, theirs) in found.corners.iter().zip(expected) {
                assert!(
                    (ours - theirs).abs() < 1e-4,
                    "{:?}, not {expected:?}",
                    found.corners
                );
            }
        }
    }

    #[test]
    fn a_malformed_output_is_an_error() {
        for (rows, anchors, values) in [(4, 1, 4), (5, 2, 9), (0, 0, 0), (5, usize::MAX, 5)] {
            let raw = RawBoxes {
                form: BoxForm::Boxes,
                rows,
                anchors,
                values: vec![0.9; values],
            };
            assert!(candidates(&raw, 0.5).is_err());
        }
        // 64 x 32 pixels have 8 * 4 + 4 * 2 + 2 anchors.
        for (rows, anchors, passes) in [(65, 42, true), (64, 42, false), (65, 41, false), (5, 42, false)] {
            let raw = RawBoxes {
                form: BoxForm::Distances(Grid::pyramid(64, 32, 8, 3)),
                rows,
                anchors,
                values: vec![0.9; rows * anchors],
            };
            assert_eq!(candidates(&raw, 0.5).is_ok(), passes, "{rows} x {anchors}");
        }
    }

    #[test]
    fn corners_are_mapped_to_the_full_photo_clipped_and_truncated() {
        let image = Size {
            width: 1000,
            height: 750,
        };
        let photo = Size {
            width: 4000,
            height: 3000,
        };
        let shape = DetectorShape {
            image_size: 640,
            stride: 32,
            fixed_square: true,
            classes: Vec::new(),
        };
        let letterbox = Letterbox::new(image, &shape);
        // The content starts at y = 80; 0.64 input pixels per image pixel, 0.16 per photo pixel.
        let raw = raw(&[&[100.0, 180.0, 300.0, 100.1, 0.9]]);
        let boxes = read(&raw, confidence(0.5), &letterbox, 0.25, photo, &[]).unwrap();
        assert_eq!(boxes[0].corners, [0, 312, 1562, 937]);
    }

    #[test]
    fn a_box_outside_the_photo_is_left_out() {
        let raw = raw(&[&[-100.0, 100.0, 50.0, 50.0, 0.9]]);
        assert_eq!(read_square(&raw, 0.5), []);
    }

    fn candidate() -> impl Strategy<Value = Candidate> {
        (
            -50f32..700.0,
            -50f32..700.0,
            1f32..400.0,
            1f32..400.0,
            0f32..1.0,
            0usize..3,
        )
            .prop_map(|(x, y, w, h, score, class)| Candidate {
                corners: [x, y, x + w, y + h],
                score,
                class,
            })
    }

    proptest! {
        #[test]
        fn survivors_are_sorted_and_apart(input in prop::collection::vec(candidate(), 0..60)) {
            let kept = suppress(input.clone(), IOU_THRESHOLD);
            prop_assert!(kept.is_sorted_by(|a, b| a.score >= b.score));
            for (i, a) in kept.iter().enumerate() {
                for b in &kept[i + 1..] {
                    prop_assert!(a.class != b.class || overlap(a, b) <= IOU_THRESHOLD);
                }
            }
            // What is gone overlaps something at least as good that stayed.
            for gone in input.iter().filter(|c| !kept.contains(c)) {
                let covers = |k: &Candidate| {
                    k.class == gone.class && k.score >= gone.score && overlap(k, gone) > IOU_THRESHOLD
                };
                prop_assert!(kept.iter().any(covers));
            }
            prop_assert_eq!(suppress(kept.clone(), IOU_THRESHOLD), kept);
        }

        #[test]
        fn any_output_gives_boxes_inside_the_photo(
            values in prop::collection::vec(prop::num::f32::ANY, 0..120),
            threshold in prop::num::f32::ANY,
        ) {
            let anchors = values.len() / 6;
            let values = values[..anchors * 6].to_vec();
            let raw = RawBoxes { form: BoxForm::Boxes, rows: 6, anchors, values };
            let photo = Size { width: 37, height: 91 };
            let boxes = read(&raw, confidence(threshold), &identity(), 1.0, photo, &[]).unwrap();
            for DetectedBox { corners: [x1, y1, x2, y2], confidence, .. } in boxes {
                prop_assert!(x1 < x2 && x2 <= photo.width && y1 < y2 && y2 <= photo.height);
                prop_assert!(confidence <= 1.0);
            }
        }
    }
}
