use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::cracks::Contour;
use super::*;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn golden(i: usize) -> (RgbImage, serde_json::Value) {
    let file = format!("{}/tests/golden/surface/{i:02}", env!("CARGO_MANIFEST_DIR"));
    let expected = serde_json::from_slice(&std::fs::read(format!("{file}.json")).unwrap()).unwrap();
    let decoder = png::Decoder::new(std::io::BufReader::new(
        std::fs::File::open(format!("{file}.png")).unwrap(),
    ));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (
        RgbImage::from_pixels(info.width as usize, info.height as usize, pixels).unwrap(),
        expected,
    )
}

/// Everything that the fast way computes on the way to the features.
struct Steps {
    surface: Surface,
    maps: Maps,
    blurred: Vec<u8>,
    dilated: Vec<u8>,
    contours: Vec<Contour>,
    cracks: Vec<Contour>,
}

fn steps(image: &RgbImage) -> Steps {
    let mut reader = SurfaceReader::default();
    let (surface, maps) = reader.read_with_maps(image);
    let mut blurred = Vec::new();
    EdgeFinder::default().find(&maps.grey, image.width(), image.height(), |row| {
        blurred.extend_from_slice(row)
    });
    let dilated = reader.cracks.plane();
    Steps {
        surface,
        maps,
        blurred,
        dilated,
        contours: reader.cracks.contours(),
        cracks: reader.cracks.cracks(),
    }
}

#[test]
fn every_step_equals_opencv() {
    for i in 0..26 {
        let (image, expected) = golden(i);
        let steps = steps(&image);
        let hashes = &expected["intermediate_sha256"];
        let hsv = image
            .pixels()
            .chunks_exact(3)
            .flat_map(|p| pixels::hsv_of(p[0].into(), p[1].into(), p[2].into()).map(|v| v as u8));
        assert_eq!(sha256(&steps.maps.grey), hashes["gray"], "{i} grey");
        assert_eq!(sha256(&hsv.collect::<Vec<_>>()), hashes["hsv"], "{i} hsv");
        assert_eq!(sha256(&steps.maps.grass), hashes["grass_mask"], "{i} grass");
        assert_eq!(sha256(&steps.blurred), hashes["blurred"], "{i} blurred");
        assert_eq!(sha256(&steps.maps.edges), hashes["edges"], "{i} edges");
        assert_eq!(sha256(&steps.dilated), hashes["dilated"], "{i} dilated");
        assert_eq!(steps.contours.len() as u64, expected["contours"], "{i} contours");

        let theirs = expected["cracks"].as_array().unwrap().iter().map(|crack| {
            let bounds: Vec<usize> = serde_json::from_value(crack["bbox_xywh"].clone()).unwrap();
            Contour {
                bounds: bounds.try_into().unwrap(),
                area: crack["area"].as_f64().unwrap(),
            }
        });
        assert_eq!(sorted(steps.cracks), theirs.collect::<Vec<_>>(), "{i} cracks");
    }
}

#[test]
fn every_value_equals_opencv() {
    for i in 0..26 {
        let (image, expected) = golden(i);
        let number = |name: &str| expected[name].as_f64().unwrap();
        let surface = SurfaceReader::default().read(&image);
        let values = [
            ("grass_percent", surface.grass.percent),
            ("crack_density_percent", surface.cracks.density_percent),
            ("moisture_score", surface.moisture.score),
            ("dark_percent", surface.moisture.dark_percent),
            ("mean_saturation", surface.moisture.mean_saturation),
            ("laplacian_variance", surface.texture.laplacian_variance),
            ("std_gray", surface.texture.std_dev),
            ("mean_gray", surface.brightness.mean),
        ];
        for (name, ours) in values {
            assert!(
                (ours - two_decimals(number(name))).abs() <= 1e-6,
                "{i} {name}: {ours}, not {}",
                number(name)
            );
        }
        for c in 0..3 {
            let theirs = expected["mean_rgb"][c].as_f64().unwrap();
            assert!(
                (surface.colour.mean_rgb[c] - two_decimals(theirs)).abs() <= 1e-6,
                "{i} mean colour"
            );
            // Two pixels or fewer have no three clusters.
            if let Some(theirs) = expected["dominant_rgb"][c].as_f64() {
                assert!(
                    (f64::from(surface.colour.dominant_rgb[c]) - theirs).abs() <= 12.0,
                    "{i} dominant colour"
                );
            }
        }
        assert_eq!(surface.cracks.count as u64, expected["num_cracks"], "{i} cracks");
        assert_eq!(surface.grass.level, levels::grass(number("grass_percent")));
        assert_eq!(surface.moisture.level, levels::moisture(number("moisture_score")));
        assert_eq!(
            surface.texture.kind,
            levels::texture(number("laplacian_variance"))
        );
        assert_eq!(surface.brightness.level, levels::brightness(number("mean_gray")));
    }
}

#[test]
fn unrounded_sums_equal_opencv_to_a_millionth() {
    for i in 0..26 {
        let (image, expected) = golden(i);
        let (_, maps) = SurfaceReader::default().read_with_maps(&image);
        let theirs = expected["laplacian_variance"].as_f64().unwrap();
        let ours = laplacian_variance(&maps.grey, image.width());
        assert!(
            (ours - theirs).abs() <= 1e-6 * theirs.max(1.0),
            "{i}: {ours}, not {theirs}"
        );
    }
}

#[test]
fn an_image_without_pixels_is_black() {
    let surface = SurfaceReader::default().read(&RgbImage::black(0, 7));
    assert_eq!(surface.brightness.mean, 0.0);
    assert_eq!(surface.moisture.score, 100.0);
}

#[test]
fn a_reader_forgets_the_last_image() {
    let (large, small) = (golden(8).0, golden(13).0);
    let mut reader = SurfaceReader::default();
    reader.read(&large);
    assert_eq!(
        reader.read_with_maps(&small),
        SurfaceReader::default().read_with_maps(&small)
    );
}

fn sorted(mut contours: Vec<Contour>) -> Vec<Contour> {
    contours.sort_by(|a, b| a.bounds.cmp(&b.bounds).then(a.area.total_cmp(&b.area)));
    contours
}

/// Blocks of a few colours and lines across them: edges, nested shapes, shapes at the borders.
fn scene() -> impl Strategy<Value = RgbImage> {
    let shape = (0usize..70, 0usize..50, 1usize..40, 1usize..40, any::<[u8; 3]>());
    (
        1usize..70,
        1usize..50,
        any::<[u8; 3]>(),
        prop::collection::vec(shape, 0..12),
        0u8..60,
        any::<u64>(),
    )
        .prop_map(|(width, height, ground, shapes, grain, seed)| {
            let mut image = RgbImage::black(width, height);
            image.pixels_mut().as_chunks_mut::<3>().0.fill(ground);
            for (x, y, w, h, colour) in shapes {
                for y in y..(y + h).min(height) {
                    for x in x..(x + w).min(width) {
                        image.row_mut(y)[3 * x..3 * x + 3].copy_from_slice(&colour);
                    }
                }
            }
            let mut state = seed | 1;
            for sample in image.pixels_mut() {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *sample = sample.saturating_add(((state >> 32) % (u64::from(grain) + 1)) as u8);
            }
            image
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_fast_way_equals_the_plain_way(image in scene()) {
        let (width, height) = (image.width(), image.height());
        let steps = steps(&image);
        let grey = plain::grey(&image);
        let blurred = plain::blur(&grey, width, height);
        let edges = plain::canny(&blurred, width, height);
        let dilated = plain::dilate(&edges, width, height);
        prop_assert_eq!(&steps.maps.grey, &grey);
        prop_assert_eq!(&steps.blurred, &blurred);
        prop_assert_eq!(&steps.maps.edges, &edges);
        prop_assert_eq!(&steps.dilated, &dilated);
        let contours = plain::external_contours(&dilated, width, height);
        prop_assert_eq!(sorted(steps.contours), sorted(contours));
        prop_assert_eq!(steps.surface.cracks.count, steps.cracks.len());

        let hsv: Vec<[u8; 3]> = image.pixels().chunks_exact(3).map(plain::hsv).collect();
        let is_grass = |[h, s, v]: &[u8; 3]| (25..=85).contains(h) && *s >= 40 && *v >= 40;
        let grass: Vec<u8> = hsv.iter().map(|p| if is_grass(p) { 255 } else { 0 }).collect();
        prop_assert_eq!(&steps.maps.grass, &grass);
        let saturation = hsv.iter().map(|p| f64::from(p[1])).sum::<f64>() / hsv.len() as f64;
        prop_assert!((steps.surface.moisture.mean_saturation - saturation).abs() <= 0.0051);
    }

    #[test]
    fn any_bits_have_the_contours_of_the_plain_way(
        width in 1usize..140,
        rows in prop::collection::vec(prop::collection::vec(any::<u64>(), 3), 1..20),
        thin in any::<bool>(),
    ) {
        let mut cracks = CrackFinder::default();
        let height = rows.len();
        cracks.start(width, height);
        let mut plane = vec![0; width * height];
        for (y, row) in rows.iter().enumerate() {
            for x in 0..width {
                let dense = row[x / 64] >> (x % 64) & 1 == 1;
                if dense && (!thin || rows[(y + 1) % height][x / 64] >> (x % 64) & 1 == 1) {
                    cracks.edge_row(y)[x / 64] |= 1 << (x % 64);
                    plane[y * width + x] = 255;
                }
            }
        }
        prop_assert_eq!(sorted(cracks.contours()), sorted(plain::external_contours(&plane, width, height)));
    }
}
