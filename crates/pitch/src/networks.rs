//! What the analysis needs from the two neural networks. The `engine` crate implements it over ONNX Runtime;
//! tests implement it with tables.

use std::fmt;

/// How the detector wants its input, read from the model's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectorShape {
    /// Longest side of the input in pixels (`imgsz`), usually 640.
    pub image_size: usize,
    /// Both sides are multiples of it, usually 32.
    pub stride: usize,
    /// The model was exported with a fixed square input: pad to `image_size` on both sides.
    pub fixed_square: bool,
    /// Names of the classes, in the order of the scores.
    pub classes: Vec<String>,
}

/// A planar float image: shape `(3, height, width)`, channels R, G, B.
#[derive(Clone, Debug, PartialEq)]
pub struct Planes {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `3 * height * width` values.
    pub values: Vec<f32>,
}

/// Distances that a side of a box is distributed over: 0 to 15 strides (`reg_max` of YOLOv8).
pub const DISTANCES: usize = 16;

/// What the first rows of a detector's raw output say of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoxForm {
    /// Four rows: centre x, centre y, width and height in input pixels.
    Boxes,
    /// 64 rows: for the left, upper, right and lower side of the box, the logits of its distance from the anchor's
    /// centre, 0 to 15 strides (Generalized Focal Loss, arXiv 2006.04388). The anchors are the cells of these grids.
    Distances(Vec<Grid>),
}

/// Anchors of one stride, row by row: one in the middle of each cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Side of a cell in input pixels.
    pub stride: usize,
    /// Cells in a row.
    pub columns: usize,
    /// Rows of cells.
    pub rows: usize,
}

impl Grid {
    /// The grids of an input of `width` x `height` pixels: `levels` of them, of the stride `finest` and its doubles.
    pub fn pyramid(width: usize, height: usize, finest: usize, levels: u32) -> Vec<Self> {
        (0..levels)
            .map(|level| {
                let stride = finest.saturating_mul(2usize.saturating_pow(level)).max(1);
                Self {
                    stride,
                    columns: width / stride,
                    rows: height / stride,
                }
            })
            .collect()
    }
}

/// Raw detector output for one image, shape `(rows, anchors)`, row-major: the rows of `form`, then one score per class.
#[derive(Clone, Debug, PartialEq)]
pub struct RawBoxes {
    /// What the rows before the scores are.
    pub form: BoxForm,
    /// Rows: those of `form` and one for each class.
    pub rows: usize,
    /// Columns.
    pub anchors: usize,
    /// `rows * anchors` values.
    pub values: Vec<f32>,
}

/// The detector and the classifier of one lane.
pub trait Networks {
    /// How the detector wants its input.
    fn detector_shape(&self) -> &DetectorShape;

    /// Runs the detector on a letterboxed image with values in 0..=1.
    ///
    /// # Errors
    /// When inference fails.
    fn detect(&mut self, input: Planes) -> Result<RawBoxes, NetworkError>;

    /// Runs the classifier on a normalised 224x224 image; gives the four logits in the order of
    /// [`PitchClass::ALL`](crate::analysis::PitchClass::ALL).
    ///
    /// # Errors
    /// When inference fails.
    fn classify(&mut self, input: Planes) -> Result<[f32; 4], NetworkError>;
}

/// Inference failed; the fault is not the photo's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError {
    /// What the runtime said.
    pub message: String,
    /// The device or the host ran out of memory.
    pub out_of_memory: bool,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for NetworkError {}
