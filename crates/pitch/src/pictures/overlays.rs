//! What was measured, laid over the analysed crop.

use crate::RgbImage;
use crate::analysis::{PixelBox, Size};
use crate::resize::pillow::RowResizer;

use super::colour_maps::{HOT, JET};

const GRASS_GREEN: [u8; 3] = [0, 255, 0];
const GRASS_WEIGHT: f32 = 0.4;
const CRACKS_WEIGHT: f32 = 0.3;

/// `cv2.addWeighted(image, 1 - weight, colour, weight, 0)` for one 8-bit sample, bit for bit.
pub fn add_weighted(image: u8, colour: u8, weight: f32) -> u8 {
    let rest = (1.0 - f64::from(weight)) as f32;
    // OpenCV adds the second product without rounding it first, which decides the ties.
    rest.mul_add(f32::from(image), weight * f32::from(colour))
        .round_ties_even() as u8
}

/// `add_weighted` of every sample with one colour.
struct Tint([[u8; 256]; 3]);

impl Tint {
    fn new(colour: [u8; 3], weight: f32) -> Self {
        Self(colour.map(|c| std::array::from_fn(|image| add_weighted(image as u8, c, weight))))
    }

    fn apply(&self, pixel: &mut [u8; 3]) {
        for (sample, table) in pixel.iter_mut().zip(&self.0) {
            *sample = table[usize::from(*sample)];
        }
    }
}

/// The crop with its grass tinted. `mask` has one value for each pixel, not 0 where grass is.
pub fn grass(crop: &RgbImage, mask: &[u8], longest_side: usize) -> RgbImage {
    let tint = Tint::new(GRASS_GREEN, GRASS_WEIGHT);
    painted(crop, longest_side, mask, |pixel, is_grass| {
        if is_grass != 0 {
            tint.apply(pixel);
        }
    })
}

/// The crop with its edges glowing. `edges` has one value for each pixel, 0 or 255.
pub fn cracks(crop: &RgbImage, edges: &[u8], longest_side: usize) -> RgbImage {
    let plain = Tint::new(HOT[0], CRACKS_WEIGHT);
    let edge = Tint::new(HOT[255], CRACKS_WEIGHT);
    painted(crop, longest_side, edges, |pixel, is_edge| {
        if is_edge == 0 {
            plain.apply(pixel);
        } else {
            edge.apply(pixel);
        }
    })
}

/// The crop with its darkness in colours, from blue (bright, dry) to red (dark, wet). `grey` has one value for each
/// pixel.
pub fn moisture(crop: &RgbImage, grey: &[u8], longest_side: usize) -> RgbImage {
    painted(crop, longest_side, grey, |pixel, grey| {
        let colour = JET[usize::from(255 - grey)];
        for (sample, colour) in pixel.iter_mut().zip(colour) {
            // `add_weighted` with a weight of 0.4 in whole numbers: fifths are never halfway.
            *sample = ((3 * u16::from(*sample) + 2 * u16::from(colour) + 2) / 5) as u8;
        }
    })
}

/// The image itself, shrunk to `longest_side` where it is larger.
pub fn plain(image: &RgbImage, longest_side: usize) -> RgbImage {
    painted(image, longest_side, &[], |_, _| {})
}

/// The photo with `boxes` drawn, the first one strongest. They are in pixels of a photo of `photo` pixels, which `image`
/// shows at its own size.
pub fn boxed(image: &RgbImage, photo: Size, boxes: &[PixelBox], longest_side: usize) -> RgbImage {
    let mut picture = plain(image, longest_side);
    let thickness = (picture.width().max(picture.height()) / 250).max(2);
    for (i, corners) in boxes.iter().enumerate().rev() {
        let across = |x: usize| x * picture.width() / photo.width.max(1);
        let down = |y: usize| y * picture.height() / photo.height.max(1);
        let [x1, y1, x2, y2] = *corners;
        let corners = [across(x1), down(y1), across(x2), down(y2)];
        let thickness = if i == 0 { thickness } else { 1 };
        outline(&mut picture, corners, thickness + 1, [20, 20, 20]);
        outline(&mut picture, corners, thickness, [255, 196, 0]);
    }
    picture
}

/// A frame of `thickness` pixels along the inside of `corners`.
fn outline(image: &mut RgbImage, [x1, y1, x2, y2]: PixelBox, thickness: usize, colour: [u8; 3]) {
    let (x2, y2) = (x2.min(image.width()), y2.min(image.height()));
    for y in y1..y2 {
        let edge_row = y < y1 + thickness || y + thickness >= y2;
        let pixels = image.row_mut(y).as_chunks_mut::<3>().0;
        for (x, pixel) in pixels.iter_mut().enumerate().take(x2).skip(x1) {
            if edge_row || x < x1 + thickness || x + thickness >= x2 {
                *pixel = colour;
            }
        }
    }
}

/// Paints every pixel by its value in `map`, then shrinks, a row at a time. A pixel without a value stays.
fn painted(image: &RgbImage, longest_side: usize, map: &[u8], paint: impl Fn(&mut [u8; 3], u8)) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let Size {
        width: out_width,
        height: out_height,
    } = fitted(Size { width, height }, longest_side);
    let mut resizer = RowResizer::new(width, height, out_width, out_height);
    let mut row = vec![0; width * 3];
    let mut map = map.chunks(width.max(1));
    for y in 0..height {
        row.copy_from_slice(image.row(y));
        let values = map.next().unwrap_or_default();
        for (pixel, &value) in row.as_chunks_mut::<3>().0.iter_mut().zip(values) {
            paint(pixel, value);
        }
        resizer.push(&row);
    }
    resizer.finish()
}

/// `size` shrunk so that no side exceeds `longest_side`; never enlarged, and no side becomes 0.
pub fn fitted(size: Size, longest_side: usize) -> Size {
    let longer = size.width.max(size.height);
    if longer <= longest_side {
        return size;
    }
    let scaled = |n: usize| ((n * longest_side + longer / 2) / longer).max(1);
    Size {
        width: scaled(size.width),
        height: scaled(size.height),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> RgbImage {
        RgbImage::from_pixels(4, 1, vec![0, 10, 20, 100, 110, 120, 200, 210, 220, 255, 255, 255]).unwrap()
    }

    #[test]
    fn grass_is_tinted_and_the_rest_is_not() {
        let found = grass(&ramp(), &[255, 0, 255, 0], 1280);
        // 0.6 image + 0.4 (0, 255, 0)
        assert_eq!(
            found.pixels(),
            [0, 108, 12, 100, 110, 120, 120, 228, 132, 255, 255, 255]
        );
    }

    #[test]
    fn edges_glow_and_the_rest_darkens() {
        let found = cracks(&ramp(), &[255, 0, 0, 255], 1280);
        // 0.7 image + 0.3 (255, 255, 255) or (0, 0, 0)
        assert_eq!(
            found.pixels(),
            [76, 84, 90, 70, 77, 84, 140, 147, 154, 255, 255, 255]
        );
    }

    #[test]
    fn moisture_in_whole_numbers_is_add_weighted() {
        for image in 0..=255u8 {
            for colour in 0..=255u8 {
                let whole = ((3 * u16::from(image) + 2 * u16::from(colour) + 2) / 5) as u8;
                assert_eq!(whole, add_weighted(image, colour, 0.4));
            }
        }
    }

    #[test]
    fn dark_is_red_and_bright_is_blue() {
        let crop = RgbImage::black(2, 1);
        let found = moisture(&crop, &[0, 255], 1280);
        // JET's ends are (128, 0, 0) and (0, 0, 128).
        assert_eq!(found.pixels(), [51, 0, 0, 0, 0, 51]);
    }

    #[test]
    fn a_picture_is_shrunk_never_enlarged() {
        let size = |width, height| Size { width, height };
        assert_eq!(fitted(size(1920, 1141), 1280), size(1280, 761));
        assert_eq!(fitted(size(640, 480), 1280), size(640, 480));
        assert_eq!(fitted(size(32_768, 1), 1280), size(1280, 1));
        let found = plain(&RgbImage::black(2560, 100), 1280);
        assert_eq!((found.width(), found.height()), (1280, 50));
    }

    #[test]
    fn the_box_is_drawn_where_it_lies() {
        let photo = Size {
            width: 400,
            height: 200,
        };
        let found = boxed(&RgbImage::black(200, 100), photo, &[[100, 50, 300, 150]], 1280);
        let pixel = |x: usize, y: usize| &found.row(y)[x * 3..][..3];
        assert_eq!(pixel(50, 25), [255, 196, 0]);
        assert_eq!(pixel(149, 74), [255, 196, 0]);
        assert_eq!(pixel(100, 50), [0, 0, 0]);
        assert_eq!(pixel(49, 50), [0, 0, 0]);
        assert_eq!(pixel(150, 50), [0, 0, 0]);
    }

    #[test]
    fn a_box_beyond_the_picture_is_clipped() {
        let photo = Size {
            width: 10,
            height: 10,
        };
        boxed(&RgbImage::black(10, 10), photo, &[[5, 5, 1000, 1000]], 1280);
    }
}
