//! OpenCV's colour maps, 256 entries `R G B` each (`golden/make_vision_golden.py` wrote the tables).

/// `COLORMAP_HOT`.
pub const HOT: &[[u8; 3]] = include_bytes!("colour_maps/hot.rgb").as_chunks().0;

/// `COLORMAP_JET`.
pub const JET: &[[u8; 3]] = include_bytes!("colour_maps/jet.rgb").as_chunks().0;
