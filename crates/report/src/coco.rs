//! `coco.json`: the boxes, as labelling and evaluation tools read them (<https://cocodataset.org/#format-data>).

use std::io::{self, Read, Seek, Write};

use fleet::result::PhotoResult;
use pitch::analysis::{DetectedBox, PixelBox};
use serde::Serialize;

use crate::{About, ReportError};

/// Writes `coco.json`, one result at a time. A photo without an analysis is left out, one without a box is an image
/// without annotations.
///
/// The format wants all images before all annotations, so annotations wait in `scratch`; what is held does not grow
/// with the batch.
#[derive(Debug)]
pub struct CocoJson<W: Write, S: Read + Write + Seek> {
    out: W,
    scratch: S,
    /// Names of the classes, in the order in which they were first seen.
    categories: Vec<String>,
    images: u64,
    annotations: u64,
    line: Vec<u8>,
}

#[derive(Serialize)]
struct Info<'a> {
    description: String,
    version: &'a str,
    contributor: &'a str,
    date_created: &'a str,
}

#[derive(Serialize)]
struct Image<'a> {
    /// The photo's index in the batch.
    id: u64,
    file_name: &'a str,
    width: usize,
    height: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    date_captured: Option<&'a str>,
}

#[derive(Serialize)]
struct Annotation {
    id: u64,
    image_id: u64,
    category_id: usize,
    /// x, y, width, height.
    bbox: [usize; 4],
    area: usize,
    /// The box as a polygon, which pycocotools makes a mask of.
    segmentation: [[usize; 8]; 1],
    iscrowd: u8,
    score: f64,
}

#[derive(Serialize)]
struct Category<'a> {
    id: usize,
    name: &'a str,
    supercategory: &'a str,
}

impl<W: Write, S: Read + Write + Seek> CocoJson<W, S> {
    /// Starts the document. `scratch` is an empty place of its own, such as a temporary file; `out` is written to once
    /// per photo: give it a buffer.
    ///
    /// # Errors
    /// When `out` fails.
    pub fn begin(mut out: W, scratch: S, about: &About) -> Result<Self, ReportError> {
        let info = Info {
            description: format!("Pitches found in {}", about.title),
            version: &about.batch,
            contributor: &about.program,
            date_created: &about.created_at,
        };
        out.write_all(b"{\"info\":")?;
        serde_json::to_writer(&mut out, &info)?;
        out.write_all(b",\n\"licenses\":[],\n\"images\":[")?;
        Ok(Self {
            out,
            scratch,
            categories: Vec::new(),
            images: 0,
            annotations: 0,
            line: Vec::new(),
        })
    }

    /// Takes a photo.
    ///
    /// # Errors
    /// When `out` or `scratch` fails.
    pub fn add(&mut self, result: &PhotoResult) -> Result<(), ReportError> {
        let photo = &result.photo;
        let (Some(detection), Some(width), Some(height)) = (&result.detection, photo.width, photo.height)
        else {
            return Ok(());
        };
        self.images += 1;
        let image = Image {
            id: result.index,
            file_name: &photo.key,
            width,
            height,
            date_captured: photo.taken_at.as_deref(),
        };
        self.line_of(self.images, &image)?;
        self.out.write_all(&self.line)?;
        for found in &detection.boxes {
            self.annotations += 1;
            let annotation = self.annotation(result.index, found);
            self.line_of(self.annotations, &annotation)?;
            self.scratch.write_all(&self.line)?;
        }
        Ok(())
    }

    /// Writes annotations and categories, flushes, and gives `out` back.
    ///
    /// # Errors
    /// When `out` or `scratch` fails.
    pub fn finish(mut self) -> Result<W, ReportError> {
        self.out.write_all(b"\n],\n\"annotations\":[")?;
        self.scratch.rewind()?;
        io::copy(&mut self.scratch, &mut self.out)?;
        self.out.write_all(b"\n],\n\"categories\":")?;
        let categories: Vec<Category<'_>> = (1..)
            .zip(&self.categories)
            .map(|(id, name)| Category {
                id,
                name,
                supercategory: "ground",
            })
            .collect();
        serde_json::to_writer(&mut self.out, &categories)?;
        self.out.write_all(b"}\n")?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn annotation(&mut self, image_id: u64, found: &DetectedBox) -> Annotation {
        let [x1, y1, x2, y2]: PixelBox = found.corners;
        let (width, height) = (x2.saturating_sub(x1), y2.saturating_sub(y1));
        Annotation {
            // From 1: pycocotools takes an annotation with the id 0 for none.
            id: self.annotations,
            image_id,
            category_id: self.category(&found.class),
            bbox: [x1, y1, width, height],
            area: width.saturating_mul(height),
            segmentation: [[x1, y1, x2, y1, x2, y2, x1, y2]],
            iscrowd: 0,
            score: found.confidence,
        }
    }

    fn category(&mut self, class: &str) -> usize {
        if let Some(place) = self.categories.iter().position(|name| name == class) {
            return place + 1;
        }
        self.categories.push(class.to_owned());
        self.categories.len()
    }

    /// Makes `value` the line, which goes out in one piece; the first of an array has no comma in front.
    fn line_of(&mut self, number: u64, value: &impl Serialize) -> Result<(), ReportError> {
        self.line.clear();
        self.line
            .extend_from_slice(if number == 1 { b"\n" } else { b",\n" });
        serde_json::to_writer(&mut self.line, value)?;
        Ok(())
    }
}
