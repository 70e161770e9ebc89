//! The classifier's input from the resized crop, and probabilities from its output.

use multiversion::multiversion;

use crate::RgbImage;
use crate::analysis::Probabilities;
use crate::networks::{NetworkError, Planes};

/// Both sides of the classifier's input in pixels.
pub const INPUT_SIDE: usize = 224;

/// Mean and standard deviation of ImageNet for R, G, B in 0..=1 (torchvision's published constants).
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The network's input for an image of any size, usually 224x224: per channel `(value / 255 - mean) / std`.
pub fn normalise(image: &RgbImage) -> Planes {
    let area = image.width() * image.height();
    let mut values = vec![0.0; 3 * area];
    let (red, others) = values.split_at_mut(area);
    let (green, blue) = others.split_at_mut(area);
    normalise_pixels(image.pixels().as_chunks().0, [red, green, blue]);
    Planes {
        width: image.width(),
        height: image.height(),
        values,
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2+bmi1+bmi2"))]
fn normalise_pixels(pixels: &[[u8; 3]], [red, green, blue]: [&mut [f32]; 3]) {
    let planes = red.iter_mut().zip(green).zip(blue);
    for (&[r, g, b], ((red, green), blue)) in pixels.iter().zip(planes) {
        *red = (f32::from(r) / 255.0 - MEAN[0]) / STD[0];
        *green = (f32::from(g) / 255.0 - MEAN[1]) / STD[1];
        *blue = (f32::from(b) / 255.0 - MEAN[2]) / STD[2];
    }
}

/// Softmax over the four classes.
///
/// # Errors
/// When a logit is not a finite number: the network is broken, and no probability would mean anything.
pub fn softmax(logits: [f32; 4]) -> Result<Probabilities, NetworkError> {
    if !logits.iter().all(|l| l.is_finite()) {
        return Err(NetworkError {
            message: format!("the classifier gave {logits:?}"),
            out_of_memory: false,
        });
    }
    let logits = logits.map(f64::from);
    let largest = logits.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let powers = logits.map(|l| (l - largest).exp());
    let sum: f64 = powers.iter().sum();
    Ok(Probabilities::from_array(powers.map(|p| p / sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_to_torchvision_normalisation() {
        // transforms.Normalize on ToTensor of one pixel (0, 128, 255), torchvision 0.2x.
        let image = RgbImage::from_pixels(1, 1, vec![0, 128, 255]).unwrap();
        let expected = [-2.117_904, 0.205_182_05, 2.64];
        for (value, expected) in normalise(&image).values.into_iter().zip(expected) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
    }

    #[test]
    fn planes_follow_one_another() {
        let image = RgbImage::from_pixels(2, 1, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let planes = normalise(&image);
        let value = |v: f32, c: usize| (v / 255.0 - MEAN[c]) / STD[c];
        assert_eq!(
            planes.values,
            [
                value(1.0, 0),
                value(4.0, 0),
                value(2.0, 1),
                value(5.0, 1),
                value(3.0, 2),
                value(6.0, 2)
            ]
        );
    }

    #[test]
    fn softmax_of_known_logits() {
        // scipy.special.softmax([1, 2, 3, 4])
        let expected = [
            0.032_058_603_280_084_99,
            0.087_144_318_742_032_57,
            0.236_882_818_089_910_13,
            0.643_914_259_887_972_3,
        ];
        let found = softmax([1.0, 2.0, 3.0, 4.0]).unwrap().to_array();
        for (found, expected) in found.into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12);
        }
        let extreme = softmax([f32::MAX, f32::MIN, 0.0, f32::MAX]).unwrap();
        assert_eq!(extreme.to_array(), [0.5, 0.0, 0.0, 0.5]);
    }

    #[test]
    fn broken_logits_are_an_error() {
        assert!(softmax([0.0, f32::NAN, 0.0, 0.0]).is_err());
        assert!(softmax([f32::INFINITY, 0.0, 0.0, 0.0]).is_err());
    }
}
